"""Which rollouts a report shows, chosen by rule and not by hand, and cut to a readable size. It knows no page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.evaluation import AttemptRecord, EvaluationRecord, TaskRecord
from togi.evidence.summary import passes
from togi.evidence.visible import shortened
from togi.report.read import Json, RunData

LONGEST = 4000  # characters of one cell
EACH = 3  # tasks of one kind
SHOWN = 2  # attempts of one task and model
KINDS = ("got better", "got worse", "stayed wrong", "stayed right", "stayed mixed")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    completion: str
    tokens: str
    stop: str
    value: str
    passed: bool | None
    parts: tuple[tuple[str, str], ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model's attempts at a task: the first few, and how many of all passed."""

    model: str
    tally: str
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    kind: str
    task: str
    prompt: str
    answer: str
    sides: tuple[Side, ...]


def examples(evaluations: Sequence[EvaluationRecord]) -> list[Example]:
    """Held-out tasks as the first and the last model answered them: up to three of each kind, evenly spread."""
    if not evaluations:
        return []
    ends = [evaluations[0]] if len(evaluations) == 1 else [evaluations[0], evaluations[-1]]
    tasks = [{task["id"]: task for task in one["tasks"]} for one in ends]
    names = [name for name in tasks[0] if all(name in each for each in tasks)]
    kinds: dict[str, list[str]] = {}
    for name in names:
        rates = [_rate(each[name], one["pass_mark"]) for each, one in zip(tasks, ends, strict=True)]
        kinds.setdefault(_kind(rates), []).append(name)
    single = len(ends) == 1
    chosen = [(kind, name) for kind in KINDS for name in _spread(kinds.get(kind, []))]
    return [
        _example(kind.removeprefix("stayed ") if single else kind, [each[name] for each in tasks], ends)
        for kind, name in chosen
    ]


def _spread(names: Sequence[str]) -> list[str]:
    return [names[index * len(names) // EACH] for index in range(EACH)] if len(names) > EACH else list(names)


def _kind(rates: Sequence[float | None]) -> str:
    first, last = rates[0], rates[-1]
    if first is None or last is None:
        return "stayed mixed"
    if first != last:
        return "got better" if last > first else "got worse"
    return {0.0: "stayed wrong", 1.0: "stayed right"}.get(first, "stayed mixed")


def _rate(task: TaskRecord, mark: float) -> float | None:
    scored = [attempt for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]
    return sum(passes(attempt, mark) for attempt in scored) / len(scored) if scored else None


def _example(kind: str, tasks: Sequence[TaskRecord], ends: Sequence[EvaluationRecord]) -> Example:
    sides = []
    for task, one in zip(tasks, ends, strict=True):
        scored = [attempt for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]
        passed = sum(passes(attempt, one["pass_mark"]) for attempt in scored)
        shown = tuple(_attempt(attempt, one["pass_mark"]) for attempt in task["attempts"][:SHOWN])
        sides.append(Side(model=one["model"], tally=f"{passed} of {len(scored)} right", attempts=shown))
    first = tasks[0]
    return Example(
        kind=kind,
        task=shortened(str(first["id"]), 120),
        prompt=shortened(str(first["prompt"]), LONGEST),
        answer=shortened("none" if first["answer"] is None else str(first["answer"]), LONGEST),
        sides=tuple(sides),
    )


def _attempt(attempt: AttemptRecord, mark: float) -> Attempt:
    score = attempt["score"]
    scored = score["status"] == "ok"
    return Attempt(
        completion=shortened(str(attempt["completion"]), LONGEST),
        tokens=str(attempt["tokens"]),
        stop=str(attempt["stop"]),
        value=f"{score['value']:.3g}" if scored else f"no score: {score['status']}",
        passed=passes(attempt, mark) if scored else None,
        parts=_parts(score["parts"]),
        note=shortened(str(score["note"]), 400),
    )


def _parts(parts: object) -> tuple[tuple[str, str], ...]:
    known = parts.items() if isinstance(parts, dict) else ()
    return tuple((shortened(str(k), 60), f"{v:.3g}") for k, v in known if isinstance(v, int | float))


@dataclass(frozen=True, kw_only=True)
class TrainingGroup:
    """One group of a training step, as it was learned from."""

    stage: str
    step: int
    prompt: str
    rows: tuple[tuple[Attempt, str], ...]


def training_groups(data: RunData, stage: str) -> list[TrainingGroup]:
    """The first group of the stage's first and of its last step, with each attempt's advantage."""
    found = []
    for (name, step), rows in data.rollouts.items():
        if name == stage and rows:
            group = [row for row in rows if row.get("group") == rows[0].get("group")][: 2 * SHOWN]
            shown = tuple((_logged(row), _advantage(row)) for row in group)
            prompt = shortened(rows[0]["prompt"], LONGEST)
            found.append(TrainingGroup(stage=stage, step=step, prompt=prompt, rows=shown))
    return found


def _advantage(row: Json) -> str:
    value = row.get("advantage")
    return f"{value:+.2f}" if isinstance(value, int | float) else "not learned from"


def _logged(row: Json) -> Attempt:
    score = row["score"]
    value = score.get("value")
    status = str(score.get("status", "ok"))
    return Attempt(
        completion=shortened(row["completion"], LONGEST),
        tokens=str(row["tokens"]),
        stop=str(row.get("stop", "not recorded")),
        value=f"{value:.3g}" if isinstance(value, int | float) else f"no score: {shortened(status, 40)}",
        passed=None,
        parts=_parts(score.get("parts")),
        note=shortened(str(score.get("note", "")), 400),
    )
