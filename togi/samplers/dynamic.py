"""Dynamic sampling: keep drawing until every kept group carries a signal. Knows no token and no advantage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, get_args

from togi.advantages import in_band, informative
from togi.protocols import Play, Sampler
from togi.samplers.group import ask, attempted, beside_demonstrations, check_demonstrations, draw
from togi.types import Group, Score, Task

Reason = Literal["unscored", "all_wrong", "all_correct", "all_alike", "too_hard", "too_easy"]
"""Why a group is not learned from: fewer than two scores, no attempt right, every one right, all alike in between, or
differing, but outside the band."""


@dataclass(frozen=True)
class Dynamic(Sampler):
    """DAPO's dynamic sampling (https://arxiv.org/abs/2503.14476, section 3.2): groups that are all right or all wrong
    are dropped, and further tasks drawn in their place, for at most ``max_rounds`` rounds.

    ``low`` and ``high`` narrow what is kept to a band of difficulty: groups whose share of right attempts is at least
    the one and at most the other (https://arxiv.org/abs/2504.03380 keeps 0.2 to 0.8). ``demonstrations`` are as in
    ``Groups``; what is right of them counts as a difference, and not in the share.

    What counts is raw correctness, the part named ``correct`` where the reward has one: shaped rewards nearly always
    differ and would let every group through. A step may come back short, even empty, when the tasks are too easy or
    too hard. Dropping hides that from the logged reward, so all that was played is counted, as ``dynamic/…``.
    """

    n: int
    max_rounds: int = 10
    low: float = 0.0
    high: float = 1.0
    demonstrations: int = 0

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"dynamic sampling compares attempts, so it needs at least 2 a task, got {self.n}")
        if self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, got {self.max_rounds}")
        check_demonstrations(self.demonstrations)
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"wanted 0 <= low <= high <= 1, got low={self.low} and high={self.high}")
        if not any(self._holds([1.0] * right + [0.0] * (self.n - right)) for right in self._differing):
            raise ValueError(
                f"no share of {self.n} attempts lies between low={self.low} and high={self.high}, so that no task "
                "would ever be kept: widen the band, or take more attempts"
            )

    @property
    def apart(self) -> bool:
        return True

    @property
    def totals(self) -> frozenset[str]:
        return frozenset({"dynamic/played", "dynamic/dropped", "dynamic/missing"})

    @property
    def of_players(self) -> bool:
        return not self.demonstrations

    @property
    def _differing(self) -> range:
        """How many of ``n`` attempts may be right in a group that says something."""
        return range(self.n + 1) if self.demonstrations else range(1, self.n)

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        kept: list[Group] = []
        fate: list[tuple[Group, Reason | None]] = []
        rounds = 0
        while len(kept) < want and rounds < self.max_rounds:
            asked = ask(draw(tasks, want - len(kept)), self.n)
            told = [(group, self.fault(group)) for group in beside_demonstrations(asked, self.demonstrations, play)]
            kept += [group for group, fault in told if fault is None]
            fate += told
            rounds += 1
        play.counts.update(_counts(fate, rounds, max(0, want - len(kept))))
        return kept

    def fault(self, group: Group) -> Reason | None:
        """Why a group is dropped; None for one that is kept."""
        every, own = _right(group.scores), correctness(group)
        if len(every) < 2 or not own:
            return "unscored"
        if not informative(every):
            return "all_correct" if min(every) >= 1 else "all_wrong" if max(every) <= 0 else "all_alike"
        if self._holds(own):
            return None
        return "too_hard" if fmean(own) < self.low else "too_easy"

    def _holds(self, right: Sequence[float]) -> bool:
        # A band that was not narrowed holds rewards outside [0, 1] too.
        low, high = (self.low or -float("inf")), (self.high if self.high < 1 else float("inf"))
        return in_band(right, low, high)


def correctness(group: Group) -> list[float]:
    """Raw correctness of the scored attempts."""
    return _right([score for _, score in attempted(group)])


def _right(scores: Sequence[Score]) -> list[float]:
    return [score.correct for score in scores if score.status == "ok"]


def _counts(fate: Sequence[tuple[Group, Reason | None]], rounds: int, missing: int) -> dict[str, float]:
    """What became of all groups that were played."""
    faults = Counter(fault for _, fault in fate if fault)
    means = [fmean(right) for group, _ in fate if (right := correctness(group))]
    tokens = [(_tokens(group), fault) for group, fault in fate]
    counts: dict[str, float] = {
        "dynamic/rounds": rounds,
        "dynamic/missing": missing,
        "dynamic/played": len(fate),
        "dynamic/dropped": sum(faults.values()),
        **{f"dynamic/{reason}": faults[reason] / len(fate) for reason in get_args(Reason)},
    }
    if means:
        counts["dynamic/accuracy"] = fmean(means)
    if written := sum(count for count, _ in tokens):
        counts["dynamic/tokens_dropped"] = sum(count for count, fault in tokens if fault) / written
    return counts


def _tokens(group: Group) -> int:
    return sum(len(turn.completion) for trajectory, _ in attempted(group) for turn in trajectory.turns)
