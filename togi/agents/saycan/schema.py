"""What the file of the command may say: one frozen pydantic model a table. It knows no world and no model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from togi.agents.saycan.arms import ARMS, Arm
from togi.agents.saycan.scores import Kind
from togi.recipe.schema import Name, Table, Text


class SayCanTable(Table):
    name: Name | None = None
    """Name of the whole, whose folder is `runs/NAME`; the file's own name when left out."""
    world: Text
    """`file.py:Class` of the world."""
    prompt: Text
    """A text file with `{instruction}`, and `{plan}` at its end."""
    model: Text = "smollm2-135m"
    """Who scores: any model source."""
    score: Kind = "sum"
    """What the words of a skill are worth: log-probabilities of its tokens, or these less what they are anyway."""
    arms: Annotated[tuple[Arm, ...], Strict(False)] = tuple(ARMS)
    """Who chooses; each plays the same instructions in the same worlds."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    """How often skills are trained and all instructions played."""
    longest: Annotated[int, Field(ge=1, le=100)] = 6
    """Skills in a plan at most; a plan that is not done by then has failed."""
    done: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The chance that stands for `done`, which no policy learns: the smaller, the longer a plan goes on."""
    lines: Annotated[int, Field(ge=1, le=100)] = 4
    """Lines that the model writes for a choice of the arm `generated`."""


class SkillsTable(Table):
    steps: Annotated[int, Field(ge=0, le=10**9)] = 300_000
    """Actions that the skills of a seed are trained for."""
    worlds: Annotated[int, Field(ge=1, le=1000)] = 16
    """Worlds that are trained in at once."""
    horizon: Annotated[int, Field(ge=1, le=10_000)] = 40
    """Actions after which a skill has failed."""
    states: Annotated[int, Field(ge=20, le=10**6)] = 1000
    """States that chances are fitted and measured on, one half each."""


class SayCanFile(Table):
    """A world, a model and how they are put together, written down."""

    saycan: SayCanTable
    skills: SkillsTable = SkillsTable()
