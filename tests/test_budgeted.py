"""How many attempts each task gets: the least variance that a number of attempts allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pytest

from togi.samplers.budgeted import Baseline, Budgeted, allotted, left_variance
from togi.types import Group, Question, Task

RATES = (0.5, 0.1, 0.9, 0.02)


def test_the_best_real_numbers_are_the_papers() -> None:
    """n = 1 + (C - Q) sqrt(a) / sum sqrt(a) of a leave-one-out baseline, and what variance it leaves."""
    root = np.sqrt([rate * (1 - rate) for rate in RATES])
    counts = 1 + (32 - 4) * root / root.sum()
    assert counts == pytest.approx([12.2903, 7.77419, 7.77419, 4.16129], rel=1e-5)
    left = [left_variance(rate, count, "leave_one_out") for rate, count in zip(RATES, counts, strict=True)]
    assert sum(left) == pytest.approx(0.0549143, rel=1e-5)
    assert sum(left_variance(rate, 8, "leave_one_out") for rate in RATES) == pytest.approx(0.0642286, rel=1e-5)


@pytest.mark.parametrize(("baseline", "counts"), [("leave_one_out", [12, 8, 8, 4]), ("group_mean", [13, 8, 8, 3])])
def test_whole_numbers_are_the_papers(baseline: Baseline, counts: list[int]) -> None:
    assert allotted(RATES, 32, 3, 16, baseline) == counts


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean"])
@pytest.mark.parametrize("rates", [(0.5, 0.1, 0.03), (0.9, 0.9, 0.9), (0.99, 0.5, 0.4)])
@pytest.mark.parametrize(("total", "most"), [(9, 4), (14, 8), (20, 12)])
def test_no_other_numbers_leave_less(baseline: Baseline, rates: Sequence[float], total: int, most: int) -> None:
    def left(counts: Sequence[int]) -> float:
        return sum(left_variance(rate, count, baseline) for rate, count in zip(rates, counts, strict=True))

    found = allotted(rates, total, 3, most, baseline)
    others = [each for each in product(range(3, most + 1), repeat=3) if sum(each) == total]
    assert sum(found) == total
    assert left(found) == pytest.approx(min(map(left, others)))


@dataclass
class Knowing:
    """A play that knows the rates of tasks by their ids, and plays nothing."""

    asked: list[int] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    def rate(self, task: Task) -> float:
        return RATES[int(task.id)]

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        self.asked = [question.attempts for question in questions]
        return []


def stream() -> Iterator[Task]:
    return (Task(id=str(number), prompt=()) for number in range(4))


def test_a_step_is_divided_by_what_is_known() -> None:
    play = Knowing()
    Budgeted(8, most=16)(stream(), 4, play)  # type: ignore[arg-type]
    assert play.asked == [12, 8, 8, 4]
    assert play.counts["budget/fewest"] == 4
    assert play.counts["budget/most"] == 12
    left = sum(left_variance(rate, count, "leave_one_out") for rate, count in zip(RATES, play.asked, strict=True))
    assert play.counts["budget/variance"] == pytest.approx(left / 0.0642286, rel=1e-5)
    assert play.counts["budget/variance"] < 0.87


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: Budgeted(8, fewest=1), "at least 2"),
        (lambda: Budgeted(8, fewest=2, variance_of="group_mean"), "at least 3"),
        (lambda: Budgeted(2), "3 <= 2 <= 8"),
        (lambda: Budgeted(8, most=7), "3 <= 8 <= 7"),
    ],
)
def test_bounds_that_leave_no_mean_are_refused(wrong: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wrong()  # type: ignore[operator]
