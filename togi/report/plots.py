"""Numbers -> inline SVG. No scripts, no style attributes: colours and type come from the page's classes.

Charts are drawn in a box about as wide as a telephone, and the page decides how many stand side by side, so text
keeps a readable size everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from markupsafe import Markup

from togi.harmless_text import visible
from togi.statistics import Interval

WIDTH, HEIGHT = 340.0, 176.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 10.0, 10.0, 24.0
DIGIT = 6.2  # width of a digit of a tick's label
POINTS = 240  # more points than a chart has pixels say nothing
DASHES = 5  # kinds of dashes in the style sheet, the first of them none


class Number(Protocol):
    """How a value is written, with so many digits."""

    def __call__(self, value: float, digits: int = 3) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve: x rises, y may be None where nothing was recorded. ``band`` holds (low, high) for each point.

    ``dots`` marks every point instead of the last; ``hints`` lets the pointer read values. ``dash`` is which of the
    kinds of dashes it is drawn with, so that a line under another one is seen through its gaps.
    """

    name: str
    tint: str
    x: Sequence[float]
    y: Sequence[float | None]
    band: Sequence[tuple[float, float]] = ()
    dots: bool = False
    hints: bool = True
    dash: int = 0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps [low, high] onto pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def number(value: float, digits: int = 3) -> str:
    """A short number: 0.0012, 0.35, 4.2, 120, 12k, 3.4M."""
    size = abs(value)
    if value == 0:
        return "0"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            divisor = 1e3 if unit == "k" else limit
            return f"{value / divisor:.{digits}g}{unit}"
    if size < 1e-4:
        return f"{value:.{digits - 1}g}"
    return f"{value:.{digits}g}" if size < 1000 or digits > 3 else f"{value:.0f}"


def share(value: float, digits: int = 3) -> str:
    return f"{100 * value:.{digits}g}%"


def ticks(low: float, high: float, want: int = 4) -> list[float]:
    """Round numbers within [low, high], two at least: steps of 1, 2 or 5 times a power of ten, or half of that."""
    step = 10 ** math.floor(math.log10((high - low) / want))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= want)
    found = _multiples(step, low, high)
    return found if len(found) > 1 else _multiples(step / 2, low, high)


def _multiples(step: float, low: float, high: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _labelled(values: Sequence[float], shown: Number) -> list[tuple[float, str]]:
    """Ticks with their labels, with as many digits as it takes to tell them apart."""
    labels = [shown(value) for value in values]
    for digits in range(4, 10):
        if len(set(labels)) == len(labels):
            break
        labels = [shown(value, digits) for value in values]
    return list(zip(values, labels, strict=True))


def _left(marks: Sequence[tuple[float, str]]) -> float:
    """The room that the labels of the upright axis need."""
    return max(LEFT, 10.0 + DIGIT * max((len(label) for _, label in marks), default=0))


def _span(values: Iterable[float], zero: bool) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if zero and low >= 0 and low < 0.6 * high:
        low = 0.0
    if high - low < 1e-12 * max(1.0, abs(high)):
        if low == 0:
            return 0.0, 1.0
        return (0.0, 2 * high) if low > 0 else (1.5 * low, 0.5 * high)
    return low, high + 0.05 * (high - low)


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    y_number: Number = number,
    y_span: tuple[float, float] | None = None,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    x_name: str = "step",
) -> Markup:
    """Curves over x, with gaps where values are missing. Empty markup when there is nothing to draw."""
    lines = [_thin(line) for line in lines if any(value is not None for value in line.y)]
    if not lines:
        return Markup("")
    xs = [value for line in lines for value in line.x]
    ys = [value for line in lines for value in line.y if value is not None]
    ys += [bound for line in lines for pair in line.band for bound in pair]
    low, high = min(xs), max(xs)
    bottom, top = y_span or _span(ys, zero=True)
    y = Scale(low=bottom, high=top, start=HEIGHT - BOTTOM, end=TOP)
    marks = _labelled(ticks(bottom, top), y_number)
    x = Scale(low=low, high=high if high > low else low + 1, start=_left(marks), end=WIDTH - RIGHT)
    if x_ticks is None:
        x_ticks = [(value, f"{value:g}") for value in ticks(x.low, x.high, 5) if value == round(value)]
    parts = [_grid(marks, x_ticks, x, y)]
    parts += [_line(line, x, y, y_number) for line in lines]
    return _svg(title, f"Curve over {x_name}: " + "; ".join(_told(line, y_number) for line in lines), parts)


def legend(lines: Sequence[Line]) -> tuple[tuple[str, str, int], ...]:
    """Name, tint and dash of each line, and of those that lie on an earlier one, which one that is."""
    entries = []
    for number_of, line in enumerate(lines):
        under = next((other.name for other in lines[:number_of] if _alike(line, other)), None)
        entries.append((f"{line.name} (the same as {under})" if under else line.name, line.tint, line.dash))
    return tuple(entries)


