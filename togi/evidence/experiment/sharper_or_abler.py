"""Whether an arm can solve more tasks than the model it was trained from, or is only surer of those it could solve.

Right answers among several attempts are counted for each seed and task. With one attempt a gain may be either; with
many attempts only tasks that are solved at all count. It samples nothing and reads no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from togi.evidence.after.evaluation_summary import powers
from togi.evidence.experiment.claim_sentences import Scale
from togi.statistics import (
    Difference,
    Interval,
    benjamini_hochberg,
    difference_over_seeds,
    holm,
    over_seeds,
    pass_at_k,
    within_shares,
)
from togi.statistics.intervals import Array

Counts = NDArray[np.int64]
Outcome = Literal["abler", "sharper", "narrower", "not shown"]


@dataclass(frozen=True, kw_only=True)
class PassAt:
    """pass@k of the arm and of its start, and the gain."""

    k: int
    arm: Interval
    start: Interval
    gain: Difference


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Tasks of one seed that only the arm solved (``gained``) and that only its start solved (``lost``).

    Some of both are luck. ``gained_by_chance`` and ``lost_by_chance`` are how many there would be on average if both
    solved every task equally often, with as many right answers to each as there were. ``surely_gained`` and
    ``surely_lost`` are those whose rates differ by Fisher's exact test, so that at most 1 - level of them are expected
    to be luck (Benjamini and Hochberg).
    """

    gained: tuple[int, ...]
    lost: tuple[int, ...]
    gained_by_chance: float
    lost_by_chance: float
    surely_gained: tuple[int, ...]
    surely_lost: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ability:
    """``curve`` is by k, ``coverage`` by seed. ``p_single`` and ``p_many`` are of the gains at the first and the
    last k, Holm's over the two."""

    outcome: Outcome
    curve: tuple[PassAt, ...]
    coverage: tuple[Coverage, ...]
    p_single: float
    p_many: float
    sentences: tuple[str, ...]


def sharper_or_abler(
    right: ArrayLike,
    attempts: ArrayLike,
    start_right: ArrayLike,
    start_attempts: ArrayLike,
    *,
    margin: float,
    level: float = 0.95,
) -> Ability:
    """What became of the tasks, from counts [seeds, tasks]; the start may have one row. ``k`` goes to the fewest
    attempts that any task had."""
    arm, start = _Tried.of(right, attempts), _Tried.of(start_right, start_attempts)
    ks = powers(min(int(arm.attempts.min()), int(start.attempts.min())))
    curve = []
    for k in ks:
        after, before = arm.pass_at(k), start.pass_at(k)
        gain = difference_over_seeds(after, before, margin=margin, level=level)
        shown = [within_shares(over_seeds(table, level=level)) for table in (after, before)]
        curve.append(PassAt(k=k, arm=shown[0], start=shown[1], gain=gain))
    single, many = (float(p) for p in holm([curve[0].gain.p, curve[-1].gain.p]))
    outcome = _outcome(curve[0].gain, curve[-1].gain, single, many, 1 - level)
    coverage = tuple(
        _coverage(arm, start, row, min(row, len(start.right) - 1), 1 - level) for row in range(len(arm.right))
    )
    return Ability(
        outcome=outcome if len(curve) > 1 else "not shown",
        curve=tuple(curve),
        coverage=coverage,
        p_single=single,
        p_many=many,
        sentences=_told(outcome, curve, coverage, margin, level),
    )


@dataclass(frozen=True, kw_only=True)
class _Tried:
    right: Counts
    attempts: Counts

    @classmethod
    def of(cls, right: ArrayLike, attempts: ArrayLike) -> _Tried:
        given, tries = np.asarray(right), np.asarray(attempts)
        tries = np.broadcast_to(tries, given.shape) if tries.ndim == 0 else tries
        if given.ndim != 2 or not given.size or tries.shape != given.shape:
            raise ValueError(f"wanted counts of seeds by tasks, got {given.shape} right of {tries.shape} attempts")
        if (tries < 1).any():
            task = int(np.argwhere(tries < 1)[0][1])
            raise ValueError(f"task {task} has a seed without an attempt that was scored: leave it out of all arms")
        if (given < 0).any() or (given > tries).any():
            raise ValueError("no task can have more right answers than attempts, or fewer than 0")
        return cls(right=given.astype(np.int64), attempts=tries.astype(np.int64))

    def pass_at(self, k: int) -> Array:
        cells = zip(self.attempts.ravel().tolist(), self.right.ravel().tolist(), strict=True)
        return np.array([_pass_at(n, c, k) for n, c in cells]).reshape(self.right.shape)


