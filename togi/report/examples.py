"""Which rollouts a report shows, chosen by rule and not by hand, and cut to a readable size. It knows no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, TaskRecord
from togi.evidence.after.evaluation_summary import passes, value_of
from togi.evidence.read_run import Json, RunData
from togi.harmless_text import shortened
from togi.report.conversation import Reply, TurnView, asked_of, turns_of
from togi.report.stage_sentences import learns_preferences, sampled

LONGEST = 4000  # characters of one cell
NOTE = 1200  # characters of what a judge said, or of why there is no score
EACH = 3  # tasks of one kind
SHOWN = 2  # attempts of one task and model
KINDS = ("got better", "got worse", "stayed wrong", "stayed right", "stayed mixed")
GROUPS = 3  # comparisons shown of one step


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """``value`` is its score in words, empty where none was given. ``turns`` are those of an attempt that was answered,
    ``asked`` what an environment asked first, where that is more than the task."""

    completion: str
    tokens: str
    stop: str
    value: str
    passed: bool | None
    parts: tuple[tuple[str, str], ...]
    note: str
    asked: tuple[Reply, ...] = ()
    turns: tuple[TurnView, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model's attempts at a task: a few of them, and how many of all passed."""

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


def examples(evaluations: Sequence[EvaluationRecord], *, graded: bool) -> list[Example]:
    """Held-out tasks as the first and the last model answered them, up to three of each kind.

    Right or wrong: evenly spread over the tasks of each kind. Graded scores: those that gained most, lost most, and
    lie in the middle; with one model, those of the highest and lowest scores and the middle.
    """
    if not evaluations:
        return []
    ends = [evaluations[0]] if len(evaluations) == 1 else [evaluations[0], evaluations[-1]]
    tasks = [{task["id"]: task for task in one["tasks"]} for one in ends]
    names = [name for name in tasks[0] if all(name in each for each in tasks)]
    chosen = _by_change(names, tasks) if graded else _by_kind(names, tasks, ends)
    return [_example(kind, [each[name] for each in tasks], ends, graded) for kind, name in chosen]


def _by_kind(
    names: Sequence[str], tasks: Sequence[Mapping[str, TaskRecord]], ends: Sequence[EvaluationRecord]
) -> list[tuple[str, str]]:
    kinds: dict[str, list[str]] = {}
    for name in names:
        rates = [_rate(each[name], one["pass_mark"]) for each, one in zip(tasks, ends, strict=True)]
        kinds.setdefault(_kind(rates), []).append(name)
    chosen = [(kind, name) for kind in KINDS for name in _spread(kinds.get(kind, []))]
    return chosen if len(ends) > 1 else [(kind.removeprefix("stayed "), name) for kind, name in chosen]


