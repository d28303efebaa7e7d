"""Which parts of a reward drove a step, against numbers computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from togi.algorithms import GRPO
from togi.batch import samples
from togi.records import attribution_metrics
from togi.types import Group, Sample, Score, Task, Trajectory, Turn


def group(name: str, *shares: dict[str, float]) -> Group:
    """One attempt for each part's share of its reward."""
    turn = Turn(prompt=(1,), completion=(2, 3), text="", stop="eos", logp=(-1.0, -1.0))
    scores = tuple(Score(value=sum(each.values()), shares=each) for each in shares)
    trajectories = (Trajectory(turns=(turn,), stop="eos"),) * len(shares)
    return Group(task=Task(id=name, prompt=()), trajectories=trajectories, scores=scores)


def credited(groups: list[Group]) -> list[Sample]:
    return GRPO(kl=0.0).credit(samples(groups), {})


def test_parts_share_what_drove_the_step() -> None:
    """Right answers were worth 1 and short ones 0.5; one attempt was right, another short: 4 parts to 1 of the spread.

    Advantages are (1, 0.5, 0, 0) less 0.375 over their standard deviation; the covariances with (1, 0, 0, 0) and
    (0, 0.5, 0, 0) are in the ratio (1 - 0.375) : 0.5 (0.5 - 0.375) = 0.625 : 0.0625.
    """
    one = group("a", {"right": 1.0, "short": 0.0}, {"right": 0.0, "short": 0.5}, *[{"right": 0.0, "short": 0.0}] * 2)
    found = attribution_metrics([one], credited([one]))
    assert found == pytest.approx({"attribution/right": 0.625 / 0.6875, "attribution/short": 0.0625 / 0.6875})


def test_a_constant_drives_nothing_and_a_part_that_works_against_is_negative() -> None:
    one = group("a", {"right": 2.0, "price": -0.5, "constant": 1.0}, {"right": 0.0, "price": 0.0, "constant": 1.0})
    found = attribution_metrics([one], credited([one]))
    assert found == pytest.approx({"attribution/right": 4 / 3, "attribution/price": -1 / 3, "attribution/constant": 0})


def test_shares_sum_to_one_over_groups_of_any_reward() -> None:
    draw = np.random.default_rng(0)
    groups = [group(str(g), *({"a": a, "b": b, "clip": c} for a, b, c in draw.normal(size=(5, 3)))) for g in range(4)]
    assert sum(attribution_metrics(groups, credited(groups)).values()) == pytest.approx(1.0)


def test_what_was_not_scored_or_not_learned_from_is_left_out() -> None:
    one = group("a", {"right": 1.0, "short": 0.2}, {"right": 0.0, "short": 0.4}, {"right": 0.0, "short": 9.0})
    lost = replace(one, scores=(*one.scores[:2], Score(value=math.nan, status="timeout")))
    two = group("a", {"right": 1.0, "short": 0.2}, {"right": 0.0, "short": 0.4})
    assert attribution_metrics([lost], credited([lost])) == attribution_metrics([two], credited([two]))
    assert attribution_metrics([one], []) == {}


@pytest.mark.parametrize(
    "shares", [[{}, {}], [{"right": 1.0, "short": 0.5}] * 3], ids=["a reward of one part", "no spread"]
)
def test_nothing_is_said_where_nothing_can_be_said(shares: list[dict[str, float]]) -> None:
    one = group("a", *shares)
    assert attribution_metrics([one], credited([one])) == {}
