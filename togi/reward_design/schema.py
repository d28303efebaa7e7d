"""What the file of a reward design may say: one frozen pydantic model a table. It knows no environment, no recipe and
no model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from togi.recipe.schema import Count, Name, StageName, Strings, Table, Text
from togi.writer import WriterTable

Seeds = Annotated[int, Field(ge=1, le=100)]


class DesignTable(Table):
    name: Name | None = None
    """Name of the design, whose folder is `runs/NAME`; the file's own name when left out."""
    task: Text
    """What the agent, or the language model, is to do, in words."""
    environment: Text | None = None
    """A name that gymnasium knows, such as `MountainCarContinuous-v0`, or `file.py:function`, which makes one."""
    fitness: Text | None = None
    """`file.py:function`: from an episode how well it solves the task, 0 to 1. Programs never see it."""
    described: Text | None = None
    """A text or Python file that says what is observed and done; the environment's docstring when left out."""
    info: Strings = ()
    """Names of numbers in the environment's `info` that programs may read; none when left out."""
    recipe: Text | None = None
    """Instead of an environment and a fitness: a recipe, whose `[evaluation]` is the fitness."""
    changes: Strings = ()
    """Changes to the recipe, `["KEY=VALUE"]`, such as fewer steps."""
    stage: StageName | None = None
    """The stage of the recipe that programs pay; its last one that learns from a reward when left out."""


class SearchTable(Table):
    candidates: Annotated[int, Field(ge=1, le=1000)] = 8
    """Programs a generation."""
    generations: Annotated[int, Field(ge=1, le=100)] = 2
    """How often programs are written; from the second on with what was found before."""
    parents: Annotated[int, Field(ge=1, le=100)] = 2
    """How many of the best programs, of all generations, the next are written from."""
    seeds: Seeds = 3
    """Agents, or models, trained with each program."""
    episodes: Annotated[int, Field(ge=1, le=1000)] = 10
    """Episodes that each agent is measured on; of a recipe, the first so many held-out tasks."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """What all chance of this design comes from."""


class TrainTable(Table):
    algorithm: Literal["ppo", "sac"] = "ppo"
    """PPO, or SAC where actions are numbers, of stable-baselines3."""
    steps: Annotated[int, Field(ge=1, le=10**9)] = 20_000
    """Steps that an agent is trained for."""
    environments: Annotated[int, Field(ge=1, le=1000)] = 4
    """Environments that an agent steps at once."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the algorithm, by stable-baselines3's names."""
    checks: Annotated[int, Field(ge=1, le=100)] = 4
    """How often an agent, or a model, is measured while it is trained, at equal distances, beside its beginning."""
    seconds: Annotated[float, Field(gt=0)] = 600.0
    """The longest that training one may take."""
    memory_mb: Annotated[int, Field(ge=512)] = 2048
    """Memory of one training."""
    workers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many are trained at once; as many as there are cores when left out."""


class AttackTable(Table):
    rows: Count = 6
    """Held-out tasks of the recipe that the red team attacks a program at, before it is trained with."""
    refuse: Literal["low", "medium", "high", "critical", "never"] = "critical"
    """What the red team finds that is at least so bad makes a program unusable; `never` only notes it."""


class FinalTable(Table):
    seeds: Seeds = 5
    """New agents, or models, for the best program and what it is compared with; none has a seed that was chosen by."""
    episodes: Annotated[int, Field(ge=1, le=1000)] = 20
    """Episodes, or further held-out tasks, that each is measured on; the same for all."""


class CompareTable(Table):
    own: bool = True
    """The environment's own reward, or the recipe's."""
    sparse: bool = True
    """The fitness, paid at the end of an episode; of a recipe its evaluation's reward, where its rows allow it."""
    human: Text | None = None
    """A file with a `compute_reward`, or with a recipe a `score`, that a person wrote."""
    random: bool = True
    """The best of as many random programs as the model writes."""
    independent: bool = True
    """The best of as many programs of the model without reflection."""


class DesignFile(Table):
    """A reward design, written down."""

    design: DesignTable
    writer: WriterTable = WriterTable()
    search: SearchTable = SearchTable()
    train: TrainTable = TrainTable()
    attack: AttackTable = AttackTable()
    final: FinalTable = FinalTable()
    compare: CompareTable = CompareTable()