def _alike(one: Line, other: Line) -> bool:
    """Whether no eye could tell two lines apart: they differ by less than a hundredth of what they span."""
    if list(one.x) != list(other.x) or [y is None for y in one.y] != [y is None for y in other.y]:
        return False
    pairs = [(a, b) for a, b in zip(one.y, other.y, strict=True) if a is not None and b is not None]
    values = [value for pair in pairs for value in pair]
    return bool(pairs) and max(abs(a - b) for a, b in pairs) <= 0.01 * (max(values) - min(values))


def _thin(line: Line) -> Line:
    """At most ``POINTS`` points, the last one always among them."""
    stride = math.ceil(len(line.x) / POINTS)
    if stride <= 1:
        return line
    keep = sorted({*range(0, len(line.x), stride), len(line.x) - 1})
    band = [line.band[index] for index in keep] if line.band else ()
    return replace(line, x=[line.x[index] for index in keep], y=[line.y[index] for index in keep], band=band)


def _told(line: Line, y_number: Number) -> str:
    known = [value for value in line.y if value is not None]
    return f"{line.name} from {y_number(known[0])} to {y_number(known[-1])}"


def _grid(y_ticks: Sequence[tuple[float, str]], x_ticks: Sequence[tuple[float, str]], x: Scale, y: Scale) -> Markup:
    parts = []
    for value, label in y_ticks:
        at = f"{y(value):.1f}"
        start, end = f"{x.start:.1f}", f"{x.end:.1f}"
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(start, end, at, at))
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="end" dy="3.5">{}</text>').format(
                f"{x.start - 6:.1f}", at, label
            )
        )
    return Markup("").join([*parts, *(_below(x(value), label, HEIGHT - 7) for value, label in x_ticks)])


def _below(at: float, label: str, y: float) -> Markup:
    """The label of a tick under a chart, moved inwards where it would be cut off at the side."""
    half = DIGIT * len(label) / 2
    inside = min(max(at, half), WIDTH - half)
    return Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(f"{inside:.1f}", y, label)


def _line(line: Line, x: Scale, y: Scale, y_number: Number) -> Markup:
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(line.x, line.y, strict=True):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((x(at), y(value)))
    parts = []
    if line.band:
        edge = [(x(at), y(pair[1])) for at, pair in zip(line.x, line.band, strict=True)]
        edge += [(x(at), y(pair[0])) for at, pair in reversed(list(zip(line.x, line.band, strict=True)))]
        parts.append(Markup('<polygon class="band {}" points="{}"/>').format(line.tint, _points(edge)))
    for run in runs:
        if len(run) > 1:
            style = f"{line.tint} d{line.dash}" if line.dash else line.tint
            parts.append(Markup('<polyline class="line {}" points="{}"/>').format(style, _points(run)))
    alone = [run[0] for run in runs if len(run) == 1]
    ends = [run[-1] for run in runs if run][-1:]
    every = [pair for run in runs for pair in run]
    for cx, cy in every if line.dots else dict.fromkeys([*alone, *ends]):
        dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.6"/>')
        parts.append(dot.format(line.tint, f"{cx:.1f}", f"{cy:.1f}"))
    hints = [
        Markup('<circle class="hint" cx="{}" cy="{}" r="6"><title>{}</title></circle>').format(
            f"{x(at):.1f}", f"{y(value):.1f}", visible(f"{line.name} at {at:g}: {y_number(value)}")
        )
        for at, value in zip(line.x, line.y, strict=True)
        if value is not None and line.hints
    ]
    return Markup("").join([*parts, *hints])


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{px:.1f},{py:.1f}" for px, py in pairs)


def _svg(title: str, description: str, parts: Sequence[Markup], height: float = HEIGHT) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title><desc>{}</desc>')
    return (
        head.format(f"{WIDTH:g}", f"{height:g}", visible(title), visible(description))
        + Markup("").join(parts)
        + Markup("</svg>")
    )


STACKS = 60  # bars that can still be told apart


