"""Potential-based shaping: credit for progress on the way that changes no optimal policy. It knows no grader.

Ng, Harada and Russell (1999): F(s, s') = γ Φ(s') - Φ(s) with Φ(end) = 0 adds up to -Φ(start) along every episode, so
what is best stays best, whatever Φ says; any other bonus on the way can be farmed. A state here is what has been
written before a token; its potential is that of the steps and turns finished by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from togi.rewards.algebra import Composable, Leaf, Surroundings
from togi.types import Score, Task, Trajectory, Turn

if TYPE_CHECKING:  # workers that grade import this package, and start without the libraries that texts need
    from togi.tokenization import Chat


def differences(potentials: Sequence[float], gamma: float) -> tuple[float, ...]:
    """``gamma * after - before`` of states in order [T + 1] -> [T]. The last state is the end: its potential is 0."""
    assert potentials[-1] == 0.0, "an end with a potential would pay for reaching it"
    return tuple(gamma * after - before for before, after in pairwise(potentials))


@dataclass(frozen=True)
class Potential(Leaf):
    """See ``potential``. ``chat`` is None until ``opened``."""

    by: Composable
    gamma: float = 1.0
    separator: str = "\n"
    name: str = "potential"
    chat: Chat | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ValueError(f"potential: gamma is above 0 and at most 1, and the algorithm's; got {self.gamma}")
        if not self.separator:
            raise ValueError(r'potential: steps are cut at a separator that is not empty, such as "\n"')

    @property
    def only_dense(self) -> bool:
        return True

    def opened(self, at: Surroundings) -> Potential:
        return replace(self, by=self.by.opened(at), chat=at.chat)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        if self.chat is None:
            raise ValueError(f"{self.name} has no tokenizer yet: call opened() before scoring")
        cut = [self._beginnings(self.chat, trajectory) for trajectory in trajectories]
        asked = [beginning for each in cut for _, beginning in each]
        marks = iter(self.by(task, asked) if asked else [])
        return [
            self._score(trajectory, [(at, next(marks)) for at, _ in each])
            for trajectory, each in zip(trajectories, cut, strict=True)
        ]

    def _beginnings(self, chat: Chat, trajectory: Trajectory) -> list[tuple[int, Trajectory]]:
        """What was written before anything was, and at the end of each step and turn but the last one; each with the
        number of tokens in it."""
        if not trajectory.turns:
            return []
        found = [(0, _up_to(trajectory, (), replace(trajectory.turns[0], completion=(), logp=(), text="", replies=())))]
        written = 0
        for number, turn in enumerate(trajectory.turns):
            before = trajectory.turns[:number]
            for end in chat.step_ends(turn.completion, self.separator)[:-1]:
                ids = turn.completion[: end + 1]
                part = replace(turn, completion=ids, logp=turn.logp[: end + 1], text=chat.decode(ids), replies=())
                found.append((written + end + 1, _up_to(trajectory, before, part)))
            written += len(turn.completion)
            if number < len(trajectory.turns) - 1:
                found.append((written, _up_to(trajectory, before, turn)))
        return found

    def _score(self, trajectory: Trajectory, marks: Sequence[tuple[int, Score]]) -> Score:
        lost = next((mark for _, mark in marks if mark.status != "ok"), None)
        if lost is not None:
            return replace(lost, parts={}, note=f"{self.name}: {lost.note}")
        tokens = sum(len(turn.completion) for turn in trajectory.turns)
        known = {at: mark.value for at, mark in marks}
        states, last = [], 0.0
        for at in range(tokens):
            last = known.get(at, last)
            states.append(last)
        return Score(
            value=0.0, parts={self.name: last}, dense=differences([*states, 0.0], self.gamma) if tokens else ()
        )


def potential(by: Composable, gamma: float = 1.0, separator: str = "\n", name: str = "potential") -> Potential:
    """Dense credit for what ``by`` says of the answer so far, after each step and each turn.

    A step ends at ``separator``. ``by`` scores each beginning as if it were the whole attempt, so it has to judge an
    attempt by itself and not against its siblings. The value is 0: only the dense rewards act, in algorithms that read
    them (ppo, reinforce_pp, remax), and ``gamma`` is to be theirs. Add it with any weight and never gate it: what a
    gate takes away is no difference of potentials. The part is the potential reached before the end. An answer cut off
    ends there like any other.
    """
    return Potential(by, gamma, separator, name)


def _up_to(whole: Trajectory, before: Sequence[Turn], last: Turn) -> Trajectory:
    return replace(whole, turns=(*before, last))
