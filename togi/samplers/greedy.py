"""Attempts beside the greedy answer to the same task (ReMax). Knows no token and no advantage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw
from togi.types import Group, Question, Task


@dataclass(frozen=True)
class WithGreedy(Sampler):
    """``n`` attempts at each task, whose group's baseline is the reward of the answer that the same weights give
    greedily (https://arxiv.org/abs/2310.10505). The greedy answer itself is not learned from.

    A task whose greedy answer could not be scored has nothing to compare with, and is left out. ``greedy/reward`` is
    the mean reward of the greedy answers, ``greedy/unscored`` the share of tasks that were left out.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")

    @property
    def apart(self) -> bool:
        return True

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        drawn = draw(tasks, want)
        likeliest = replace(play.sampling, temperature=0.0)
        scores = [group.scores[0] for group in play([Question(task=task, sampling=likeliest) for task in drawn])]
        played = play(ask(drawn, self.n))
        play.counts.update(_counts([score.value for score in scores if score.status == "ok"], want))
        return [
            replace(group, baseline=score.value)
            for group, score in zip(played, scores, strict=True)
            if score.status == "ok"
        ]


def _counts(rewards: Sequence[float], want: int) -> dict[str, float]:
    counts = {"greedy/unscored": 1 - len(rewards) / want}
    if rewards:
        counts["greedy/reward"] = fmean(rewards)
    return counts
