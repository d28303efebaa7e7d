"""The file form of an evaluation, ``evaluations/NAME.json``: reading, writing, checking. It knows no statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from togi.evidence.after.record_file import read_record, write_record


class ScoreRecord(TypedDict):
    """A ``types.Score`` as JSON. ``value`` is null whenever ``status`` is not ``ok``."""

    value: float | None
    parts: dict[str, float]
    status: str
    own_fault: NotRequired[str]
    note: str


SCORE = ("value", "parts", "status", "note")  # what every score must have


class Bounds(TypedDict):
    """The mean score over tasks, with the attempts that have no score left out, and with all of them counted as wrong;
    null where nothing was scored."""

    left_out: float | None
    as_wrong: float | None


class AttemptRecord(TypedDict):
    """One attempt: ``tokens`` counts completion tokens of all turns, the end token included.

    Where it was read under the base model, ``base_logp`` is the sum over tokens of that model's log-probability, and
    ``kl`` that of its own minus the base model's, in nats.
    ``counts`` is what the environment counted, where it counts; ``role`` and ``turns`` are as in the rollouts, and
    ``asked`` is what was asked first where that is more than the task's prompt. ``cut`` says that its
    last turn was cut where its environment raised at that turn.
    """

    completion: str
    tokens: int
    stop: str
    score: ScoreRecord
    kl: NotRequired[float | None]
    base_logp: NotRequired[float | None]
    counts: NotRequired[dict[str, float]]
    role: NotRequired[str]
    asked: NotRequired[list[dict[str, str]]]
    turns: NotRequired[list[dict[str, Any]]]
    cut: NotRequired[bool]


ATTEMPT = ("completion", "tokens", "stop", "score")  # what every attempt must have


class TaskRecord(TypedDict):
    id: str
    prompt: str
    answer: Any
    attempts: list[AttemptRecord]


class _Evaluation(TypedDict):
    """``model`` names what was evaluated, ``step`` its updates, ``seconds`` is wall time, ``tokens`` completions."""

    model: str
    step: int
    attempts: int
    pass_mark: float
    sampling: dict[str, Any]
    tasks: list[TaskRecord]
    seconds: float
    tokens: int


class EvaluationRecord(_Evaluation, total=False):
    """``mean`` says between which bounds the mean score lies."""

    mean: Bounds


def read_evaluation(path: Path) -> EvaluationRecord:
    """Read and check one evaluation; ``ValueError`` says what is wrong with the file."""
    return cast(EvaluationRecord, read_record(path, "evaluation", _Evaluation, _faults, "evaluate again"))


def _faults(data: Mapping[str, Any]) -> Iterator[str]:
    for number, task in enumerate(data["tasks"]):
        if not isinstance(task, dict) or any(key not in task for key in TaskRecord.__annotations__):
            yield f"task {number} needs {', '.join(TaskRecord.__annotations__)}"
            return
        for attempt in task["attempts"]:
            fault = _attempt_fault(attempt)
            if fault:
                yield f"task {task['id']}: {fault}"


def _attempt_fault(attempt: Any) -> str | None:
    if not isinstance(attempt, dict) or any(key not in attempt for key in ATTEMPT):
        return f"an attempt needs {', '.join(ATTEMPT)}"
    score = attempt["score"]
    if not isinstance(score, dict) or any(key not in score for key in SCORE):
        return f"a score needs {', '.join(SCORE)}"
    if score["status"] == "ok" and not isinstance(score["value"], int | float):
        return f"a score that is ok needs a number, got {score['value']!r}"
    for name in ("kl", "base_logp"):
        if attempt.get(name) is not None and not isinstance(attempt[name], int | float):
            return f"an attempt's {name} is a number or null, got {attempt[name]!r}"
    return None


def write_evaluation(folder: Path, evaluation: EvaluationRecord) -> Path:
    """Write ``folder/evaluations/MODEL.json`` whole or not at all, and give its path."""
    return write_record(folder / "evaluations", evaluation["model"], evaluation)
