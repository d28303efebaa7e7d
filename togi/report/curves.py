"""Which learning curves a stage gets, and the table of all its metrics. It knows metric names, and no page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.evaluation_summary import summary
from togi.evidence.read_run import Json
from togi.report.plots import Line, Number, legend, line_chart, number, share, stacked_chart

TINTS = ("s2", "s1", "s3", "s4", "s0")
# Where completions were recorded and not sampled, these describe the data and not the model.
DRIVES = "attribution/"
SAMPLED_ONLY = ("reward", "gold", "frac_reward_zero_std", "completions/mean_length", "completions/clipped_ratio")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with its caption; ``now`` is where the thick line ends, ``legend`` names the lines when there are
    several, ``stacked`` says that they are bars.
    """

    title: str
    name: str
    now: str
    svg: Markup
    legend: tuple[tuple[str, str, int], ...] = ()
    stacked: bool = False


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    name: str
    first: str
    last: str
    low: str
    high: str
    mean: str


WANTED: tuple[tuple[str, str, Number], ...] = (
    ("reward", "Mean reward", number),
    ("gold", "The truth behind the reward, mean", number),
    ("rewards/accuracies", "Preferred answer ranked higher", share),
    ("rewards/margins", "Margin between the two answers", number),
    ("frac_reward_zero_std", "Groups without signal", share),
    ("completions/mean_length", "Completion length, tokens", number),
    ("completions/clipped_ratio", "Cut at a limit", share),
    ("kl", "KL to the reference, nats a token", number),
    ("kl_sequence", "KL to the reference, nats an answer", number),
    ("kl_coef", "Price of the KL", number),
    ("entropy", "Entropy, nats a token", number),
    ("sampled_entropy", "Entropy of what was sampled, nats a token", number),
    ("clip_ratio/region_mean", "Tokens outside the clip range", share),
    ("sampling/sampling_logp_difference/mean", "Sampler against trainer, nats", number),
    ("staleness/mean", "Steps since a group's weights, mean", number),
    ("loss", "Loss", number),
    ("loss/value_avg", "Loss of the critic", number),
    ("nll_loss", "Likelihood term of the loss", number),
    ("grad_norm", "Gradient norm", number),
    ("learning_rate", "Learning rate", number),
)

PAIRED = (
    ("Scores of the two answers", "rewards/"),
    ("Log-probability of the two answers, nats", "logps/"),
)


def figures(rows: Sequence[Json], sampled: bool) -> list[Figure]:
    """The curves of one stage, those that were recorded, rewards first."""
    wanted = [entry for entry in WANTED if sampled or entry[0] not in SAMPLED_ONLY]
    found = [_figure(rows, *entry) for entry in wanted]
    if sampled:
        found.insert(2, _bundle(rows, "Parts of the reward, mean", "rewards/", "/mean", number))
        found.insert(3, _drivers(rows))
    for title, prefix in PAIRED:
        found.append(_lines(rows, title, [(f"{prefix}{side}", side) for side in ("chosen", "rejected")], number))
    found.append(_bundle(rows, "Attempts without a score", "unscored/", "", share))
    found.append(_bundle(rows, "Attempts that earned 0 by their own fault", "own_fault/", "", share))
    return [figure for figure in found if figure is not None]


def held_out_course(records: Sequence[EvaluationRecord], before: int) -> list[Figure]:
    """The held-out results on the way of a stage that began after ``before`` steps of the run, with 95% bands."""
    counted = [summary(record) for record in sorted(records, key=lambda record: record["step"])]
    graded = any(one.graded for one in counted)
    known = [(one.step - before, found) for one in counted if (found := one.reward if graded else one.pass_at_1)]
    if len(known) < 2:
        return []
    title = "Held-out result on the way: " + ("mean score" if graded else "pass@1")
    x, y = [float(step) for step, _ in known], [found.point for _, found in known]
    bands = [(found.low, found.high) for _, found in known if found.low == found.low]
    line = Line(name=title, tint="s1", x=x, y=y, band=bands if len(bands) == len(x) else (), dots=True)
    shown = number if graded else share
    svg = line_chart(title, [line], y_number=shown)
    return [Figure(title=title, name="held_out", now=shown(y[-1]), svg=svg)]


