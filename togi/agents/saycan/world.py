"""What a world must offer, for skills to be learned in it and instructions to be carried out. It knows no world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
DONE = "done"
"""What ends a plan; no world has it among its skills."""
WANTED = ("skills", "actions", "instructions", "start", "begin", "observe", "act", "solved", "possible", "carry_out")
"""What a world has."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What a person asks for. ``family`` is the kind it is counted with, ``setting`` whatever the world needs to know
    to begin it and to check it."""

    text: str
    family: str
    setting: Any = None


class World(Protocol):
    """One world at a time, begun anew as often as is wanted. Skills and actions are counted from 0."""

    @property
    def skills(self) -> Sequence[str]:
        """What each skill is called. These words are what the language model scores."""
        ...

    @property
    def actions(self) -> int:
        """How many actions there are."""
        ...

    @property
    def instructions(self) -> Sequence[Instruction]: ...

    def start(self, seed: int, instruction: Instruction | None = None) -> None:
        """Begin an instruction, or without one in any state in which a skill might begin; equal seeds begin alike."""
        ...

    def begin(self, skill: int) -> None:
        """From here on this skill is what succeeds."""
        ...

    def observe(self, skill: int) -> Vector:
        """What the policy of a skill sees now; of the same length for all."""
        ...

    def act(self, action: int) -> bool:
        """Do an action; says whether the skill that was begun has now succeeded."""
        ...

    def solved(self, plan: Sequence[str]) -> bool:
        """Whether the instruction is carried out as the world is now, at the end of a plan."""
        ...

    # For the oracle and for counting alone: no value and no choice of another arm is made from these.

    def possible(self, skill: int) -> bool:
        """Whether the skill could succeed now."""
        ...

    def carry_out(self, skill: int) -> None:
        """Do at once what a perfect policy of the skill would; nothing where that is not possible."""
        ...


@runtime_checkable
class Drawn(Protocol):
    """A world that can be looked at."""

    def picture(self) -> Any:
        """Its pixels [high, wide, 3] now, from 0 to 255."""
        ...


def check_world(world: object, named: str) -> World:
    """The world, if it is one. Raises ValueError, which says what it lacks; the name is that of its class."""
    if missing := [name for name in WANTED if not hasattr(world, name)]:
        raise ValueError(f"{named} has no {', '.join(missing)}: a world has {', '.join(WANTED)} (docs/saycan.md)")
    found: World = world  # type: ignore[assignment]
    skills, instructions = list(found.skills), list(found.instructions)
    if len(skills) < 2 or not all(isinstance(each, str) and each.strip() for each in skills):
        raise ValueError(f"{named}.skills: wanted the words of two skills or more, got {skills[:3]}")
    if twice := sorted({each for each in skills if skills.count(each) > 1}):
        raise ValueError(f'{named}.skills: "{twice[0]}" is there twice, so no words tell one from the other')
    if DONE in skills:
        raise ValueError(f'{named}.skills: "{DONE}" ends a plan and is added to the skills: leave it out')
    if not instructions or not all(isinstance(each, Instruction) for each in instructions):
        raise ValueError(f"{named}.instructions: wanted Instruction(text=…, family=…), one or more")
    if not isinstance(found.actions, int) or found.actions < 2:
        raise ValueError(f"{named}.actions: wanted how many actions there are, 2 or more; got {found.actions!r}")
    seen = _seen(found, named)
    if any(each.ndim != 1 or each.shape != seen[0].shape for each in seen):
        raise ValueError(f"{named}.observe: wanted one vector of numbers, of the same length for every skill")
    if not all(np.isfinite(each).all() for each in seen):
        raise ValueError(f"{named}.observe: gives numbers that are not finite")
    if not np.array_equal(seen, _seen(found, named)):
        raise ValueError(f"{named}.start: wanted equal beginnings for equal seeds: take all chance from the seed")
    return found


def _seen(world: World, named: str) -> list[Vector]:
    """What is observed for every skill at a beginning, after everything else was tried once."""
    try:
        world.start(0, world.instructions[0])
        world.begin(0)
        world.act(0)
        world.solved([])
        world.possible(0)
        world.carry_out(0)
        world.start(0)
        return [np.asarray(world.observe(skill)) for skill in range(len(world.skills))]
    except Exception as error:  # the boundary to a user's code
        raise ValueError(f"{named} raises {type(error).__name__}: {error}") from error
