"""Win rates: counted by hand, unmoved by order, honest about chance, and refused where they would mean nothing."""

from __future__ import annotations

import numpy as np
import pytest

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, ScoreRecord, TaskRecord
from togi.evidence.after.evaluation_summary import compare_scores, summary
from togi.evidence.after.win_rate import win_rate


def record(model: str, scores: dict[str, list[float | None]], **changes: float) -> EvaluationRecord:
    tasks = [
        TaskRecord(id=name, prompt=f"ask {name}", answer=None, attempts=[attempt(value) for value in values])
        for name, values in scores.items()
    ]
    sampling = {"temperature": 1.0, "max_tokens": 32} | changes
    return EvaluationRecord(
        model=model, step=0, attempts=2, pass_mark=1.0, sampling=sampling, tasks=tasks, seconds=0.0, tokens=0
    )


def attempt(value: float | None) -> AttemptRecord:
    score = ScoreRecord(value=value, parts={}, status="timeout" if value is None else "ok", note="")
    return AttemptRecord(completion="words", tokens=2, stop="eos", score=score)


OLD = record("old", {"a": [0.1, 0.5], "b": [0.2, 0.2], "c": [None, None]})
NEW = record("new", {"b": [0.2, 0.9], "a": [0.5, 0.6], "c": [0.3, 0.3]})


def test_every_attempt_meets_every_other_and_ties_count_half() -> None:
    found = win_rate(NEW, OLD)
    assert found.rate.point == pytest.approx(((3 + 0.5) / 4 + (2 + 1) / 4) / 2)
    assert found.ties == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert (found.winner, found.loser, found.tasks, found.left_out) == ("new", "old", 2, 1)
    assert win_rate(OLD, NEW).rate.point == pytest.approx(1 - found.rate.point)


def test_mean_scores_are_compared_task_by_task() -> None:
    found = compare_scores(OLD, NEW)
    assert found.difference.point == pytest.approx((0.25 + 0.35) / 2)
    assert (found.k, found.better, found.worse, found.tasks, found.left_out) == (None, 2, 0, 2, 1)


def test_the_interval_is_over_tasks() -> None:
    def some(model: str, gain: float) -> EvaluationRecord:
        rng = np.random.default_rng(len(model))
        return record(model, {str(task): list(rng.normal(gain, 1, 4)) for task in range(60)})

    assert win_rate(some("new", 1.0), some("older", 0.0)).verdict == "wins"
    assert win_rate(some("older", 0.0), some("new", 1.0)).verdict == "loses"
    assert win_rate(some("new", 0.0), some("older", 0.0)).verdict == "unclear"
    sure = win_rate(record("a", {str(t): [1.0] for t in range(9)}), record("b", {str(t): [0.0] for t in range(9)}))
    assert sure.rate.point == 1
    assert 0.6 < sure.rate.low < 0.95


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="different tasks"):
        win_rate(NEW, record("old", {"a": [1.0]}))
    with pytest.raises(ValueError, match="different sampling"):
        win_rate(NEW, record("old", {"a": [1.0], "b": [1.0], "c": [1.0]}, temperature=0.5))
    with pytest.raises(ValueError, match="no task has a scored attempt in both"):
        win_rate(record("new", {"a": [None]}), record("old", {"a": [1.0]}))


def test_graded_scores_and_divergence_are_seen() -> None:
    assert summary(NEW).graded
    plain = record("plain", {"a": [1.0, 0.0]})
    assert not summary(plain).graded
    assert summary(plain).kl is None
    for number, one in enumerate(NEW["tasks"]):
        one["attempts"][0]["kl"] = float(number)
        one["attempts"][1]["kl"] = None
    kl = summary(NEW).kl
    assert kl is not None
    assert kl.point == pytest.approx(1.0)
