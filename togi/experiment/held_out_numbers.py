"""One number a held-out task from an evaluation: of every attempt, of the best of them, or of the answer most of them
give.

It knows no arm's verdict and no page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, TaskRecord
from togi.evidence.after.evaluation_summary import TOLERANCE
from togi.experiment.controls import vote_reading
from togi.experiment.design import Taken
from togi.experiment.ledger import ARMS
from togi.recipe import load_recipe
from togi.rewards.unsupervised import same_answers
from togi.rewards.verifiers import Verifier
from togi.statistics import pass_at_k
from togi.types import Task, Trajectory, Turn

Tallies = dict[str, tuple[int, int]]
"""By task: right attempts, and scored ones."""


@dataclass(kw_only=True)
class Reading:
    """How attempts become a number: the experiment's measure, and for votes the verifier of each arm's recipe."""

    folder: Path
    measure: str
    verifiers: dict[str, Verifier] = field(default_factory=dict)

    @property
    def k(self) -> int | None:
        """Of pass@k; None where scores count."""
        return None if self.measure == "score" else int(self.measure.partition("@")[2])

    def verifier(self, arm: str) -> Verifier:
        if arm not in self.verifiers:
            self.verifiers[arm] = vote_reading(load_recipe(self.folder / ARMS / f"{arm}.toml").run)
        return self.verifiers[arm]


def numbers_of(reading: Reading, arm: str, record: EvaluationRecord, taken: Taken) -> dict[str, float]:
    """The number of each task that has one: scored attempts enough for the measure."""
    found = ((task["id"], _number(reading, arm, record, task, taken)) for task in record["tasks"])
    return {name: value for name, value in found if value is not None}


def _number(reading: Reading, arm: str, record: EvaluationRecord, task: TaskRecord, taken: Taken) -> float | None:
    scored = [attempt for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]
    worth = [_worth(attempt, record, reading.k is not None) for attempt in scored]
    if len(worth) < (reading.k or 1):
        return None
    if taken == "best":
        return max(worth)
    if taken == "majority":
        leading = _leading(reading.verifier(arm), task, scored)
        # Equally many votes: what drawing among the answers would pay on average. No answer at all is wrong.
        return sum(worth[index] for index in leading) / len(leading) if leading else 0.0
    if reading.k is None:
        return sum(worth) / len(worth)
    return float(pass_at_k(len(worth), round(sum(worth)), reading.k))


def tallies_of(record: EvaluationRecord) -> Tallies:
    """How many of each task's scored attempts were right, and how many there are."""
    found: Tallies = {}
    for task in record["tasks"]:
        worth = [_worth(each, record, True) for each in task["attempts"] if each["score"]["status"] == "ok"]
        found[task["id"]] = (round(sum(worth)), len(worth))
    return found


def _worth(attempt: AttemptRecord, record: EvaluationRecord, passes: bool) -> float:
    value = attempt["score"]["value"]
    assert value is not None
    return float(value >= record["pass_mark"] - TOLERANCE) if passes else value


def _leading(verifier: Verifier, task: TaskRecord, attempts: Sequence[AttemptRecord]) -> list[int]:
    """The attempts whose answer has the most votes."""
    asked = Task(id=task["id"], prompt=(), answer=task["answer"])
    turns = [Turn(prompt=(), completion=(), logp=(), text=attempt["completion"], stop="eos") for attempt in attempts]
    votes = same_answers(verifier, asked, [Trajectory(turns=(turn,), stop="eos") for turn in turns])
    counts = Counter(vote for vote in votes if vote is not None)
    most = max(counts.values(), default=0)
    return [index for index, vote in enumerate(votes) if vote is not None and counts[vote] == most]
