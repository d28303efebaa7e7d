"""Tables and pictures of preferences: reward models on held-out pairs, win rates, diversity. It reads no file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from markupsafe import Markup

from togi.evidence.after.diversity import Change, diversity, fair_sizes
from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.win_rate import win_rate
from togi.report.plots import Line, line_chart, share, strip
from togi.report.preference_sentences import more_alike
from togi.short_values import MISSING, percent, text
from togi.statistics import Interval

if TYPE_CHECKING:
    from togi.evidence.after.pair_agreement import Agreement, Calibration

Row = tuple[str, list[str]]
LEFT_OUT = {
    "alone": "with one answer only",
    "tie": "of equal worth",
    "identical": "of the same answer twice",
    "unscored": "without a score",
}


@dataclass(frozen=True, kw_only=True)
class RewardModelView:
    """One scorer on held-out pairs. ``reliability`` is empty where nothing could be measured."""

    name: str
    verdict: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    reliability: Markup
    lengths: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class WinRow:
    winner: str
    loser: str
    strip: Markup
    rate: str
    band: str
    ties: str
    words: str


@dataclass(frozen=True, kw_only=True)
class DiversityView:
    """One column a model and one for the change from the first to the last; ``sizes`` says what was drawn."""

    sentence: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    sizes: str


def reward_model_view(one: Agreement) -> RewardModelView:
    from togi.evidence.after.pair_agreement import verdict

    shown = one.calibration
    skipped = ", ".join(f"{count} {LEFT_OUT.get(why, why)}" for why, count in one.skipped.items() if count)
    rows = [
        ("Held-out pairs", f"{one.pairs} of {one.tasks} tasks"),
        ("Agrees with the labels", _share(one.accuracy)),
        ("Agrees with the truth", _share(one.truth)),
        ("Labels that are wrong by the truth", _share(one.noise)),
        ("Calibration error", MISSING if shown is None else f"{100 * shown.error:.1f} points"),
        ("Log loss, nats", MISSING if shown is None else f"{shown.log_loss:.3f} (guessing: {math.log(2):.3f})"),
        ("Left out", skipped or "nothing"),
    ]
    return RewardModelView(
        name=text(one.name),
        verdict=verdict(one),
        facts=tuple(row for row in rows if row[1] != MISSING),
        reliability=Markup("") if shown is None else _reliability(shown),
        lengths=_lengths(one),
    )


def _share(one: Interval | None) -> str:
    if one is None:
        return MISSING
    return f"{percent(one.point)} ({_bounds(one)})" if math.isfinite(one.low) else percent(one.point)


def _bounds(one: Interval, digits: int = 1, factor: float = 100.0) -> str:
    if not math.isfinite(one.low):
        return "no interval"
    return f"{factor * one.low:.{digits}f}–{factor * one.high:.{digits}f}"


def _reliability(shown: Calibration) -> Markup:
    """How often the favoured answer is preferred, over the chance that the scores give it."""
    x = [one.predicted for one in shown.bins]
    ideal = Line(name="if every chance were right", tint="s0", x=[0.5, 1.0], y=[0.5, 1.0], hints=False, dash=1)
    seen = Line(name="observed", tint="s2", x=x, y=[one.observed for one in shown.bins], dots=True)
    low = min([0.5, *(one.observed for one in shown.bins)])
    marks = [(value, share(value)) for value in (0.5, 0.6, 0.7, 0.8, 0.9)]
    span = (math.floor(10 * low) / 10, 1.0)
    title = "How often the favoured answer is preferred, over the chance given to it"
    return line_chart(title, [ideal, seen], y_number=share, y_span=span, x_ticks=marks, x_name="chance given")


def _lengths(one: Agreement) -> tuple[Row, ...]:
    if one.length is None:
        return ()
    kinds = (("longer", one.length.longer), ("shorter", one.length.shorter), ("equal", one.length.equal))
    words = {"longer": "preferred one is longer", "shorter": "preferred one is shorter", "equal": "same length"}
    return tuple((words[kind], [str(one.length.pairs[kind]), _share(found)]) for kind, found in kinds)


def win_rows(evaluations: Sequence[EvaluationRecord], tints: Sequence[str]) -> list[WinRow]:
    """Every later model against every earlier one, as far as they can be compared."""
    rows = []
    for (_, earlier), (number, later) in combinations(enumerate(evaluations), 2):
        try:
            found = win_rate(later, earlier)
        except ValueError:
            continue  # the verdict says which models cannot be compared, and why
        words = {"wins": "wins", "loses": "loses", "unclear": "no evidence of a difference"}
        rows.append(
            WinRow(
                winner=text(found.winner),
                loser=text(found.loser),
                strip=strip(found.rate, tints[number % len(tints)], axis=0.5),
                rate=percent(found.rate.point),
                band=_bounds(found.rate),
                ties=percent(found.ties),
                words=words[found.verdict],
            )
        )
    return rows


MEASURES = (
    ("similarity", "likeness of two attempts"),
    ("duplicates", "attempts whose text another one has"),
    ("distinct-1", "distinct words"),
    ("distinct-2", "distinct word pairs"),
    ("distinct-3", "distinct word triples"),
    ("entropy-1", "entropy of words, nats"),
    ("entropy-2", "entropy of word pairs, nats"),
)


def diversity_view(evaluations: Sequence[EvaluationRecord], change: Change | str) -> DiversityView | None:
    """How varied answers are before and after; None when nothing can be measured."""
    sizes = fair_sizes(evaluations)
    measured = [diversity(one, sizes) for one in evaluations]
    rows = []
    for name, label in MEASURES:
        if any(name in one.measures for one in measured):
            cells = [_plain(one.measures.get(name)) for one in measured]
            if not isinstance(change, str):
                cells.append(_plain(change.measures.get(name), sign=True))
            rows.append((label, cells))
    if not rows:
        return None
    drawn = [f"{size} {kind}" for size, kind in zip(sizes.values(), ("words", "pairs", "triples"), strict=False)]
    heads = [text(one.model) for one in measured]
    return DiversityView(
        sentence=change if isinstance(change, str) else more_alike(change),
        heads=tuple(heads if isinstance(change, str) else [*heads, "change, first to last"]),
        rows=tuple(rows),
        sizes=", ".join(drawn),
    )


def _plain(one: Interval | None, *, sign: bool = False) -> str:
    if one is None:
        return MISSING
    plus = "+" if sign else ""
    known = f" ({one.low:{plus}.2f} to {one.high:{plus}.2f})" if math.isfinite(one.low) else ""
    return f"{one.point:{plus}.2f}{known}"
