"""Statistical rejection sampling: of many attempts keep those that a better policy would have made. Knows no token's
probability and no loss."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw
from togi.types import Group, Task


@dataclass(frozen=True)
class Rejection(Sampler):
    """RSO's sampler (https://arxiv.org/abs/2309.06657, algorithm 1): ``n`` attempts a task, of which ``keep`` remain.

    An attempt of reward R is accepted with probability exp((R - R_max) / ``reward_scale``), R_max over the attempts
    that are still there, round after round until enough are accepted. What is kept is distributed like the policy
    times exp(R / ``reward_scale``): a small scale keeps the best, a large one any.

    Chance depends on the task and on its attempts alone, so a step is the same whenever it is run again. Attempts
    without a score are kept beside the others, to be counted. The mean reward before the choice is counted as
    ``rejection/reward``, since the metrics of what is kept hide it; ``rejection/rounds`` is the mean number of rounds.
    """

    n: int
    keep: int = 8
    reward_scale: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.keep <= self.n:
            raise ValueError(f"wanted 2 <= keep <= attempts, got keep={self.keep} of {self.n} attempts")
        if self.reward_scale <= 0:
            raise ValueError(f"reward_scale must be above 0, got {self.reward_scale}")

    @property
    def apart(self) -> bool:
        return True

    @property
    def of_players(self) -> bool:
        return True

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        groups = play(ask(draw(tasks, want), self.n))
        kept, rounds = [], []
        for group in groups:
            scored = [i for i, score in enumerate(group.scores) if score.status == "ok"]
            accepted, count = self._accepted([group.scores[i].value for i in scored], _seed(group))
            chosen = {scored[i] for i in accepted} | (set(range(len(group.scores))) - set(scored))
            kept.append(_only(group, sorted(chosen)))
            rounds.append(count)
        play.counts.update(_counts(groups, rounds))
        return kept

    def _accepted(self, rewards: Sequence[float], seed: int) -> tuple[list[int], int]:
        """Which rewards are kept, at most ``keep``, and after how many rounds."""
        dice, left, accepted, rounds = np.random.default_rng(seed), list(range(len(rewards))), list[int](), 0
        while left and len(accepted) < self.keep:
            best, drawn = max(rewards[i] for i in left), dice.random(len(left))
            # The best is always accepted, so every round makes progress.
            passed = [i for i, u in zip(left, drawn, strict=True) if u < accept(rewards[i], best, self.reward_scale)]
            accepted += passed[: self.keep - len(accepted)]
            left = [i for i in left if i not in set(passed)]
            rounds += 1
        return accepted, rounds


def accept(reward: float, best: float, scale: float) -> float:
    """The probability with which an attempt is accepted when ``best`` is the highest reward left."""
    return math.exp((reward - best) / scale)


def _seed(group: Group) -> int:
    """A number from all that the choice may depend on: the task, what was written, and how it was scored."""
    digest = hashlib.blake2b(repr(group.task.id).encode(), digest_size=8)
    for trajectory, score in zip(group.trajectories, group.scores, strict=True):
        digest.update(repr(([turn.completion for turn in trajectory.turns], score.status, score.value)).encode())
    return int.from_bytes(digest.digest(), "big")


def _only(group: Group, chosen: Sequence[int]) -> Group:
    return replace(
        group,
        trajectories=tuple(group.trajectories[i] for i in chosen),
        scores=tuple(group.scores[i] for i in chosen),
    )


def _counts(groups: Sequence[Group], rounds: Sequence[int]) -> dict[str, float]:
    rewards = [score.value for group in groups for score in group.scores if score.status == "ok"]
    counts = {"rejection/rounds": fmean(rounds)} if rounds else {}
    return counts | ({"rejection/reward": fmean(rewards)} if rewards else {})
