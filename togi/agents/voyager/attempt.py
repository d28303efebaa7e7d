"""The nouns of lives, frozen and without behaviour: one life, and one try at a goal in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from togi.agents.voyager.play_skill import Call, End
from togi.agents.voyager.schema import Arm
from togi.agents.voyager.world import Goal

Chosen = Literal["planner", "chance", "given"]
"""Who chose a goal; chance where a planner named nothing that there is."""


@dataclass(frozen=True, kw_only=True)
class Lived:
    """Which life: its ``arm`` and ``seed``, and the goals that it was given, for one that shows what it takes along to
    new worlds. ``place`` numbers all lives of a run, so that each draws answers of its own."""

    arm: Arm
    seed: int
    place: int
    goals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{'transfer-' * bool(self.goals)}{self.arm}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One skill that was asked for, from prompt ``number`` of a life, as try ``turn`` at a goal in the world of
    ``world_seed``.

    ``source`` is empty where nothing could be read as a skill, and ``fault`` says why. ``before`` is what there was
    when somebody set out for the goal, ``held`` what there is now, ``seen`` what was there at any time of the run.
    ``reached`` is what the state says, ``critic`` what the critic says (None where it was not asked or cannot be read),
    ``done`` whether the life took the goal for reached. ``kept`` is the skill's label in the library, where it was
    kept.
    """

    life: str
    number: int
    turn: int
    goal: Goal
    chosen: Chosen
    world_seed: int
    shown: tuple[str, ...]
    reply: str
    name: str = ""
    source: str = ""
    called: tuple[str, ...] = ()
    fault: str = ""
    end: End = "error"
    note: str = ""
    printed: str = ""
    calls: tuple[Call, ...] = ()
    seen: tuple[str, ...] = ()
    before: dict[str, int]
    held: dict[str, int]
    reached: bool
    critic: bool | None = None
    critique: str = ""
    done: bool = False
    kept: str = ""
    description: str = ""
