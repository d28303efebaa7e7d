"""What a search tried, as pictures: how its best rose, and what trials gave over each key. It decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from togi.experiment.outcome import Outcome
from togi.experiment.sweep.search_told import in_shares
from togi.report.curves import Figure
from togi.report.plots import Line, line_chart, number, share, ticks
from togi.short_values import text


def search_figures(outcome: Outcome) -> Iterator[Figure]:
    """What trials gave over their order, and over each key that is a number; nothing before two have finished."""
    done = [(trial, trial.value) for trial in outcome.trials if trial.how == "done" and trial.value is not None]
    if len(done) < 2:
        return
    shown = share if in_shares(outcome) else number
    order = [float(trial.number) for trial, _ in done]
    values = [value for _, value in done]
    best = [max(values[: end + 1]) for end in range(len(values))]
    lines = [_dots("trial", order, values), Line(name="best so far", tint="s2", x=order, y=best, hints=False)]
    measure = text(outcome.plan["measure"])
    title = f"{measure} of trials, on the tasks that choose"
    svg = line_chart(title, lines, y_number=shown, x_name="trial")
    yield Figure(title=title, name="trials", now="", svg=svg)
    for key, space in outcome.plan["sweep"]["keys"].items():
        if "low" not in space:
            continue
        title, places = f"{measure} over {text(key)}", [float(trial.values[key]) for trial, _ in done]
        marks = _marks(min(places), max(places), log=space["log"])
        if space["log"]:
            places, marks = [math.log10(each) for each in places], [(math.log10(at), label) for at, label in marks]
        svg = line_chart(title, [_dots("trial", places, values)], y_number=shown, x_name=text(key), x_ticks=marks)
        yield Figure(title=title, name="trials", now="", svg=svg)


def _marks(low: float, high: float, *, log: bool) -> list[tuple[float, str]]:
    """A few round numbers within what was tried, powers of ten where orders of magnitude count; else its ends."""
    if low == high:
        return [(low, number(low))]
    within = ticks(low, high)
    if log:
        powers = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
        within = powers[:: max(1, len(powers) // 4)]
    return [(at, number(at)) for at in (within if len(within) > 1 else [low, high])]


def _dots(name: str, x: Sequence[float], y: Sequence[float]) -> Line:
    """Points that no line joins."""
    pairs = sorted(zip(x, y, strict=True))
    gaps = [(at, value) for pair in pairs for at, value in (pair, (pair[0], None))]
    return Line(name=name, tint="s1", x=[at for at, _ in gaps], y=[value for _, value in gaps])
