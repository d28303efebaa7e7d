"""What the file of a Voyager may say: one frozen pydantic model a table. It knows no world and no model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from togi.recipe.schema import Name, Strings, Table, Text
from togi.writer import WriterTable

Arm = Literal["full", "no_library", "random_goals", "unverified"]
ARMS: dict[Arm, str] = {
    "full": "everything",
    "no_library": "without a library",
    "random_goals": "goals by chance",
    "unverified": "nobody verifies",
}
Verifier = Literal["state", "critic"]


class VoyagerTable(Table):
    name: Name | None = None
    """Name of the whole, whose folder is `runs/NAME`; the file's own name when left out."""
    world: Text = "togi.agents.voyager.tech_tree:TechTree"
    """`file.py:Class` of the world."""
    arms: Annotated[tuple[Arm, ...], Strict(False)] = ("full", "no_library", "random_goals", "unverified")
    """What lives are compared: with everything, and with one part less each."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    """Lives of each arm, each in a world of its own; the same worlds for all arms."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """What all worlds and all chance come from."""
    skills: Text | None = None
    """A folder of skills to begin with, such as `skills/full-0` of another run; arms without a library leave it out."""


class LifeTable(Table):
    prompts: Annotated[int, Field(ge=1, le=10_000)] = 40
    """Skills that the writer is asked for in one life, further tries included."""
    tries: Annotated[int, Field(ge=1, le=100)] = 4
    """Tries at a goal before it is given up."""
    shown: Annotated[int, Field(ge=1, le=100)] = 5
    """Skills of the library that the writer is shown; all can be called."""
    verified: Verifier = "state"
    """Who says that a goal is reached: the world's `state`, or a `critic`, as in the paper. Both are written down."""
    most: Annotated[int, Field(ge=1, le=64)] = 4
    """The most of an item that a goal may ask for."""
    calls: Annotated[int, Field(ge=1, le=900)] = 200
    """Calls of the world that one run of a skill may make."""
    seconds: Annotated[float, Field(gt=0, le=600)] = 2.0
    """Seconds that one run of a skill may take."""
    memory_mb: Annotated[int, Field(ge=16, le=65_536)] = 64
    """Memory of the interpreter of one skill."""


class TransferTable(Table):
    goals: Strings = ()
    """Items to be had in new worlds, with the library as each life left it and without any; none when left out."""
    tries: Annotated[int, Field(ge=1, le=100)] = 4
    """Tries at each."""


class VoyagerFile(Table):
    """A world, a writer and how long they live, written down."""

    voyager: VoyagerTable = VoyagerTable()
    writer: WriterTable = WriterTable()
    life: LifeTable = LifeTable()
    transfer: TransferTable = TransferTable()
