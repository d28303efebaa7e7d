"""A reward that says nothing: the control that shows what a gain without any reward would look like."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from togi.rewards.algebra import Leaf
from togi.types import Score, Task, Trajectory


@dataclass(frozen=True)
class chance(Leaf):
    """1 with probability ``p`` and else 0, whatever was written.

    What an attempt earns depends on its place and on all that was written beside it, so that a resumed run pays the
    same, and no text is paid better than another: with the text alone, a policy could learn which ones are.
    """

    p: float = 0.5
    name: str = "chance"

    def __post_init__(self) -> None:
        if not 0 < self.p < 1:
            raise ValueError(f"chance pays with a probability between 0 and 1; got {self.p:g}")

    @property
    def blind(self) -> bool:
        return True

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        written = [[turn.completion for turn in trajectory.turns] for trajectory in trajectories]
        group = hashlib.blake2b(repr([task.id, written]).encode(), digest_size=16).digest()
        marks = [float(_unit(group, place) < self.p) for place in range(len(trajectories))]
        return [Score(value=mark, parts={self.name: mark}) for mark in marks]


def _unit(group: bytes, place: int) -> float:
    """A number in [0, 1) that looks random."""
    return int.from_bytes(hashlib.blake2b(group + place.to_bytes(8, "big"), digest_size=8).digest(), "big") / (1 << 64)
