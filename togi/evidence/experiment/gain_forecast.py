"""What more tasks or steps would bring, from how the gain grew with them so far. It runs and reads nothing.

Each seed's gain is taken to grow by the same amount whenever what it is spent on is doubled: a line in the logarithm.
The interval is over seeds and cannot know that a curve will bend. So a forecast is only worth what earlier ones were:
``in_hindsight`` makes those that would have been made from the first part of a finished run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from togi.evidence.experiment.claim_sentences import Scale
from togi.statistics import Interval, over_seeds
from togi.statistics.resampling import checked_table

SCALE = Scale()
FEWEST = 3
"""Amounts that a line needs before its course says anything."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The gain expected ``at`` an amount; ``came`` is what it was in the end, None where that is not known."""

    at: float
    gain: Interval
    came: float | None = None

    @property
    def held(self) -> bool:
        """Whether what came lay within the interval."""
        return self.came is not None and self.gain.low <= self.came <= self.gain.high


def forecast(amounts: Sequence[float], gains: ArrayLike, *, at: float, level: float = 0.95) -> Forecast:
    """The gain at an amount, such as ten times the last, from gains [seeds, amounts]."""
    spent, table = np.asarray(amounts, np.float64), checked_table(gains)
    if table.shape[1] != len(spent) or len(np.unique(spent)) < FEWEST or min(*spent.tolist(), at) <= 0:
        raise ValueError(
            f"a forecast needs gains at {FEWEST} different amounts above 0 at least, got amounts {list(amounts)} and "
            f"gains of shape {table.shape} for a forecast at {at:g}"
        )
    lines = np.polynomial.polynomial.polyfit(np.log(spent / at), table.T, 1)
    return Forecast(at=at, gain=over_seeds(lines[0][:, None], level=level))


def in_hindsight(amounts: Sequence[float], gains: ArrayLike, *, level: float = 0.95) -> Forecast:
    """The forecast of the last gain from the first half of the amounts, or the first three, and what came."""
    table = checked_table(gains)
    known = max(FEWEST, len(amounts) // 2)
    if known >= len(amounts):
        raise ValueError(f"hindsight needs more than {FEWEST} amounts, got {len(amounts)}")
    early = forecast(amounts[:known], table[:, :known], at=amounts[-1], level=level)
    return Forecast(at=early.at, gain=early.gain, came=float(table[:, -1].mean()))


def forecast_sentence(
    made: Forecast,
    earlier: Sequence[Forecast],
    *,
    what: str = "tasks",
    scale: Scale = SCALE,
    room: float | None = None,
) -> str:
    """The forecast with how such forecasts did before. ``room`` is the most that can be gained, where that is known."""
    gain, at = made.gain, f"{made.at:,.10g} {what}"
    if not isfinite(gain.low):
        return f"At {at} a gain of {scale.size(gain.point)} is on the line, but one seed has no interval."
    if room is not None and gain.low >= room:
        expected = f"At {at} the line leads beyond the {scale.size(room)} that can be gained, so it will bend"
    else:
        top = gain.high if room is None else min(gain.high, room)
        low, high = scale.size(gain.low).removesuffix(" points"), scale.size(top)
        expected = f"At {at} a gain of {low} to {high} is expected, if it goes on as before"
    told = [one for one in earlier if one.came is not None and isfinite(one.gain.low)]
    if not told:
        return f"{expected}. No earlier run shows whether such forecasts hold."
    off = float(np.mean([abs(one.gain.point - one.came) for one in told if one.came is not None]))
    held = sum(one.held for one in told)
    forecasts = f"{len(told)} earlier such forecast{'s' if len(told) != 1 else ''}"
    return f"{expected}. Of {forecasts}, {held} held; they were off by {scale.size(off, signed=False)} on average."