def values(rows: Sequence[Json], name: str) -> list[float | None]:
    """A metric over the steps, None where it is missing or not a number."""
    return [float(row[name]) if isinstance(row.get(name), int | float) else None for row in rows]


def _steps(rows: Sequence[Json]) -> list[float]:
    return [float(row["step"]) for row in rows]


def _figure(rows: Sequence[Json], name: str, title: str, shown: Number) -> Figure | None:
    y = values(rows, name)
    known = [value for value in y if value is not None]
    if not known:
        return None
    smooth = running_mean(y)
    lines = [Line(name=title, tint="s2 raw" if smooth else "s2", x=_steps(rows), y=y)]
    if smooth:
        lines.append(Line(name="running mean", tint="s2", x=_steps(rows), y=smooth, hints=False))
    last = next(value for value in reversed(smooth or y) if value is not None)
    return Figure(title=title, name=name, now=shown(last), svg=line_chart(title, lines, y_number=shown))


def smoothed(steps: int) -> int:
    """Over how many steps a thick line is a mean; 0 where there are too few for one."""
    return max(3, steps // 10) if steps >= 12 else 0


def running_mean(y: Sequence[float | None]) -> list[float | None]:
    """The mean over the last steps at each; nothing for short series."""
    width = smoothed(len(y))
    if not width:
        return []
    result: list[float | None] = []
    for end in range(1, len(y) + 1):
        near = [value for value in y[max(0, end - width) : end] if value is not None]
        result.append(float(np.mean(near)) if near else None)
    return result


def _bundle(rows: Sequence[Json], title: str, prefix: str, suffix: str, shown: Number) -> Figure | None:
    """All metrics named PREFIX…SUFFIX in one chart, at most five; the table has the rest."""
    names = sorted({name for row in rows for name in row if name.startswith(prefix) and name.endswith(suffix)})
    return _lines(rows, title, [(name, name.removeprefix(prefix).removesuffix(suffix)) for name in names], shown)


def _lines(rows: Sequence[Json], title: str, named: Sequence[tuple[str, str]], shown: Number) -> Figure | None:
    """Metrics and their labels in one chart, those that were recorded."""
    known = [pair for pair in named if any(value is not None for value in values(rows, pair[0]))][: len(TINTS)]
    if not known:
        return None
    lines = [
        Line(name=label, tint=tint, x=_steps(rows), y=values(rows, name), dash=dash)
        for dash, ((name, label), tint) in enumerate(zip(known, TINTS, strict=False))
    ]
    svg = line_chart(title, lines, y_number=shown)
    return Figure(title=title, name=known[0][0], now="", svg=svg, legend=legend(lines))


def _drivers(rows: Sequence[Json]) -> Figure | None:
    """Which parts of the reward the advantages came from, stacked: they sum to the whole."""
    known = [row for row in rows if any(name.startswith(DRIVES) for name in row)]
    mean = {
        name: float(np.mean([row.get(name) or 0.0 for row in known]))
        for name in sorted({name for row in known for name in row if name.startswith(DRIVES)})
    }
    names = sorted(mean, key=lambda name: -abs(mean[name]))[: len(TINTS)]
    if not names:
        return None
    lines = [
        Line(name=name.removeprefix(DRIVES), tint=tint, x=_steps(known), y=values(known, name))
        for name, tint in zip(names, TINTS, strict=False)
    ]
    title = "What drove learning: each part's share"
    shares = tuple((f"{line.name} {share(mean[name])}", line.tint, 0) for name, line in zip(names, lines, strict=True))
    svg = stacked_chart(title, lines, y_number=share)
    return Figure(title=title, name=DRIVES, now="", svg=svg, legend=shares, stacked=True)


def metric_table(rows: Sequence[Json]) -> list[MetricRow]:
    """Every metric of a stage with its ends and extremes."""
    names = sorted({name for row in rows for name in row} - {"stage", "step"})
    table = []
    for name in names:
        known = [value for value in values(rows, name) if value is not None]
        if known:
            ends = (known[0], known[-1], min(known), max(known), float(np.mean(known)))
            first, last, low, high, mean = (number(value) for value in ends)
            table.append(MetricRow(name=name, first=first, last=last, low=low, high=high, mean=mean))
    return table
