"""Who is sampled: plain groups, recorded answers, and groups that carry a signal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from togi.samplers import Dynamic, Groups, Recorded
from togi.samplers.group import attempted
from togi.types import Group, Message, Question, Score, Task, Trajectory, Turn

TURN = Turn(prompt=(1,), completion=(2, 3), text="", stop="eos", logp=(-1.0, -1.0))


@dataclass
class Scripted:
    """A play whose task i has the i-th list of scores; remembers what it was asked."""

    scores: Sequence[Sequence[Score]]
    asked: list[tuple[list[int], int]] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def chat(self) -> Scripted:
        return self

    def attempts(self, questions: Sequence[Question]) -> list[tuple[Trajectory, ...]]:
        return [(Trajectory(turns=(TURN,), stop="eos"),) * question.attempts for question in questions]

    def scored(self, asked: Sequence[tuple[Task, Sequence[Trajectory]]]) -> list[Group]:
        of = [self.scores[int(task.id) % len(self.scores)] for task, _ in asked]
        return [
            Group(task=task, trajectories=tuple(attempts), scores=tuple(scores))
            for (task, attempts), scores in zip(asked, of, strict=True)
        ]

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        [n] = {question.attempts for question in questions}
        self.asked.append(([int(question.task.id) for question in questions], n))
        return [self._group(each.task, self.scores[int(each.task.id) % len(self.scores)]) for each in questions]

    def of(self, task: Task) -> Scripted:
        return self

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        return (replace(TURN, logp=(), text="shown"),)

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
        "dynamic/missing": 0,
        "dynamic/played": 6,
        "dynamic/dropped": 3,
        "dynamic/unscored": 0,
        "dynamic/accuracy": pytest.approx((0 + 0.5 + 1 + 0.5 + 0 + 0.5) / 6),
        "dynamic/all_correct": pytest.approx(1 / 6),
        "dynamic/all_wrong": pytest.approx(2 / 6),
        "dynamic/all_alike": 0,
        "dynamic/too_hard": 0,
        "dynamic/too_easy": 0,
    }


def test_dynamic_gives_up_after_its_rounds() -> None:
    play = Scripted([values(1, 1)])
    assert Dynamic(2, max_rounds=2)(stream(), 2, play) == []
    assert len(play.asked) == 2
    assert (play.counts["dynamic/all_correct"], play.counts["dynamic/missing"]) == (1.0, 2)


def test_a_band_keeps_what_is_neither_too_hard_nor_too_easy() -> None:
    """Shares of right attempts 1/5, 2/5, 4/5, and all right."""
    play = Scripted([values(*[1.0] * right, *[0.0] * (5 - right)) for right in (1, 2, 4, 5)])
    assert ids(Dynamic(5, max_rounds=1, low=0.3, high=0.7)(stream(), 4, play)) == [1]
    told = {name: play.counts[f"dynamic/{name}"] for name in ("too_hard", "too_easy", "all_correct", "dropped")}
    assert told == {"too_hard": 0.25, "too_easy": 0.25, "all_correct": 0.25, "dropped": 3}


def test_a_band_holds_its_ends() -> None:
    play = Scripted([values(*[1.0] * right, *[0.0] * (5 - right)) for right in (1, 4)])
    assert ids(Dynamic(5, max_rounds=1, low=0.2, high=0.8)(stream(), 2, play)) == [0, 1]


@pytest.mark.parametrize("scores", [values(-1, 1), values(5, 3), values(0.5, 0.25)])
def test_without_a_band_any_difference_is_kept(scores: list[Score]) -> None:
    assert ids(Dynamic(2, max_rounds=1)(stream(), 1, Scripted([scores]))) == [0]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (values(0, 0), "all_wrong"),
        (values(-1, -1), "all_wrong"),
        (values(1, 1), "all_correct"),
        (values(0.5, 0.5), "all_alike"),
        ([Score(value=1.0), Score(value=math.nan, status="error")], "unscored"),
    ],
)
def test_why_a_group_was_dropped_is_counted(scores: list[Score], reason: str) -> None:
    play = Scripted([scores])
    assert Dynamic(2, max_rounds=1)(stream(), 1, play) == []
    reasons = ("unscored", "all_wrong", "all_correct", "all_alike", "too_hard", "too_easy")
    assert [name for name in reasons if play.counts[f"dynamic/{name}"]] == [reason]


def test_demonstrations_stand_behind_the_attempts_and_are_scored_with_them() -> None:
    play = Scripted([values(0, 1, 1)])
    [group] = Groups(2, demonstrations=1)(stream(), 1, play)
    assert [bool(attempt.turns[0].logp) for attempt in group.trajectories] == [True, True, False]
    assert [score.value for score in group.scores] == [0, 1, 1]
    assert [score.value for _, score in attempted(group)] == [0, 1]


def test_a_task_without_a_demonstration_is_attempted_all_the_same() -> None:
    [group] = Groups(2, demonstrations=3)(iter([Task(id="0", prompt=())]), 1, Scripted([values(0, 1)]))
    assert len(group.trajectories) == 2


def test_a_demonstration_makes_a_difference_and_no_accuracy() -> None:
    """Attempts all wrong beside a right demonstration are kept; what is told of the policy is that it is wrong."""
    play = Scripted([values(0, 0, 1), values(0, 0, 0)])
    assert ids(Dynamic(2, max_rounds=1, demonstrations=1)(stream(), 2, play)) == [0]
    assert play.counts["dynamic/accuracy"] == 0
    assert play.counts["dynamic/tokens_dropped"] == 0.5


@pytest.mark.parametrize("demonstrations", [0, 1])
def test_demonstrations_are_of_one_player(demonstrations: int) -> None:
    for sampler in (Groups(2, demonstrations=demonstrations), Dynamic(2, demonstrations=demonstrations)):
        assert sampler.of_players == (not demonstrations)


def test_dynamic_looks_at_raw_correctness_not_at_shaped_reward() -> None:
    shaped = [Score(value=value, parts={"correct": 1.0, "length": value}) for value in (0.9, 0.8)]
    assert Dynamic(2, max_rounds=1)(stream(), 1, Scripted([shaped])) == []


def test_dynamic_ignores_what_was_not_scored() -> None:
    lost = Score(value=math.nan, status="timeout")
    play = Scripted([[Score(value=1.0), lost], [lost, lost], [Score(value=0.0), Score(value=1.0)]])
    assert ids(Dynamic(2, max_rounds=1)(stream(), 3, play)) == [2]
    assert play.counts["dynamic/unscored"] == pytest.approx(2 / 3)
    assert play.counts["dynamic/accuracy"] == pytest.approx(0.75)
    assert play.counts["dynamic/all_correct"] == 0


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Dynamic(4, low=0.3, high=0.4), "no share of 4 attempts lies between low=0.3 and high=0.4"),
        (lambda: Dynamic(2, high=0.4), "no share of 2 attempts"),
        (lambda: Dynamic(4, low=0.8, high=0.2), "low=0.8 and high=0.2"),
        (lambda: Dynamic(4, low=-0.1), "low=-0.1"),
        (lambda: Dynamic(4, high=1.1), "high=1.1"),
        (lambda: Groups(4, votes=8, demonstrations=1), "leave out votes = 8"),
        (lambda: Groups(4, demonstrations=-1), "at least 0, got -1"),
        (lambda: Dynamic(4, demonstrations=-1), "at least 0, got -1"),
    ],
)
def test_bands_and_demonstrations_that_cannot_be_are_refused(make: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("make", [lambda: Groups(0), lambda: Dynamic(1), lambda: Dynamic(4, max_rounds=0)])
def test_numbers_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="at least"):
        make()  # type: ignore[operator]