_pass_at = lru_cache(maxsize=2**14)(pass_at_k)


def _outcome(single: Difference, many: Difference, p_single: float, p_many: float, most: float) -> Outcome:
    if p_many <= most:
        return "abler" if many.point > 0 else "narrower"
    return "sharper" if p_single <= most and single.point > 0 else "not shown"


def _coverage(arm: _Tried, start: _Tried, row: int, start_row: int, most: float) -> Coverage:
    now, then = arm.right[row], start.right[start_row]
    columns = (now, arm.attempts[row], then, start.attempts[start_row])
    cells = list(zip(*(counts.tolist() for counts in columns), strict=True))
    sure = benjamini_hochberg([fisher_p(*cell) for cell in cells]) <= most
    gained, lost = (then == 0) & (now > 0), (then > 0) & (now == 0)
    return Coverage(
        gained=tuple(np.flatnonzero(gained).tolist()),
        lost=tuple(np.flatnonzero(lost).tolist()),
        gained_by_chance=sum(all_fall_to(right + before, tries, others) for right, tries, before, others in cells),
        lost_by_chance=sum(all_fall_to(right + before, others, tries) for right, tries, before, others in cells),
        surely_gained=tuple(np.flatnonzero(gained & sure).tolist()),
        surely_lost=tuple(np.flatnonzero(lost & sure).tolist()),
    )


@lru_cache(maxsize=2**14)
def fisher_p(right: int, attempts: int, other_right: int, other_attempts: int) -> float:
    """Fisher's exact two-sided p-value that two models solve one task equally often."""
    total = right + other_right
    low, high = max(0, total - other_attempts), min(total, attempts)
    ways = [comb(attempts, c) * comb(other_attempts, total - c) for c in range(low, high + 1)]
    seen = ways[right - low]
    return sum(way for way in ways if way <= seen) / sum(ways)


@lru_cache(maxsize=2**14)
def all_fall_to(right: int, attempts: int, others: int) -> float:
    """How likely all of so many right answers, at least one, fall among one model's ``attempts`` at a task and none
    among the ``others`` of a model that solves it equally often."""
    return comb(attempts, right) / comb(attempts + others, right) if right else 0.0


def _told(
    outcome: Outcome, curve: list[PassAt], coverage: tuple[Coverage, ...], margin: float, level: float
) -> tuple[str, ...]:
    scale, single, many = Scale(), curve[0].gain, curve[-1].gain
    k = curve[-1].k
    if k == 1:
        return ("One attempt at each task cannot tell sharper from abler: sample more.",)
    first = f"pass@1 {_shown(single, scale, level)}, pass@{k} {_shown(many, scale, level)}"
    words = {
        "abler": f"It can solve more tasks than its start: {first}.",
        "narrower": f"With {k} attempts it solves fewer tasks than its start: {first}.",
        "sharper": f"It is right more often at the first attempt, but is not shown to solve more tasks: {first}.",
        "not shown": f"No gain is shown, neither with one attempt nor with {k}: {first}.",
    }
    sentences = [words[outcome]]
    if outcome == "sharper" and many.p_within <= 1 - level:
        sentences.append(f"With {k} attempts the two are equivalent within {scale.size(margin, signed=False)}.")
    gained, lost = (
        [(len(c.gained), len(c.surely_gained), c.gained_by_chance) for c in coverage],
        [(len(c.lost), len(c.surely_lost), c.lost_by_chance) for c in coverage],
    )
    sentences.append(
        f"Of {many.tasks} tasks, {_counted(gained)} a seed were solved only after training and {_counted(lost)} only "
        "before."
    )
    return tuple(sentences)


def _counted(seeds: Sequence[tuple[int, int, float]]) -> str:
    """Means over seeds: how many, how many of them surely, and how many chance alone would make."""
    how_many, surely, chance = np.mean(seeds, axis=0)
    return f"{how_many:.1f} ({surely:.1f} surely; chance alone makes {chance:.1f})"


def _shown(gain: Difference, scale: Scale, level: float) -> str:
    if np.isnan(gain.low):
        return f"{scale.size(gain.point)} (no interval: {gain.seeds} seed{'s' if gain.seeds != 1 else ''})"
    low, high = scale.size(gain.low).removesuffix(" points"), scale.size(gain.high)
    return f"{scale.size(gain.point)} ({100 * level:g}% interval {low} to {high})"