def _by_change(names: Sequence[str], tasks: Sequence[Mapping[str, TaskRecord]]) -> list[tuple[str, str]]:
    """Tasks in the order of their change, the middle ones as what is typical; no task is shown twice."""
    change = {}
    for name in names:
        means = [_mean_score(each[name]) for each in tasks]
        first, last = means[0], means[-1]
        if first is not None and last is not None:
            change[name] = last - first if len(tasks) > 1 else last
    ranked = sorted(change, key=lambda name: -change[name])
    single = len(tasks) == 1
    best = [name for name in ranked[:EACH] if single or change[name] > 0]
    worst = [name for name in reversed(ranked[-EACH:]) if name not in best and (single or change[name] < 0)]
    rest = [name for name in ranked if name not in best and name not in worst]
    middle = rest[max(0, (len(rest) - EACH) // 2) :][:EACH]
    words = ("scored highest", "scored lowest", "in the middle") if single else ("got better", "got worse", "typical")
    return [(word, name) for word, kept in zip(words, (best, worst, middle), strict=True) for name in kept]


def _mean_score(task: TaskRecord) -> float | None:
    scored = [value_of(attempt) for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]
    return sum(scored) / len(scored) if scored else None


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


def _example(kind: str, tasks: Sequence[TaskRecord], ends: Sequence[EvaluationRecord], graded: bool) -> Example:
    sides = []
    for task, one in zip(tasks, ends, strict=True):
        mark = None if graded else one["pass_mark"]
        shown = tuple(_attempt(attempt, mark) for attempt in _shown(task["attempts"], mark))
        sides.append(Side(model=one["model"], tally=_tally(task, mark), attempts=shown))
    first = tasks[0]
    return Example(
        kind=kind,
        task=shortened(str(first["id"]), 120),
        prompt=shortened(str(first["prompt"]), LONGEST),
        answer="" if first["answer"] is None else shortened(str(first["answer"]), LONGEST),
        sides=tuple(sides),
    )


def _shown(attempts: Sequence[AttemptRecord], mark: float | None) -> Sequence[AttemptRecord]:
    """The first attempts; where some are right and others are not, the first of each."""
    if mark is not None:
        right = [attempt["score"]["status"] == "ok" and passes(attempt, mark) for attempt in attempts]
        if any(right) and not all(right):
            return [attempts[right.index(True)], attempts[right.index(False)]]
    return attempts[:SHOWN]


def _tally(task: TaskRecord, mark: float | None) -> str:
    if mark is None:
        mean = _mean_score(task)
        return "no score" if mean is None else f"mean score {mean:.3g}"
    scored = [attempt for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]
    return f"{sum(passes(attempt, mark) for attempt in scored)} of {len(scored)} right"


def _attempt(attempt: AttemptRecord, mark: float | None) -> Attempt:
    score = attempt["score"]
    scored = score["status"] == "ok"
    return Attempt(
        completion=shortened(str(attempt["completion"]), LONGEST),
        tokens=str(attempt["tokens"]),
        stop=str(attempt["stop"]),
        value=f"{score['value']:.3g}{_own_fault(score)}" if scored else f"no score: {score['status']}",
        passed=passes(attempt, mark) if scored and mark is not None else None,
        parts=_parts(score["parts"]),
        note=shortened(str(score["note"]), NOTE),
        asked=asked_of(attempt),
        turns=turns_of(attempt),
    )


def _parts(parts: object) -> tuple[tuple[str, str], ...]:
    known = parts.items() if isinstance(parts, dict) else ()
    return tuple((shortened(str(k), 60), f"{v:.3g}") for k, v in known if isinstance(v, int | float))


@dataclass(frozen=True, kw_only=True)
class TrainingGroup:
    """Attempts at one task as they were learned from, with what each was to the algorithm."""

    title: str
    prompt: str
    rows: tuple[tuple[Attempt, str], ...]


def training_groups(data: RunData, stage: str) -> list[TrainingGroup]:
    """The first group with a signal of the stage's first and of its last step; the first three where preferences are
    learned."""
    compared = learns_preferences(data, stage)
    found = []
    for (name, step), rows in data.rollouts.items():
        if name == stage and rows:
            taught = [row.get("group") for row in rows if row.get("advantage")]
            numbers = list(dict.fromkeys([*(taught if not compared else []), *(row.get("group") for row in rows)]))
            for number in numbers[: GROUPS if compared else 1]:
                group = [row for row in rows if row.get("group") == number]
                told = _compared(group) if compared else _credited(group, rows)
                scored = compared or sampled(data, stage)
                title = f"Compared at step {step}: {group[0]['task']}" if compared else f"Learned from at step {step}"
                found.append(
                    TrainingGroup(
                        title=shortened(title, 160),
                        prompt=shortened(group[0]["prompt"], LONGEST),
                        rows=tuple(
                            (logged(row) if scored else _shown_to_learn(row), word) for row, word in told[: 2 * SHOWN]
                        ),
                    )
                )
    return found


def _shown_to_learn(row: Json) -> Attempt:
    """A recorded answer that was imitated: nobody scored it."""
    return replace(logged(row), value="demonstration", parts=())


def _credited(group: Sequence[Json], step: Sequence[Json]) -> list[tuple[Json, str]]:
    """Each attempt with its advantage; no word where the algorithm has none, as when answers are imitated."""
    known = any(isinstance(row.get("advantage"), int | float) for row in step)
    return [(row, _advantage(row) if known else "") for row in group]


def _advantage(row: Json) -> str:
    value = row.get("advantage")
    return f"advantage {value:+.2f}" if isinstance(value, int | float) else "not learned from"


def _compared(group: Sequence[Json]) -> list[tuple[Json, str]]:
    """The answers to one task from the best to the worst, and which was chosen and which rejected."""
    known = [row for row in group if isinstance(row["score"].get("value"), int | float)]
    ranked = sorted(known, key=lambda row: -row["score"]["value"])
    values = [row["score"]["value"] for row in ranked]
    lost = [(row, "left out") for row in group if row not in known]
    if len(ranked) == 1:
        return [(ranked[0], "wanted" if values[0] > 0 else "unwanted"), *lost]
    if not ranked or values[0] == values[-1]:
        return [*((row, "tie: no preference") for row in ranked), *lost]
    words = {values[0]: "chosen", values[-1]: "rejected"}
    return [*((row, words.get(row["score"]["value"], "in between")) for row in ranked), *lost]


def logged(row: Json) -> Attempt:
    score = row["score"]
    value = score.get("value")
    shown = f"no score: {shortened(str(score.get('status', 'ok')), 40)}"
    if isinstance(value, int | float):
        shown = f"score {value:.3g}{_own_fault(score)}"
    return Attempt(
        completion=shortened(row["completion"], LONGEST),
        tokens=str(row["tokens"]),
        stop=str(row.get("stop", "not recorded")),
        value=shown,
        passed=None,
        parts=(*_parts(score.get("parts")), *_parts({"truth": row.get("gold")})),
        note=shortened(str(score.get("note", "")), NOTE),
        turns=turns_of(row),
    )


def _own_fault(score: Mapping[str, Any]) -> str:
    fault = score.get("own_fault")
    return f" (own fault: {shortened(str(fault), 40)})" if fault else ""
