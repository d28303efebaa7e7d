"""What comes out of the jail is numbers or nothing, and how agents are played."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from line_world import make

from togi.reward_design.programs.dialects import STEPS
from togi.reward_design.programs.random_programs import random_programs
from togi.reward_design.programs.reward_program import RewardProgram
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.training.episodes import told
from togi.reward_design.training.frames import png, smaller
from togi.reward_design.training.measure import agents_of, paid_of
from togi.reward_design.training.packed import pack
from togi.reward_design.training.play import play, transitions

ONE = {"steps": 0, "weights": {"a": pack(np.ones(2))}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"agents": None},
        {"agents": []},
        {"agents": [ONE]},
        {"agents": [ONE] * 3},
        {"agents": [ONE, {"steps": 1}]},
        {"agents": [ONE, {"steps": "x", "weights": {}}]},
        {"agents": [ONE, {"steps": 1, "weights": []}]},
        {"agents": [ONE, {"steps": 1, "weights": {"a": {"kind": "object", "shape": [], "data": ""}}}]},
        {"agents": [ONE, {"steps": float("inf"), "weights": {}}]},
    ],
)
def test_what_is_no_agents_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        agents_of(value, 2)


PAID = {"rewards": pack(np.ones(3)), "names": ["a"], "sums": pack(np.ones((2, 1)))}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {**PAID, "rewards": [1.0, 1.0, 1.0]},
        {**PAID, "rewards": pack(np.ones(2))},
        {**PAID, "rewards": pack(np.full(3, np.nan))},
        {**PAID, "rewards": {"kind": "float64", "shape": [float("inf")], "data": ""}},
        {**PAID, "sums": pack(np.full((2, 1), np.inf))},
        {**PAID, "sums": pack(np.ones((2, 2)))},
        {**PAID, "names": 1},
        {**PAID, "names": [1]},
        {**PAID, "names": ["\x1b[2J"]},
        {**PAID, "names": ["a" * 61]},
        {**PAID, "names": ["a", "a"], "sums": pack(np.ones((2, 2)))},
    ],
)
def test_what_is_no_pay_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        paid_of(value, [1, 2])


def test_pay_is_read() -> None:
    rewards, parts = paid_of(PAID, [1, 2])
    assert ([each.tolist() for each in rewards], parts) == ([[1], [1, 1]], {"a": 1})


def test_agents_are_read() -> None:
    (first, _), (_, weights) = agents_of({"agents": [ONE, ONE]}, 2)
    assert first == 0
    assert weights["a"].tolist() == [1, 1]


def test_agents_are_played_side_by_side() -> None:
    """Those that are done do not hold up the others, and each has a seed of its own."""
    fast, slow = play(lambda seen: np.where(seen > 0.02, 1.0, -1.0), make, [1, 2])
    assert (fast.terminated, slow.terminated) == (False, False) or fast.length != slow.length
    (right,) = play(lambda seen: np.ones_like(seen), make, [1])
    assert right.terminated
    assert right.observations.shape == (right.length + 1, 1)
    assert np.allclose(np.diff(right.observations[:, 0]), 0.1)
    steps = transitions([right, right], ("place",))
    assert steps["before"]["shape"] == [2 * right.length, 1]
    assert (play(lambda seen: np.ones_like(seen), make, [1])[0].observations == right.observations).all()


def test_programs_read_only_the_numbers_that_are_named() -> None:
    info = {"place": np.float32(0.5), "secret": 1.0, "text": "x"}
    assert told(info, ("place", "text", "none")) == {"place": 0.5, "text": 0.0, "none": 0.0}


def test_random_programs_are_programs_and_the_same_again() -> None:
    played = play(lambda seen: np.ones_like(seen), make, [1, 2])
    made = random_programs(played, 8, seed=3)
    assert made == random_programs(played, 8, seed=3) != random_programs(played, 8, seed=4)
    assert len(set(made)) == 8
    for program in made:
        assert fault_of(program, STEPS) == ""
        assert len(RewardProgram(program)(np.zeros(1), np.ones(1), np.ones(1), {})[1]) in (1, 2, 3)


def test_a_picture_is_a_png() -> None:
    frame = np.zeros((600, 720, 3), np.uint8)
    frame[:300] = 200
    small = smaller(frame)
    assert small.shape == (200, 240, 3)
    assert small[0, 0, 0] == 200
    assert png(small).startswith(b"\x89PNG\r\n\x1a\n")
