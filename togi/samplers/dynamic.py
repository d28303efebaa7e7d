"""Dynamic sampling: keep drawing until every kept group carries a signal. Knows no token and no advantage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from togi.advantages import informative
from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw
from togi.types import Group, Task


@dataclass(frozen=True)
class Dynamic(Sampler):
    """DAPO's dynamic sampling (https://arxiv.org/abs/2503.14476, section 3.2): groups that are all right or all wrong
    are dropped, and further tasks drawn in their place, for at most ``max_rounds`` rounds.

    What counts is raw correctness, the part named ``correct`` where the reward has one: shaped rewards nearly always
    differ and would let every group through. A step may come back short, even empty, when the tasks are too easy or
    too hard. Dropping hides that from the logged reward, so the accuracy before the filter is counted as well:
    ``dynamic/accuracy`` (mean over played groups), ``dynamic/all_correct`` and ``dynamic/all_wrong`` (shares of them),
    ``dynamic/unscored`` (groups with fewer than two scores), ``dynamic/dropped`` and ``dynamic/rounds``.
    """

    n: int
    max_rounds: int = 10

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"dynamic sampling compares attempts, so it needs at least 2 a task, got {self.n}")
        if self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, got {self.max_rounds}")

    @property
    def of_players(self) -> bool:
        return True

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        kept: list[Group] = []
        played: list[Group] = []
        rounds = 0
        while len(kept) < want and rounds < self.max_rounds:
            groups = play(ask(draw(tasks, want - len(kept)), self.n))
            played += groups
            kept += [group for group in groups if informative(correctness(group))]
            rounds += 1
        play.counts.update(_counts(played, len(kept), rounds))
        return kept


def correctness(group: Group) -> list[float]:
    """Raw correctness of the scored attempts: the part ``correct`` where there is one, else the value."""
    return [score.parts.get("correct", score.value) for score in group.scores if score.status == "ok"]


def _counts(played: list[Group], kept: int, rounds: int) -> dict[str, float]:
    right = [correctness(group) for group in played]
    flat = [each for each in right if len(each) > 1 and not informative(each)]
    means = [fmean(each) for each in right if each]
    counts: dict[str, float] = {
        "dynamic/rounds": rounds,
        "dynamic/dropped": len(played) - kept,
        "dynamic/unscored": sum(len(each) < 2 for each in right),
    }
    if means:
        counts["dynamic/accuracy"] = fmean(means)
        counts["dynamic/all_correct"] = sum(each[0] > 0 for each in flat) / len(played)
        counts["dynamic/all_wrong"] = sum(each[0] <= 0 for each in flat) / len(played)
    return counts
