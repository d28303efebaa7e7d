"""What the file of a reward design may say: one frozen pydantic model a table. It knows no environment and no model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from togi.recipe.schema import Name, Strings, Table, Text
from togi.writer import WriterTable

Seeds = Annotated[int, Field(ge=1, le=100)]


class DesignTable(Table):
    name: Name | None = None
    """Name of the design, whose folder is `runs/NAME`; the file's own name when left out."""
    task: Text
    """What the agent is to do, in words."""
    environment: Text
    """A name that gymnasium knows, such as `MountainCarContinuous-v0`, or `file.py:function`, which makes one."""
    fitness: Text
    """`file.py:function`: from an episode how well it solves the task, 0 to 1. Programs never see it."""
    described: Text | None = None
    """A text or Python file that says what is observed and done; the environment's docstring when left out."""
    info: Strings = ()
    """Names of numbers in the environment's `info` that programs may read; none when left out."""


class SearchTable(Table):
    candidates: Annotated[int, Field(ge=1, le=1000)] = 8
    """Programs a generation."""
    generations: Annotated[int, Field(ge=1, le=100)] = 2
    """How often programs are written; from the second on with what was found before."""
    parents: Annotated[int, Field(ge=1, le=100)] = 2
    """How many of the best programs, of all generations, the next are written from."""
    seeds: Seeds = 3
    """Agents trained with each program."""
    episodes: Annotated[int, Field(ge=1, le=1000)] = 10
    """Episodes that each agent is measured on."""
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
    """How often an agent is measured while it is trained, at equal distances, beside its beginning."""
    seconds: Annotated[float, Field(gt=0)] = 600.0
    """The longest that training one agent may take."""
    memory_mb: Annotated[int, Field(ge=512)] = 2048
    """Memory of one training."""
    workers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Agents that are trained at once; as many as there are cores when left out."""


class FinalTable(Table):
    seeds: Seeds = 5
    """New agents for the best program and everything it is compared with; none has a seed that was chosen by."""
    episodes: Annotated[int, Field(ge=1, le=1000)] = 20
    """Episodes that each is measured on; the same for all."""


class CompareTable(Table):
    own: bool = True
    """The environment's own reward."""
    sparse: bool = True
    """The fitness, paid at the end of an episode and nothing before."""
    human: Text | None = None
    """A file with a `compute_reward` that a person wrote."""
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
    final: FinalTable = FinalTable()
    compare: CompareTable = CompareTable()
