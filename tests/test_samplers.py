"""Who is sampled: plain groups, recorded answers, and groups that carry a signal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest

from togi.samplers import Dynamic, Groups, Recorded
from togi.types import Group, Message, Question, Score, Task, Trajectory, Turn


@dataclass
class Scripted:
    """A play whose task i has the i-th list of scores; remembers what it was asked."""

    scores: Sequence[Sequence[Score]]
    asked: list[tuple[list[int], int]] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def chat(self) -> Scripted:
        return self

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        [n] = {question.attempts for question in questions}
        self.asked.append(([int(question.task.id) for question in questions], n))
        return [self._group(each.task, self.scores[int(each.task.id) % len(self.scores)]) for each in questions]

    def of(self, task: Task) -> Scripted:
        return self

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        return ()

    def _group(self, task: Task, scores: Sequence[Score]) -> Group:
        return Group(task=task, trajectories=(Trajectory(turns=(), stop="eos"),) * len(scores), scores=tuple(scores))


def stream() -> Iterator[Task]:
    return (Task(id=str(i), prompt=(), recorded=((),)) for i in count())


def values(*numbers: float) -> list[Score]:
    return [Score(value=number) for number in numbers]


def ids(groups: Sequence[Group]) -> list[int]:
    return [int(group.task.id) for group in groups]


def test_groups_asks_once_for_all_tasks() -> None:
    play = Scripted([values(1, 0)])
    assert ids(Groups(2)(stream(), 3, play)) == [0, 1, 2]
    assert play.asked == [([0, 1, 2], 2)]


def test_recorded_answers_are_scored_by_what_they_are_worth_or_0() -> None:
    given = [Task(id="0", prompt=(), recorded=((), ()), worth=(1.0, 0.25)), Task(id="1", prompt=(), recorded=((), ()))]
    groups = Recorded()(iter(given), 2, Scripted([]))
    assert [[score.value for score in group.scores] for group in groups] == [[1.0, 0.25], [0.0, 0.0]]


def test_recorded_does_not_sample() -> None:
    play = Scripted([])
    assert ids(Recorded()(stream(), 2, play)) == [0, 1]
    assert play.asked == []


def test_a_stream_that_ends_early_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted 3 tasks for a step, the stream held 1"):
        Groups(2)(iter([Task(id="0", prompt=())]), 3, Scripted([values(1, 0)]))


def test_dynamic_keeps_groups_whose_correctness_differs() -> None:
    """Correct answers of 8: none, one, all, none, seven, four."""
    right = [0, 1, 8, 0, 7, 4]
    play = Scripted([values(*[1.0] * n, *[0.0] * (8 - n)) for n in right])
    assert ids(Dynamic(8, max_rounds=1)(stream(), 6, play)) == [1, 4, 5]


def test_dynamic_draws_in_place_of_what_it_dropped_and_counts_it() -> None:
    play = Scripted([values(0, 0), values(1, 0), values(1, 1), values(0, 1)])
    assert ids(Dynamic(2)(stream(), 3, play)) == [1, 3, 5]
    assert play.asked == [([0, 1, 2], 2), ([3, 4], 2), ([5], 2)]
    assert play.counts == {
        "dynamic/rounds": 3,
        "dynamic/dropped": 3,
        "dynamic/unscored": 0,
        "dynamic/accuracy": pytest.approx((0 + 0.5 + 1 + 0.5 + 0 + 0.5) / 6),
        "dynamic/all_correct": pytest.approx(1 / 6),
        "dynamic/all_wrong": pytest.approx(2 / 6),
    }


def test_dynamic_gives_up_after_its_rounds() -> None:
    play = Scripted([values(1, 1)])
    assert Dynamic(2, max_rounds=2)(stream(), 2, play) == []
    assert len(play.asked) == 2
    assert play.counts["dynamic/all_correct"] == 1.0


def test_dynamic_looks_at_raw_correctness_not_at_shaped_reward() -> None:
    shaped = [Score(value=value, parts={"correct": 1.0, "length": value}) for value in (0.9, 0.8)]
    assert Dynamic(2, max_rounds=1)(stream(), 1, Scripted([shaped])) == []


def test_dynamic_ignores_what_was_not_scored() -> None:
    lost = Score(value=math.nan, status="timeout")
    play = Scripted([[Score(value=1.0), lost], [lost, lost], [Score(value=0.0), Score(value=1.0)]])
    assert ids(Dynamic(2, max_rounds=1)(stream(), 3, play)) == [2]
    assert play.counts["dynamic/unscored"] == 2
    assert play.counts["dynamic/accuracy"] == pytest.approx(0.75)
    assert play.counts["dynamic/all_correct"] == 0


@pytest.mark.parametrize("make", [lambda: Groups(0), lambda: Dynamic(1), lambda: Dynamic(4, max_rounds=0)])
def test_numbers_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="at least"):
        make()  # type: ignore[operator]
