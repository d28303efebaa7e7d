"""Differences with their intervals, one under another on one scale. It knows no run and no experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from togi.report.plots import Number, strip
from togi.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What is shown of one: its interval, the same in words, and what is claimed of it."""

    name: str
    tint: str
    interval: Interval
    single: str
    claim: str


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    tint: str
    strip: Markup
    single: str
    claim: str


@dataclass(frozen=True, kw_only=True)
class Forest:
    """``span`` says what the scale reaches from and to."""

    title: str
    span: str
    rows: tuple[Row, ...]


def forest(title: str, differences: Sequence[Difference], shown: Number) -> Forest | None:
    """The differences that are known, None where there is none. The scale shows every interval, but reaches no further
    than four times the largest difference."""
    known = [one for one in differences if math.isfinite(one.interval.point)]
    if not known:
        return None
    most = max(*(abs(one.interval.point) for one in known), 1e-9)
    bounds = [abs(bound) for one in known for bound in (one.interval.low, one.interval.high) if math.isfinite(bound)]
    reach = max(1.1 * most, min(max(bounds, default=most), 4 * most))
    rows = tuple(
        Row(
            name=one.name,
            tint=one.tint,
            strip=strip(one.interval, one.tint, low=-reach, high=reach),
            single=one.single,
            claim=one.claim,
        )
        for one in known
    )
    return Forest(title=title, span=f"{shown(-reach, 2)} to {shown(reach, 2)}", rows=rows)
