"""The claim that the scores of arms carry: better, worse, equivalent, or not decided. It reads and runs nothing.

The rule is the same for every experiment. An arm is compared with the reference over seeds and tasks. Where it surely
differs by less than the margin it is ``equivalent``, even if it surely differs; else it is ``better`` or ``worse``
where its p-value, Holm's over all arms, is at most 1 - level. A score that is missing is taken as the worst and as the
best it could have been, and a claim must hold both times. A gain is evidence for what the arm is about only if the arm
is also better than every control.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from togi.statistics import (
    Difference,
    Spread,
    difference_over_seeds,
    holm,
    seeds_needed,
    smallest_visible,
    tasks_needed,
)
from togi.statistics.intervals import Array

Claim = Literal["better", "worse", "equivalent", "not decided"]
Evidence = Literal["for the arm", "none", "no control"]
SHARES = (0.0, 1.0)


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
class ArmVerdict:
    """What is claimed of one arm. ``evidence`` says whether a gain is more than what the controls show."""

    compared: Compared
    controls: tuple[Compared, ...]
    evidence: Evidence
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One verdict an arm, in their order, and what each control did against the reference."""

    arms: tuple[ArmVerdict, ...]
    controls: tuple[Compared, ...]
    margin: float
    level: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What scores can be, least and most, and how their differences are said."""

    bounds: tuple[float, float] | None = SHARES

    def size(self, value: float, *, signed: bool = True) -> str:
        shown, unit = (100 * value, " points") if self.bounds == SHARES else (value, "")
        digits = 1 if unit else 3
        return f"{shown:+.{digits}f}{unit}" if signed else f"{shown:.{digits}f}{unit}"


def verdict(
    scores: Mapping[str, ArrayLike],
    *,
    reference: str,
    margin: float,
    controls: Collection[str] = (),
    untrained: Collection[str] = (),
    level: float = 0.95,
    bounds: tuple[float, float] | None = SHARES,
) -> Verdict:
    """The claims of all arms that are neither ``reference`` nor control.

    ``scores`` are tables [seeds, tasks], nan where a score is missing, and a whole row of nan for a seed that failed;
    all have the same tasks, and their rows the same seeds. Arms named in ``untrained`` have a single row. ``margin`` is
    the smallest difference that matters. ``bounds`` are the least and the most that a score can be, None where
    there are none: then an arm with a missing score is never decided.
    """
    tables = {name: np.asarray(table, np.float64) for name, table in scores.items()}
    _check(tables, reference, controls, untrained, bounds)
    arms = [name for name in tables if name != reference and name not in controls]
    scale = Scale(bounds=bounds)
    compared = _compared(tables, arms, reference, margin, level, scale)
    of_controls = _compared(tables, list(controls), reference, margin, level, scale)
    beside = [[_facts(tables, arm, control, margin, level, scale) for control in controls] for arm in arms]
    # All controls must be beaten, so the weakest comparison is the test, and Holm's correction is over the arms.
    weakest = holm([max((_p(one) for one in each), default=nan) for each in beside])
    told = []
    for one, each, p in zip(compared, beside, weakest, strict=True):
        against = tuple(_decide(control, p=_p(control), level=level) for control in each)
        beaten = bool(p <= 1 - level) and all(_sign(control) > 0 for control in each)
        evidence: Evidence = "no control" if not each else "for the arm" if beaten else "none"
        sentences = (*_told(one, margin, level, scale), *_of_controls(one, against, of_controls, evidence, scale))
        told.append(ArmVerdict(compared=one, controls=against, evidence=evidence, sentences=sentences))
    return Verdict(arms=tuple(told), controls=tuple(of_controls), margin=margin, level=level)


def power_before(spread: Spread, *, tasks: int, margin: float, seeds: Sequence[int] = (3, 5, 8)) -> str:
    """What an experiment of this size could see, by the spread that earlier runs showed."""
    scale = Scale()
    visible = {n: smallest_visible(spread, seeds=n, tasks=tasks) for n in seeds}
    seen = "; ".join(f"{n} seeds: {scale.size(size, signed=False)}" for n, size in visible.items())
    return (
        f"With {tasks} tasks, a difference that is seen four times in five: {seen}. "
        f"{_needed(spread, tasks, min(seeds), margin, scale)}"
    )


def power_after(found: Difference, *, margin: float, bounds: tuple[float, float] | None = SHARES) -> str:
    """What the experiment could have seen, by the spread that it showed itself; with few seeds a rough guess."""
    scale = Scale(bounds=bounds)
    if found.seeds < 2:
        return "One seed does not show how seeds differ: run at least 3. Seeds that all give the same scores are one."
    seen = smallest_visible(found.spread, seeds=found.seeds, tasks=found.tasks, level=found.level)
    return (
        f"With {found.seeds} seeds and {found.tasks} tasks, differences above {scale.size(seen, signed=False)} are "
        f"seen four times in five. {_needed(found.spread, found.tasks, found.seeds, margin, scale, found.level)}"
    )


def _needed(spread: Spread, tasks: int, seeds: int, margin: float, scale: Scale, level: float = 0.95) -> str:
    size = scale.size(margin, signed=False)
    enough = seeds_needed(spread, margin, tasks=tasks, level=level)
    if enough is not None:
        return f"For {size} it takes {enough} seeds."
    more = tasks_needed(spread, margin, seeds=max(seeds, 5), level=level)
    if more is not None:
        return f"For {size} no number of seeds is enough; with {max(seeds, 5)} seeds it takes some {more} tasks."
    return f"For {size} it takes more seeds and more tasks than {tasks}."


@dataclass(frozen=True, kw_only=True)
class _Facts:
    arm: str
    against: str
    found: Difference
    low: Difference | None
    high: Difference | None
    missing: int
    failed_seeds: int


def _compared(
    tables: Mapping[str, Array], arms: Sequence[str], against: str, margin: float, level: float, scale: Scale
) -> list[Compared]:
    facts = [_facts(tables, arm, against, margin, level, scale) for arm in arms]
    differ = holm([_p(one) for one in facts])
    within = holm([_worst(one, "p_within") for one in facts])
    return [_decide(one, p=p, within=q, level=level) for one, p, q in zip(facts, differ, within, strict=True)]


def _facts(tables: Mapping[str, Array], arm: str, against: str, margin: float, level: float, scale: Scale) -> _Facts:
    a, b = tables[arm], tables[against]
    if _seedless(a):
        a, b = a[:1], b[:1]
    gone_a, gone_b = np.isnan(a), np.isnan(b)
    missing = int(gone_a.sum() + gone_b.sum())
    failed = int(gone_a.all(1).sum() + gone_b.all(1).sum())
    found = _of_common(a, b, margin, level)
    low: Difference | None = None
    high: Difference | None = None
    if not missing:
        low = high = found
    elif scale.bounds is not None:
        least, most = scale.bounds
        low, high = (
            difference_over_seeds(np.where(gone_a, mine, a), np.where(gone_b, theirs, b), margin=margin, level=level)
            for mine, theirs in ((least, most), (most, least))
        )
    return _Facts(arm=arm, against=against, found=found, low=low, high=high, missing=missing, failed_seeds=failed)


def _seedless(table: Array) -> bool:
    """Whether seeds that made a difference nowhere stand behind scores that are not all one value: that is one seed."""
    return len(table) > 1 and bool((table == table[0]).all()) and float(np.ptp(table)) > 0


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


def _p(one: _Facts) -> float:
    """The p-value of a difference under both bounds; 1 where they do not agree on the sign."""
    if one.low is None or one.high is None:
        return nan
    return max(one.low.p, one.high.p) if one.low.point * one.high.point > 0 else 1.0 if one.found.seeds > 1 else nan


def _worst(one: _Facts, name: Literal["p_within", "p_not_worse"]) -> float:
    return nan if one.low is None or one.high is None else max(getattr(one.low, name), getattr(one.high, name))


def _sign(one: _Facts) -> int:
    assert one.low is not None
    return 1 if one.low.point > 0 else -1


def _decide(one: _Facts, *, p: float, level: float, within: float = nan) -> Compared:
    claim: Claim = "not decided"
    if within <= 1 - level:
        claim = "equivalent"
    elif p <= 1 - level:
        claim = "better" if _sign(one) > 0 else "worse"
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


def _told(one: Compared, margin: float, level: float, scale: Scale) -> list[str]:
    size, found = scale.size(margin, signed=False), one.found
    words = {
        "better": f"{one.arm} is better than {one.against}",
        "worse": f"{one.arm} is worse than {one.against}",
        "equivalent": f"{one.arm} is equivalent to {one.against} within {size}",
        "not decided": f"Not decided whether {one.arm} is better or worse than {one.against}",
    }
    sentences = [f"{words[one.claim]}: {_numbers(one, level, scale)}."]
    if one.claim == "equivalent" and found.p <= 1 - level:
        sentences.append("They do differ, but by less than what matters.")
    if one.claim in ("better", "worse") and found.low < margin and found.high > -margin:
        sentences.append(f"The difference may be smaller than {size}, the smallest that matters.")
    if one.claim == "not decided" and one.not_worse:
        sentences.append(f"It is no worse by {size} or more.")
    if one.missing:
        sentences.append(_gaps(one, scale))
    if one.claim == "not decided" and found.seeds >= 1 and not (found.seeds > 1 and isnan(found.low)):
        sentences.append(power_after(found, margin=margin, bounds=scale.bounds))
    if found.seeds > 1 and isnan(found.low):
        sentences.append("Every score of both arms is the same, so these tasks cannot tell arms apart.")
    return sentences


def _numbers(one: Compared, level: float, scale: Scale) -> str:
    found = one.found
    if isnan(found.point):
        return "no seed was scored on both sides"
    seeds = f"{found.seeds} seed{'s' if found.seeds != 1 else ''}, {found.tasks} task{'s' if found.tasks != 1 else ''}"
    if not isfinite(found.low):
        return f"{scale.size(found.point)} ({seeds}, no interval)"
    p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}"
    band = f"{100 * level:g}% interval {scale.size(found.low).removesuffix(' points')} to {scale.size(found.high)}"
    return f"{scale.size(found.point)} ({band}; {seeds}; {p if isfinite(one.p) else 'no p-value'})"


def _gaps(one: Compared, scale: Scale) -> str:
    failed = f", {one.failed_seeds} whole seed{'s' if one.failed_seeds != 1 else ''} among them" * bool(
        one.failed_seeds
    )
    what = f"{one.missing} score{'s are' if one.missing != 1 else ' is'} missing{failed}"
    if one.low_bound is None or one.high_bound is None:
        return f"{what}, and nothing bounds what they could have been."
    return (
        f"{what}: had they been the worst or the best for {one.arm}, the difference would be "
        f"{scale.size(one.low_bound.point)} or {scale.size(one.high_bound.point)}. A claim must hold both times."
    )


def _of_controls(
    one: Compared, against: Sequence[Compared], of_controls: Sequence[Compared], evidence: Evidence, scale: Scale
) -> list[str]:
    if one.claim != "better":
        return []
    if evidence == "no control":
        return ["There was no control, so the gain may come from anything that training does."]
    if evidence == "for the arm":
        return [f"{one.arm} is also better than every control ({', '.join(each.against for each in against)})."]
    sentences = []
    for each, control in zip(against, of_controls, strict=True):
        if each.claim != "better":
            gain = " shows the gain too, and" if control.claim == "better" else ""
            sentences.append(
                f"The control {each.against}{gain} is not shown to be worse than {one.arm} "
                f"({_numbers(each, each.found.level, scale)}): no evidence for the reward."
            )
    return sentences or ["Over all arms and controls together, the lead over the controls may be chance."]


def _check(
    tables: Mapping[str, Array],
    reference: str,
    controls: Collection[str],
    untrained: Collection[str],
    bounds: tuple[float, float] | None,
) -> None:
    unknown = sorted({reference, *controls, *untrained} - tables.keys())
    if unknown:
        raise ValueError(f"there are no scores of {', '.join(unknown)}; there are those of {', '.join(tables)}")
    if reference in controls:
        raise ValueError(f"{reference} is the reference, so it cannot be a control as well")
    shapes = {name: table.shape for name, table in tables.items()}
    if any(len(shape) != 2 or 0 in shape for shape in shapes.values()):
        raise ValueError(f"wanted scores of seeds by tasks for every arm, got {shapes}")
    if len({tasks for _, tasks in shapes.values()}) > 1:
        raise ValueError(f"arms can only be compared on the same tasks, got (seeds, tasks) {shapes}")
    if len({seeds for name, (seeds, _) in shapes.items() if name not in untrained}) > 1:
        raise ValueError(
            f"arms can only be compared over the same seeds, got (seeds, tasks) {shapes}; a seed that failed is a row "
            "of nan, and an arm that was not trained is named in untrained"
        )
    several = [name for name in untrained if len(tables[name]) != 1]
    if several:
        raise ValueError(f"an arm that was not trained has one row of scores; {several[0]} has {shapes[several[0]][0]}")
    if bounds is None:
        return
    least, most = bounds
    for name, table in tables.items():
        outside = table[(table < least) | (table > most)]
        if outside.size:
            raise ValueError(
                f"scores were said to lie from {least:g} to {most:g}, but {name} has {outside[0]:g}: give the true "
                "bounds, or None where there are none"
            )
