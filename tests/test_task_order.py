"""Which task comes next: chances to the number, draws as likely as they say, and the same ones when taken up again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest

from togi.data import Tasks
from togi.data.task_sets import mixed
from togi.samplers.beta_counts import BetaCounts
from togi.samplers.task_order import By, Order, Stream, Weighted, count_attempts, learnability, levels, priority
from togi.types import Group, Score, Task, Trajectory

RATES = np.array([0.2, 0.5, 0.9])


def some(count: int, info: Callable[[int], dict[str, Any]] = lambda number: {}) -> Tasks:
    return Tasks([Task(id=f"t:{number}", prompt=(), info=info(number)) for number in range(count)])


def group(task: Task, *right: float, status: str = "ok") -> Group:
    scores = tuple(Score(value=value, status=status) for value in right)  # type: ignore[arg-type]
    return Group(task=task, trajectories=(Trajectory(turns=(), stop="eos"),) * len(right), scores=scores)


def test_priority_and_learnability_to_the_number() -> None:
    assert priority(RATES) == pytest.approx([0.571429, 0.357143, 0.0714286], rel=1e-5)
    assert learnability(RATES) == pytest.approx([0.32, 0.5, 0.18], rel=1e-5)


@pytest.mark.parametrize(("weigh", "rates"), [(priority, [1.0, 1.0]), (learnability, [0.0, 1.0])])
def test_weights_that_sum_to_nothing_are_refused(weigh: Callable[[np.ndarray], np.ndarray], rates: list[float]) -> None:
    with pytest.raises(ValueError, match="sum to nothing"):
        weigh(np.array(rates))


def test_counts_start_at_one_each_and_fade() -> None:
    counts = BetaCounts(0.5)
    assert (counts.mean("a"), counts.knows("a")) == (0.5, False)
    counts.look("a", 3, 1)
    assert (counts.of("a"), counts.knows("a")) == ((4.0, 2.0), True)
    counts.look("a", 0, 4)
    assert counts.of("a") == (1 + 1.5, 1 + 0.5 + 4)
    assert counts.mean("a") == pytest.approx(2.5 / 8)


def test_attempts_are_counted_within_bounds_and_only_where_they_were_scored() -> None:
    rates, [a, b] = BetaCounts(1), some(2)
    count_attempts(rates, [group(a, 1, 0.25, -3, 7), group(b, float("nan"), status="timeout")])
    assert rates.of(a.id) == (1 + 2.25, 1 + 1.75)
    assert not rates.knows(b.id)


@pytest.mark.parametrize("explore", [0.0, 0.2])
def test_first_draws_are_as_likely_as_the_chances_say(explore: float) -> None:
    tasks, rates = some(3), BetaCounts(1)
    for task, hits, misses in zip(tasks, (0, 5, 17), (8, 5, 1), strict=True):  # means 0.1, 0.5, 0.9
        rates.look(task.id, hits, misses)
    stream = Weighted(tasks, 3, rates, priority, explore)
    first = Counter(next(stream).id for _ in range(4000) if not stream.saw([]))
    chances = explore / 3 + (1 - explore) * np.array([0.9, 0.5, 0.1]) / 1.5
    assert stream.chances() == pytest.approx(chances)
    assert [first[task.id] / 4000 for task in tasks] == pytest.approx(chances, abs=0.025)


def test_no_task_comes_twice_before_all_have_come() -> None:
    drawn = [task.id for task in islice(Order(by="learnability").opened(some(7), 1, BetaCounts(1)), 21)]
    assert all(len(set(drawn[start : start + 7])) == 7 for start in (0, 7, 14))
    assert drawn[:7] != drawn[7:14]


def test_sources_of_a_mixture_keep_their_weights() -> None:
    """Nothing is known, so that only weights speak: a source of four tasks and one of one, 1 to 3."""
    both = mixed([some(4), some(1)], [1, 3])
    stream = Weighted(both, 1, BetaCounts(1), learnability, 0.5)
    assert stream.chances() == pytest.approx([1 / 16] * 4 + [3 / 4])


def test_a_step_is_told_how_well_it_was_foreseen() -> None:
    tasks, rates = some(3), BetaCounts(1)
    rates.look("t:0", 3, 0)
    stream = Order(by="priority").opened(tasks, 1, rates)
    assert stream.saw([group(tasks[0], 1, 0), group(tasks[1], 1, 1)]) == {
        "order/known": 0.5,
        "order/expected": pytest.approx((0.8 + 0.5) / 2),
        "order/surprise": pytest.approx((0.3 + 0.5) / 2),
    }


def graded(count: int = 12) -> Tasks:
    return some(count, lambda number: {"difficulty": number % 3})


def play(stream: Stream, rates: BetaCounts, steps: int) -> list[str]:
    """Steps of four tasks, of which those of difficulty 1 alone are mixed; the ids that were drawn."""
    drawn = []
    for _ in range(steps):
        tasks = list(islice(stream, 4))
        groups = [group(task, *((1, 0) if task.info["difficulty"] == 1 else (0, 0))) for task in tasks]
        stream.saw(groups)
        count_attempts(rates, groups)
        drawn += [task.id for task in tasks]
    return drawn


@pytest.mark.parametrize("by", ["turn", "priority", "learnability", "curriculum"])
def test_an_order_goes_on_from_its_state_as_it_would_have(by: By) -> None:
    order, rates, again = Order(by=by), BetaCounts(0.8), BetaCounts(0.8)
    stream = order.opened(graded(), 5, rates)
    play(stream, rates, 7)
    kept = json.loads(json.dumps({"rates": rates.state(), "stream": stream.state()}))
    rest = play(stream, rates, 9)
    again.restore(kept["rates"])
    restored = order.opened(graded(), 5, again)
    restored.restore(kept["stream"])
    assert play(restored, again, 9) == rest
    assert play(order.opened(graded(), 6, BetaCounts(0.8)), BetaCounts(0.8), 9) != rest


@pytest.mark.parametrize("by", ["learnability", "curriculum"])
def test_what_is_mixed_comes_oftener(by: By) -> None:
    rates = BetaCounts(0.8)
    drawn = play(Order(by=by).opened(graded(60), 1, rates), rates, 60)[-120:]
    told = sum(int(name.split(":")[1]) % 3 == 1 for name in drawn) / 120
    assert told > (0.7 if by == "curriculum" else 0.5)


def test_a_curriculum_follows_a_policy_that_moves_on() -> None:
    """First difficulty 0 is mixed, and later 2 alone: its share of draws rises from a tenth to most."""
    stream = Order(by="curriculum", explore=0.1).opened(graded(60), 1, BetaCounts(1))
    shares = []
    for step in range(80):
        fit = 0 if step < 40 else 2
        tasks = list(islice(stream, 8))
        told = stream.saw([group(task, *((1, 0) if task.info["difficulty"] == fit else (1, 1))) for task in tasks])
        shares.append(told["curriculum/2/drawn"])
    assert sum(shares[20:40]) / 20 < 0.2
    assert sum(shares[60:]) / 20 > 0.7


def test_a_curriculum_counts_mixed_groups_among_those_that_were_scored() -> None:
    tasks = graded(3)
    stream = Order(by="curriculum").opened(tasks, 1, BetaCounts(1))
    told = stream.saw([group(tasks[0], 1, 0), group(tasks[1], 1, 1), group(tasks[2], 1)])
    assert told == {
        "curriculum/0/drawn": 0.5,
        "curriculum/0/mixed": pytest.approx(2 / 3),
        "curriculum/1/drawn": 0.5,
        "curriculum/1/mixed": pytest.approx(1 / 3),
        "curriculum/2/drawn": 0.0,
        "curriculum/2/mixed": 0.5,
    }


@pytest.mark.parametrize(
    ("values", "names"),
    [([10, 9, 10], ["9", "10"]), (["b", "a", "b"], ["a", "b"]), ([2.5, 1, 1], ["1", "2.5"]), ([1, "x", 1], ["1", "x"])],
)
def test_levels_are_values_in_their_order(values: Sequence[Any], names: list[str]) -> None:
    found = levels(some(3, lambda number: {"step": values[number]}), "step")
    assert (list(found), sum(map(len, found.values()))) == (names, 3)


def test_parts_of_a_mixture_are_levels() -> None:
    found = levels(mixed([some(2), some(3)], [1, 1]), "source")
    assert {name: len(tasks) for name, tasks in found.items()} == {"1": 2, "2": 3}


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        (some(3), r"task t:0 has not that column \(no further column\)"),
        (some(3, lambda number: {"size": 1}), r"not that column \(size\)"),
        (some(3, lambda number: {"difficulty": [1]}), "task t:0 has list there"),
        (some(3, lambda number: {"difficulty": 4}), "all 3 tasks have difficulty 4"),
        (some(101, lambda number: {"difficulty": number}), "difficulty has 101"),
    ],
)
def test_tasks_without_levels_are_refused(tasks: Tasks, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Order(by="curriculum").opened(tasks, 1, BetaCounts(1))


@pytest.mark.parametrize("changes", [{"explore": 1.1}, {"explore": -0.1}, {"memory": 1.1}, {"memory": -0.1}])
def test_shares_beyond_0_and_1_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changes.values()))}"):
        Order(by="priority", **changes)  # type: ignore[arg-type]