def stacked_chart(title: str, lines: Sequence[Line], *, y_number: Number = number) -> Markup:
    """What several parts add up to, one bar a step: positive values upwards from 0, negative ones downwards.

    All lines share their steps; where there are more than ``STACKS`` steps, a bar is the mean of its neighbours.
    """
    steps = len(lines[0].x) if lines else 0
    if not steps:
        return Markup("")
    edges = [round(part * steps / min(steps, STACKS)) for part in range(min(steps, STACKS) + 1)]
    pieces = [slice(a, b) for a, b in pairwise(edges)]
    means = [[_mean(line.y[piece]) for piece in pieces] for line in lines]
    tops = [sum(max(0.0, column[i]) for column in means) for i in range(len(pieces))]
    depths = [sum(min(0.0, column[i]) for column in means) for i in range(len(pieces))]
    low, high = _span([0.0, *tops, *depths], zero=True)
    marks = _labelled(ticks(low, high), y_number)
    x = Scale(low=0, high=len(pieces), start=_left(marks), end=WIDTH - RIGHT)
    y = Scale(low=low, high=high, start=HEIGHT - BOTTOM, end=TOP)
    first, last = lines[0].x[0], lines[0].x[-1]
    x_ticks = [(0.5, f"{first:g}"), (len(pieces) - 0.5, f"{last:g}")] if len(pieces) > 1 else [(0.5, f"{first:g}")]
    parts = [_grid(marks, x_ticks, x, y)]
    for i, piece in enumerate(pieces):
        up = down = 0.0
        at = f"{lines[0].x[piece][0]:g}"
        for line, column in zip(lines, means, strict=True):
            start, end = (up, up + column[i]) if column[i] >= 0 else (down, down + column[i])
            up, down = max(up, end), min(down, end)
            rect = Markup('<rect class="fill {}" x="{}" width="{}" y="{}" height="{}"><title>{}</title></rect>')
            upper, lower = y(max(start, end)), y(min(start, end))
            size = (f"{x(i):.1f}", f"{x(1) - x(0) - 0.6:.1f}", f"{upper:.1f}", f"{lower - upper:.1f}")
            parts.append(rect.format(line.tint, *size, visible(f"{line.name} at {at}: {y_number(column[i])}")))
    return _svg(title, "Bars over step: " + "; ".join(_told(line, y_number) for line in lines), parts)


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


def strip(interval: Interval | None, tint: str, *, low: float = 0.0, high: float = 1.0, axis: float = 0.0) -> Markup:
    """A point with its interval from ``low`` to ``high``, and a line at ``axis``; no text in it.

    It is stretched to whatever width the page gives.
    """
    if interval is None:
        return Markup("")
    scale = Scale(low=low, high=high, start=0.0, end=100.0)
    zero = Markup('<line class="axis" x1="{0}" x2="{0}" y1="0" y2="20"/>').format(f"{scale(axis):.2f}")
    bar = Markup("")
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        start, end = (scale(max(low, min(high, bound))) for bound in (interval.low, interval.high))
        rect = Markup('<rect class="range {}" x="{}" width="{}" y="6" height="8"/>')
        bar = rect.format(tint, f"{start:.2f}", f"{max(end - start, 0.3):.2f}")
    at = f"{scale(max(low, min(high, interval.point))):.2f}"
    point = Markup('<line class="point {0}" x1="{1}" x2="{1}" y1="2" y2="18"/>').format(tint, at)
    head = Markup('<svg class="strip" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">')
    return head + zero + bar + point + Markup("</svg>")


def bar(part: float, tint: str = "s2") -> Markup:
    """A horizontal bar that fills ``part`` (0 to 1) of the width the page gives."""
    head = Markup('<svg class="strip" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">')
    width = f"{100 * min(max(part, 0.0), 1.0):.2f}"
    return head + Markup('<rect class="fill {}" x="0" width="{}" y="4" height="12"/></svg>').format(tint, width)


def histogram(title: str, values: Sequence[float], tint: str, *, high: float, bins: int = 24) -> Markup:
    """How often each length occurs, on bins of equal width from 0 to ``high``; the median is marked."""
    if not values or high <= 0:
        return Markup("")
    counts = [0] * bins
    for value in values:
        counts[min(int(value / high * bins), bins - 1)] += 1
    x = Scale(low=0, high=high, start=LEFT, end=WIDTH - RIGHT)
    top = max(counts) / len(values)
    y = Scale(low=0, high=top * 1.05, start=110.0 - BOTTOM, end=TOP)
    wide = (WIDTH - RIGHT - LEFT) / bins
    parts = []
    for index, count in enumerate(counts):
        if count:
            at = y(count / len(values))
            rect = Markup('<rect class="fill {}" x="{}" width="{}" y="{}" height="{}"><title>{}</title></rect>')
            words = f"{index * high / bins:.0f} to {(index + 1) * high / bins:.0f}: {count}"
            size = (f"{LEFT + index * wide:.1f}", f"{wide - 1:.1f}", f"{at:.1f}", f"{110.0 - BOTTOM - at:.1f}")
            parts.append(rect.format(tint, *size, words))
    median = sorted(values)[len(values) // 2]
    line = Markup('<line class="median" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
    parts.append(line.format(f"{x(min(median, high)):.1f}", TOP, 110.0 - BOTTOM))
    labels = Markup("").join(_below(x(value), number(value), 103) for value in ticks(0, high, 5))
    peak = Markup('<text class="tick" x="{}" y="{}" text-anchor="end" dy="7">{}</text>')
    parts += [labels, peak.format(LEFT - 6, TOP, share(top))]
    return _svg(title, f"{len(values)} completions, median {median:g} tokens", parts, 110.0)
