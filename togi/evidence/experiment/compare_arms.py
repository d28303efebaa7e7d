"""Two arms compared over seeds and tasks, with what is missing taken as worst and as best. It says no sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np

from togi.statistics import Difference, Spread, difference_over_seeds, holm
from togi.statistics.intervals import Array

Claim = Literal["better", "worse", "equivalent", "not decided"]
Bounds = tuple[float, float] | None
"""The least and the most that a score can be, None where there are none."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """An arm against another. ``found`` is over the seeds that have a score in both; ``low_bound`` and ``high_bound``
    are the differences had every missing score been the worst and the best for the arm, the same as ``found`` where
    none is missing and None where scores have no bounds. ``p`` is Holm's over the arms, the larger of both bounds."""

    arm: str
    against: str
    claim: Claim
    not_worse: bool
    found: Difference
    low_bound: Difference | None
    high_bound: Difference | None
    p: float
    missing: int
    failed_seeds: int

    @property
    def decided(self) -> bool:
        return self.claim != "not decided"


@dataclass(frozen=True, kw_only=True)
class Facts:
    arm: str
    against: str
    found: Difference
    low: Difference | None
    high: Difference | None
    missing: int
    failed_seeds: int


def compare_arms(
    tables: Mapping[str, Array], arms: Sequence[str], against: str, margin: float, level: float, bounds: Bounds
) -> list[Compared]:
    return decide_all([facts_of(tables, arm, against, margin, level, bounds) for arm in arms], level)


def decide_all(facts: Sequence[Facts], level: float) -> list[Compared]:
    """The claims, with Holm's correction over all of them."""
    differ = holm([differ_p(one) for one in facts])
    within = holm([_worst(one, "p_within") for one in facts])
    return [decide(one, p=p, within=q, level=level) for one, p, q in zip(facts, differ, within, strict=True)]


def facts_of(tables: Mapping[str, Array], arm: str, against: str, margin: float, level: float, bounds: Bounds) -> Facts:
    return facts_of_means(arm, tables[arm][None], against, tables[against][None], margin, level, bounds)


def facts_of_means(arm: str, a: Array, against: str, b: Array, margin: float, level: float, bounds: Bounds) -> Facts:
    """The same of two means over arms, whose tables are [arms, seeds, tasks] on both sides."""
    if _seedless(a.mean(0)):
        a, b = a[:, :1], b[:, :1]
    gone_a, gone_b = np.isnan(a), np.isnan(b)
    missing = int(gone_a.sum() + gone_b.sum())
    failed = int(gone_a.all(2).sum() + gone_b.all(2).sum())
    found = _of_common(a.mean(0), b.mean(0), margin, level)
    low: Difference | None = None
    high: Difference | None = None
    if not missing:
        low = high = found
    elif bounds is not None:
        least, most = bounds
        low, high = (
            difference_over_seeds(
                np.where(gone_a, mine, a).mean(0), np.where(gone_b, theirs, b).mean(0), margin=margin, level=level
            )
            for mine, theirs in ((least, most), (most, least))
        )
    return Facts(arm=arm, against=against, found=found, low=low, high=high, missing=missing, failed_seeds=failed)


def _seedless(table: Array) -> bool:
    """Whether seeds that made a difference nowhere stand behind scores that are not all one value: that is one seed."""
    whole = table[~np.isnan(table).any(1)]
    return len(whole) > 1 and bool((whole == whole[0]).all()) and float(np.ptp(whole)) > 0


def _of_common(a: Array, b: Array, margin: float, level: float) -> Difference:
    """The difference over the seeds that did not fail on either side and the tasks that these all have scored."""
    rows = np.asarray(~(np.isnan(a).all(1) | np.isnan(b).all(1)))
    a, b = (table if len(table) == 1 < len(rows) else table[rows] for table in (a, b))
    tasks = ~(np.isnan(a).any(0) | np.isnan(b).any(0))
    if not rows.any() or not tasks.any():
        unknown = Spread(seed=nan, task=nan, noise=nan)
        empty = {"point": nan, "low": nan, "high": nan, "p": nan, "p_within": nan, "p_not_worse": nan}
        return Difference(level=level, seeds=int(rows.sum()), tasks=int(tasks.sum()), spread=unknown, **empty)
    return difference_over_seeds(a[:, tasks], b[:, tasks], margin=margin, level=level)


def differ_p(one: Facts) -> float:
    """The p-value of a difference under both bounds; 1 where they do not agree on the sign."""
    if one.low is None or one.high is None:
        return nan
    if one.low.point * one.high.point <= 0:
        return 1.0 if one.found.seeds > 1 else nan
    return float(np.max([one.low.p, one.high.p]))  # nan stays nan


def _worst(one: Facts, name: Literal["p_within", "p_not_worse"]) -> float:
    if one.low is None or one.high is None:
        return nan
    return float(np.max([getattr(one.low, name), getattr(one.high, name)]))


def sign_of(one: Facts) -> int:
    assert one.low is not None
    return 1 if one.low.point > 0 else -1


def decide(one: Facts, *, p: float, level: float, within: float = nan) -> Compared:
    claim: Claim = "not decided"
    if within <= 1 - level:
        claim = "equivalent"
    elif p <= 1 - level:
        claim = "better" if sign_of(one) > 0 else "worse"
    return Compared(
        arm=one.arm,
        against=one.against,
        claim=claim,
        not_worse=_worst(one, "p_not_worse") <= 1 - level,
        found=one.found,
        low_bound=one.low,
        high_bound=one.high,
        p=float(p),
        missing=one.missing,
        failed_seeds=one.failed_seeds,
    )
