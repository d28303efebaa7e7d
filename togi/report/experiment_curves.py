"""The curves of an experiment: metrics over steps and scores over bars, every seed a thin line. It decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from togi.experiment.outcome import Cell, Outcome
from togi.report.curves import SAMPLED_ONLY, WANTED, Figure, values
from togi.report.plots import Line, legend, line_chart, number, share
from togi.report.stage_sentences import sampled
from togi.short_values import text
from togi.statistics import over_seeds
from togi.statistics.profiles import performance_profile

# Metrics that say how a single run learns, and nothing of what sets arms apart.
UNSAID = ("learning_rate", "grad_norm", "sampling/sampling_logp_difference/mean", "clip_ratio/region_mean", "kl_coef")


def curves(outcome: Outcome, tints: dict[str, str]) -> Iterator[Figure]:
    """Metrics over the steps of the whole run: each seed a thin line, their mean a thick one with its interval."""
    for name, title, shown in WANTED:
        if name in UNSAID:
            continue
        lines: list[Line] = []
        named: list[Line] = []
        for dash, (arm, tint) in enumerate(tints.items()):
            series = [_series(cell, name) for cell in outcome.of_arm(arm) if cell.data is not None]
            series = [each for each in series if any(value is not None for value in each)]
            if not series:
                continue
            lines += [_line(each, f"{tint} raw", arm, hints=False) for each in series]
            named.append(_mean_line(series, tint, arm, dash))
        if named:
            everything = [value for line in lines for value in line.y if value is not None]
            lines += [_within(line, min(everything), max(everything)) for line in named]
            svg = line_chart(title, lines, y_number=shown)
            yield Figure(title=title, name=name, now="", svg=svg, legend=legend(named))


def _series(cell: Cell, name: str) -> list[float | None]:
    assert cell.data is not None
    data = cell.data
    kept = [row if name not in SAMPLED_ONLY or sampled(data, row["stage"]) else {} for row in data.metrics]
    return values(kept, name)


def _line(series: Sequence[float | None], tint: str, name: str, *, hints: bool = True) -> Line:
    return Line(name=text(name), tint=tint, x=[float(step + 1) for step in range(len(series))], y=series, hints=hints)


def _mean_line(series: Sequence[Sequence[float | None]], tint: str, name: str, dash: int) -> Line:
    """The mean over the seeds that have a step, and its interval where three or more do."""
    steps = max(map(len, series))
    columns = [[row[step] for row in series if step < len(row)] for step in range(steps)]
    known = [[value for value in column if value is not None] for column in columns]
    means = [float(np.mean(column)) if column else None for column in known]
    bands: list[tuple[float, float]] = []
    if min(map(len, known)) >= 3:
        found = [over_seeds(np.array(column)[:, None]) for column in known]
        bands = [(each.low, each.high) for each in found if math.isfinite(each.low)]
    return Line(
        name=text(name),
        tint=tint,
        x=[float(step + 1) for step in range(steps)],
        y=means,
        band=bands if len(bands) == steps else (),
        dash=dash,
    )


def _within(line: Line, low: float, high: float) -> Line:
    """The line with its band cut off where no seed ever was."""
    band = [(max(low, start), min(high, end)) for start, end in line.band]
    return Line(name=line.name, tint=line.tint, x=line.x, y=line.y, band=band, dash=line.dash)


def profile(outcome: Outcome, tints: dict[str, str]) -> Iterator[Figure]:
    """For each bar the share of seeds and tasks that score above it; nothing where there is a single task."""
    tables = {name: outcome.scores[name] for name in tints if name in outcome.scores}
    whole = {name: table[~np.isnan(table).any(1)] for name, table in tables.items()}
    whole = {name: table for name, table in whole.items() if len(table) and table.shape[1] > 1}
    if not whole:
        return
    every = np.unique(np.concatenate([table.ravel() for table in whole.values()]))
    bars = [float(bar) for bar in np.linspace(every[0], every[-1], 25)[:-1]] if len(every) > 1 else []
    lines = []
    for dash, (name, table) in enumerate(whole.items()):
        found = performance_profile(table, bars) if bars else []
        band = [(each.low, each.high) for each in found if math.isfinite(each.low)] if len(table) >= 3 else []
        lines.append(
            Line(
                name=text(name),
                tint=tints[name],
                x=bars,
                y=[each.point for each in found],
                band=band if len(band) == len(bars) else (),
                dash=dash,
                hints=False,
            )
        )
    if bars:
        title = f"Share of seeds and tasks that score above a bar ({text(outcome.plan['measure'])})"
        ticks = [(bar, number(bar, 2)) for bar in np.linspace(bars[0], bars[-1], 5).tolist()]
        svg = line_chart(title, lines, y_number=share, y_span=(0.0, 1.0), x_ticks=ticks, x_name="bar")
        yield Figure(title=title, name="profile", now="", svg=svg, legend=legend(lines))
