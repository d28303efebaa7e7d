"""Forecasts of gains against lines that are known, and against curves that bend."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from togi.evidence.experiment.gain_forecast import forecast, forecast_sentence, in_hindsight

AMOUNTS = [100, 200, 400, 800, 1600, 3200]
LINES = np.array([[0.01], [0.02], [0.03]]) + 0.02 * np.log2(np.array(AMOUNTS) / 100)


def test_a_line_goes_on() -> None:
    made = forecast(AMOUNTS, LINES, at=6400)
    assert made.gain.point == pytest.approx(0.02 + 0.02 * 6)
    assert made.gain.high - made.gain.point == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    assert in_hindsight(AMOUNTS, LINES).held


def test_a_curve_that_bends_is_found_out() -> None:
    bent = np.minimum(LINES, 0.05)
    early = in_hindsight(AMOUNTS, bent)
    assert early.came == pytest.approx(0.05)
    assert not early.held
    words = forecast_sentence(forecast(AMOUNTS, LINES, at=32000), [early, in_hindsight(AMOUNTS, LINES)])
    assert words.startswith("At 32,000 tasks a gain of +16.2 to +21.1 points is expected, if it goes on as before.")
    assert "Of 2 earlier such forecasts, 1 held; they were off by 2.3 points on average." in words


def test_what_is_not_known_is_said() -> None:
    alone = forecast(AMOUNTS, LINES[:1], at=6400)
    assert isnan(alone.gain.low)
    assert "one seed has no interval" in forecast_sentence(alone, [])
    assert "No earlier run shows" in forecast_sentence(forecast(AMOUNTS, LINES, at=6400), [])


def test_forecasts_cover_the_line_they_are_drawn_from() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        gains = 0.02 * np.log2(np.array(AMOUNTS) / 100) + rng.normal(0, 0.01, (3, 1)) + rng.normal(0, 0.01, (3, 6))
        interval = forecast(AMOUNTS, gains, at=6400).gain
        held += interval.low <= 0.12 <= interval.high
    assert 0.90 <= held / 300 <= 0.99


@pytest.mark.parametrize(
    ("amounts", "at"), [([100, 200], 400), ([100, 100, 100], 400), ([0, 100, 200], 400), ([100, 200, 400], 0)]
)
def test_too_little_to_go_by_is_refused(amounts: list[float], at: float) -> None:
    with pytest.raises(ValueError, match="3 different amounts"):
        forecast(amounts, np.ones((2, len(amounts))), at=at)
    with pytest.raises(ValueError, match="more than 3 amounts"):
        in_hindsight([1, 2, 3], np.ones((2, 3)))
