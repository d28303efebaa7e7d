"""One number a held-out task from an evaluation: of every attempt, of the best of some, or of the answer most of them
give.

An untrained model that chooses among attempts is asked so often that a task costs it as many tokens as it costs a
trained arm. It knows no arm's verdict and no page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, TaskRecord
from togi.evidence.after.evaluation_summary import TOLERANCE
from togi.experiment.controls import vote_reading
from togi.experiment.design import Taken
from togi.experiment.jobs import ARMS
from togi.recipe import load_recipe
from togi.rewards.unsupervised import same_answers
from togi.rewards.verifiers import Verifier
from togi.statistics import best_of_k, majority_at_k, pass_at_k
from togi.types import Task, Trajectory, Turn

Tallies = dict[str, tuple[int, int]]
"""By task: right attempts, and scored ones."""


@dataclass(kw_only=True)
class Reading:
    """How attempts become a number: the experiment's measure, and for votes the verifier of each arm's recipe.

    ``tokens`` is what a trained arm spends on a task of the measure, the most of all arms: an untrained model that
    chooses among its attempts may spend as much. None where no arm has been measured.
    """

    folder: Path
    measure: str
    tokens: float | None = None
    verifiers: dict[str, Verifier] = field(default_factory=dict)

    @property
    def k(self) -> int | None:
        """Of pass@k; None where scores count."""
        return None if self.measure == "score" else int(self.measure.partition("@")[2])

    def verifier(self, arm: str) -> Verifier:
        if arm not in self.verifiers:
            self.verifiers[arm] = vote_reading(load_recipe(self.folder / ARMS / f"{arm}.toml").run)
        return self.verifiers[arm]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The number of each task that has one, and the tokens that it takes to get it, a task on average.

    Of a choice among attempts: how many of them there are at that cost, at least 1 and at most all ``most`` that were
    made, and the numbers with all of them.
    """

    numbers: Mapping[str, float]
    tokens: float
    attempts: float | None = None
    most: int = 1
    with_all: Mapping[str, float] = field(default_factory=dict)


def measured(reading: Reading, arm: str, record: EvaluationRecord, taken: Taken) -> Measured:
    """Raises ValueError for a choice among attempts where nobody knows how many there may be."""
    of_one = tokens_of_an_attempt(record)
    if taken == "every":
        numbers = ((task["id"], _number(reading, record, task)) for task in record["tasks"])
        found = {name: value for name, value in numbers if value is not None}
        return Measured(numbers=found, tokens=of_one * (reading.k or 1))
    if reading.tokens is None:
        raise ValueError("no arm has been measured yet, and it may spend as many tokens on a task as an arm does")
    attempts = min(max(1.0, reading.tokens / of_one if of_one else 1.0), float(record["attempts"]))
    choices = [(task["id"], _Choice.of(reading, arm, record, task, taken)) for task in record["tasks"]]
    choices = [(name, choice) for name, choice in choices if choice.worth]
    return Measured(
        numbers={name: choice.among(attempts) for name, choice in choices},
        tokens=attempts * of_one,
        attempts=attempts,
        most=record["attempts"],
        with_all={name: choice.among(record["attempts"]) for name, choice in choices},
    )


def tokens_of_an_attempt(record: EvaluationRecord) -> float:
    made = [attempt["tokens"] for task in record["tasks"] for attempt in task["attempts"]]
    return sum(made) / len(made) if made else 0.0


def _number(reading: Reading, record: EvaluationRecord, task: TaskRecord) -> float | None:
    worth = [worth_of(attempt, record, reading.k is not None) for attempt in scored(task)]
    if len(worth) < (reading.k or 1):
        return None
    if reading.k is None:
        return sum(worth) / len(worth)
    return float(pass_at_k(len(worth), round(sum(worth)), reading.k))


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A task's scored attempts, of which one counts: the best, or with ``votes`` one that most of them agree with."""

    worth: Sequence[float]
    votes: Sequence[int | None] | None

    @classmethod
    def of(cls, reading: Reading, arm: str, record: EvaluationRecord, task: TaskRecord, taken: Taken) -> _Choice:
        attempts = scored(task)
        worth = [worth_of(attempt, record, reading.k is not None) for attempt in attempts]
        return cls(worth=worth, votes=votes(reading.verifier(arm), task, attempts) if taken == "majority" else None)

    def among(self, attempts: float) -> float:
        """What is expected of so many of them. Between two whole numbers it is the one or the other by chance, so that
        the cost is right on average."""
        few = int(attempts)
        more = attempts - few
        return (1 - more) * self._among(few) + (more * self._among(few + 1) if more else 0.0)

    def _among(self, attempts: int) -> float:
        drawn = min(attempts, len(self.worth))
        return best_of_k(self.worth, drawn) if self.votes is None else majority_worth(self.votes, self.worth, drawn)


def majority_worth(votes: Sequence[int | None], worth: Sequence[float], k: int) -> float:
    """What the most frequent of k answers is worth, ties at random: attempts that give it are worth their mean. No
    answer at all is worth nothing."""
    of_vote = {vote: [value for each, value in zip(votes, worth, strict=True) if each == vote] for vote in set(votes)}
    return sum(
        majority_at_k(votes, vote, k) * sum(values) / len(values)
        for vote, values in of_vote.items()
        if vote is not None
    )


def tallies_of(record: EvaluationRecord) -> Tallies:
    """How many of each task's scored attempts were right, and how many there are."""
    found: Tallies = {}
    for task in record["tasks"]:
        worth = [worth_of(each, record, True) for each in scored(task)]
        found[task["id"]] = (round(sum(worth)), len(worth))
    return found


def scored(task: TaskRecord) -> list[AttemptRecord]:
    return [attempt for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]


def worth_of(attempt: AttemptRecord, record: EvaluationRecord, passes: bool) -> float:
    value = attempt["score"]["value"]
    assert value is not None
    return float(value >= record["pass_mark"] - TOLERANCE) if passes else value


def votes(verifier: Verifier, task: TaskRecord, attempts: Sequence[AttemptRecord]) -> Sequence[int | None]:
    """A number for each attempt, the same for the same answer; None where there is none."""
    return _votes(verifier, task["id"], tuple(attempt["completion"] for attempt in attempts))


@lru_cache(maxsize=1 << 12)  # reading an answer takes milliseconds, and arms share the model that they start from
def _votes(verifier: Verifier, task: str, completions: tuple[str, ...]) -> Sequence[int | None]:
    turns = [Turn(prompt=(), completion=(), logp=(), text=text, stop="eos") for text in completions]
    attempts = [Trajectory(turns=(turn,), stop="eos") for turn in turns]
    return same_answers(verifier, Task(id=task, prompt=()), attempts)
