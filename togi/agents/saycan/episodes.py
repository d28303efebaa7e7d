"""Plays instructions: a skill is chosen, done by its policy, and written down, until the plan is done or too long. All
instructions of an arm and a seed are played side by side, so that the model is asked for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from togi.agents.saycan.arms import Arm, choose
from togi.agents.saycan.chances import Line
from togi.agents.saycan.scores import Kind, Words
from togi.agents.saycan.skills import Array, Skills
from togi.agents.saycan.world import DONE, Instruction, World


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One choice: of every skill, ``done`` last, the log score of its words, its chance, and whether it was possible;
    which was ``chosen``, whether its policy ``succeeded``, and in how many actions."""

    words: tuple[float, ...]
    chances: tuple[float, ...]
    possible: tuple[bool, ...]
    written: tuple[str, ...]
    chosen: int
    succeeded: bool
    actions: int


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One instruction, by its number, in one world. ``planned`` says whether the plan was right: whether it is carried
    out where every skill does what its words say; ``solved`` whether it was carried out by the policies."""

    arm: Arm
    seed: int
    instruction: int
    decisions: tuple[Decision, ...]
    ended: bool
    planned: bool
    solved: bool


@dataclass(frozen=True, kw_only=True)
class Playing:
    """What all arms have in common: ``longest`` is a plan's length at most, ``done`` the chance that ends a plan."""

    make: Callable[[], World]
    words: Words
    kind: Kind
    longest: int
    done: float
    lines: int


class _Open:
    """An instruction that is being played."""

    def __init__(self, how: Playing, instruction: Instruction, number: int, seed: int) -> None:
        self.how, self.instruction, self.number = how, instruction, number
        self.seed = seed
        self.world, self.rng = beginning(how.make, instruction, number, seed)
        self.plan: list[str] = []
        self.decisions: list[Decision] = []

    @property
    def ended(self) -> bool:
        return bool(self.decisions) and self.decisions[-1].chosen == len(self.world.skills)

    @property
    def over(self) -> bool:
        return self.ended or len(self.plan) >= self.how.longest

    def decide(self, arm: Arm, skills: Skills, line: Line, words: Array | None, written: tuple[str, ...]) -> None:
        world, names = self.world, [*self.world.skills, DONE]
        chances = np.append(line.chance(skills.values(world)), self.how.done)
        possible = [*(bool(world.possible(skill)) for skill in range(len(world.skills))), True]
        said = np.zeros(len(names)) if words is None else words
        chosen = choose(arm, said, chances, possible, written, names)
        ends = chosen == len(world.skills)
        succeeded, actions = (True, 0) if ends else skills.do(world, chosen, self.rng)
        self.decisions.append(
            Decision(
                words=() if words is None else tuple(round(float(each), 4) for each in words),
                chances=tuple(round(float(each), 4) for each in chances),
                possible=tuple(possible),
                written=written,
                chosen=chosen,
                succeeded=succeeded,
                actions=actions,
            )
        )
        if not ends:
            self.plan.append(names[chosen])

    def episode(self, arm: Arm, seed: int) -> Episode:
        return Episode(
            arm=arm,
            seed=seed,
            instruction=self.number,
            decisions=tuple(self.decisions),
            ended=self.ended,
            planned=self.ended and self._right(),
            solved=self.ended and bool(self.world.solved(self.plan)),
        )

    def _right(self) -> bool:
        """Whether the plan carries the instruction out in the same world, with perfect policies."""
        world, _ = beginning(self.how.make, self.instruction, self.number, self.seed)
        names = list(world.skills)
        for skill in self.plan:
            world.carry_out(names.index(skill))
        return bool(world.solved(self.plan))


def beginning(
    make: Callable[[], World], instruction: Instruction, number: int, seed: int
) -> tuple[World, np.random.Generator]:
    """A world in which an instruction begins, and the chance that its policies draw from."""
    world = make()
    world.start(seed * 1_000_003 + number, instruction)
    return world, np.random.default_rng((seed, 2, number))


def play(
    how: Playing, instructions: Sequence[Instruction], arm: Arm, seed: int, skills: Skills, line: Line
) -> list[Episode]:
    """Every instruction once. Equal seeds play equal worlds, whatever the arm."""
    played = [_Open(how, instruction, number, seed) for number, instruction in enumerate(instructions)]
    while waiting := [each for each in played if not each.over]:
        situations = [(each.instruction.text, tuple(each.plan)) for each in waiting]
        said: list[Array | None] = [None] * len(waiting)
        if arm in ("product", "llm", "oracle"):
            said = list(how.words.scores(situations, how.kind))
        written: list[tuple[str, ...]] = [()] * len(waiting)
        if arm == "generated":
            written = how.words.written(situations, how.lines)
        for each, words, lines in zip(waiting, said, written, strict=True):
            each.decide(arm, skills, line, words, lines)
    return [each.episode(arm, seed) for each in played]
