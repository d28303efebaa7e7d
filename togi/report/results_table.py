"""The table of evaluated models: led by pass@1, or by the mean score where scores are more than right or wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from togi.evidence.after.evaluation_summary import Summary
from togi.report.plots import number, strip
from togi.short_values import MISSING, percent, text
from togi.statistics import Interval

TINTS = ("s0", "s1", "s2", "s3", "s4")


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One evaluated model: ``strip`` and ``single`` show what leads."""

    name: str
    tint: str
    strip: Markup
    single: str
    band: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """What leads, a row a model, and the rest, a column a model: tables that fit a page."""

    axis: str
    lead: str
    rows: tuple[ModelRow, ...]
    rest: tuple[tuple[str, list[str]], ...]


def counts_passes(summaries: Sequence[Summary]) -> bool:
    """Whether passing says anything: scores are right or wrong, or some attempt of graded ones reaches the mark."""
    if not any(one.graded for one in summaries):
        return True
    return any(one.pass_at_1 is not None and one.pass_at_1.point > 0 for one in summaries)


def results(summaries: Sequence[Summary]) -> Results | None:
    """The table, None when nothing was evaluated."""
    if not summaries:
        return None
    graded = any(one.graded for one in summaries)
    low, high = _span(summaries) if graded else (0.0, 1.0)
    many = max((k for one in summaries for k in one.pass_at), default=1)
    heads = _heads(summaries, graded, many)
    rows = [
        ModelRow(
            name=text(one.model),
            tint=tint,
            strip=strip(_lead(one, graded), tint, low=low, high=high),
            single=_single(one, graded),
            band=scores(_lead(one, graded)) if graded else interval(_lead(one, graded)),
        )
        for one, tint in zip(summaries, TINTS * len(summaries), strict=False)
    ]
    lead = "mean score" if graded else "pass@1"
    axis = f"{lead}, {number(low)} to {number(high)}" if graded else "pass@1, 0 to 100%"
    rest = tuple((head, [_cell(head, one, many) for one in summaries]) for head in heads)
    counted = sorted({name for one in summaries for name in one.counts})
    rest += tuple((f"{name}, an attempt", [_counted(one.counts.get(name)) for one in summaries]) for name in counted)
    return Results(axis=axis, lead=lead, rows=tuple(rows), rest=rest)


def _heads(summaries: Sequence[Summary], graded: bool, many: int) -> list[str]:
    heads = []
    if counts_passes(summaries):
        heads += ["pass@1"] if graded else []
        heads += [f"pass@{many}"] if many > 1 else []
    heads += [] if graded else ["mean reward"]
    heads += ["KL from base, nats an answer"] if any(one.kl is not None for one in summaries) else []
    heads += ["well-formed"] if any(one.well_formed is not None for one in summaries) else []
    return [*heads, "cut at a limit", "tokens of an answer, mean", "attempts without a score"]


def _cell(head: str, one: Summary, many: int) -> str:
    cells = {
        f"pass@{many}": with_interval(one.pass_at.get(many)),
        "pass@1": percent(one.pass_at_1.point if one.pass_at_1 else None),
        "mean reward": MISSING if one.reward is None else f"{one.reward.point:.3f}",
        "KL from base, nats an answer": _moved(one),
        "well-formed": percent(one.well_formed),
        "cut at a limit": percent(one.truncated),
        "tokens of an answer, mean": f"{one.length_mean:.1f}",
        "attempts without a score": str(sum(one.unscored.values())),
    }
    return cells[head]


def _counted(mean: float | None) -> str:
    """What an environment counted, mean over attempts."""
    return MISSING if mean is None else f"{mean:.2f}"


def _moved(one: Summary) -> str:
    """How far a model is from the base, which is at 0 by itself."""
    if one.kl is None:
        return "0" if one.model == "base" else MISSING
    return f"{one.kl.point:.2f} ({scores(one.kl, 2)})"


def _lead(one: Summary, graded: bool) -> Interval | None:
    return one.reward if graded else one.pass_at_1


def _single(one: Summary, graded: bool) -> str:
    lead = _lead(one, graded)
    if lead is None:
        return MISSING
    return f"{lead.point:.3f}" if graded else percent(lead.point)


def _span(summaries: Sequence[Summary]) -> tuple[float, float]:
    """From 0, or from the lowest bound where that is lower, to the highest."""
    bounds = [bound for one in summaries if one.reward for bound in (one.reward.point, one.reward.low, one.reward.high)]
    known = [bound for bound in bounds if math.isfinite(bound)]
    low, high = min([0.0, *known]), max([0.0, *known])
    return (low, high) if high > low else (low, low + 1.0)


def interval(one: Interval | None) -> str:
    """A percentage's bounds."""
    if one is None or one.low != one.low:
        return "no interval"
    return f"{100 * one.low:.1f}–{100 * one.high:.1f}"


def scores(one: Interval | None, digits: int = 3) -> str:
    """A score's bounds, with a word between them, since either may be negative."""
    if one is None or one.low != one.low:
        return "no interval"
    return f"{one.low:.{digits}f}\u00a0to\u00a0{one.high:.{digits}f}"


def with_interval(one: Interval | None) -> str:
    return MISSING if one is None else f"{percent(one.point)} ({interval(one)})"
