"""Evaluation: what counts as a pass, what leaves the count, unbiased pass@k, paired comparison, the file form."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.evidence.after.eval_command import evaluate_run, in_words, pick_model, table
from togi.evidence.after.evaluation_file import EvaluationRecord, read_evaluation, write_evaluation
from togi.evidence.after.evaluation_summary import compare, powers, summary
from togi.evidence.after.play_evaluation import evaluate, from_groups, read_under_base
from togi.run import Silent
from togi.train import train
from togi.types import Batch, Group, Message, Outputs, Question, Sampling, Score, Status, Task, Trajectory, Turn

NAN = float("nan")


def task(name: str) -> Task:
    return Task(id=name, prompt=(Message(role="user", content=f"question {name}"),), answer=name)


def trajectory(tokens: int = 3, stop: str = "eos", text: str = "x") -> Trajectory:
    turn = Turn(prompt=(1, 2), completion=(5,) * tokens, text=text, stop=stop, logp=(-1.0,) * tokens)  # type: ignore[arg-type]
    return Trajectory(turns=(turn,), stop=turn.stop)


def score(value: float | Status) -> Score:
    if isinstance(value, str):
        return Score(value=NAN, status=value, note="broken")
    return Score(value=value, parts={"correct": value, "form": 1.0 if value > 0 else 0.0})


def group(name: str, values: Sequence[float | Status]) -> Group:
    scores = tuple(score(value) for value in values)
    return Group(task=task(name), trajectories=tuple(trajectory() for _ in values), scores=scores)


def record(rows: dict[str, Sequence[float | Status]], model: str = "base", **changes: float) -> EvaluationRecord:
    attempts = max(len(row) for row in rows.values())
    groups = [group(name, values) for name, values in rows.items()]
    return from_groups(groups, attempts, model=model, step=0, sampling=Sampling(), **changes)


class Even:
    """A base model to which every token is as likely."""

    def __call__(self, batch: Batch) -> Outputs:
        return Outputs(logp_BT=torch.full_like(batch.logp_BT, -1.25))


def test_answers_are_read_under_the_base() -> None:
    played = [group("a", [1.0, 0.0]), group("b", [1.0])]
    found = from_groups(played, 2, model="grpo", step=3, sampling=Sampling())
    read_under_base(found, played, Even(), budget=8)
    attempts = [attempt for task in found["tasks"] for attempt in task["attempts"]]
    assert [attempt["base_logp"] for attempt in attempts] == [3 * -1.25] * 3
    assert [attempt["kl"] for attempt in attempts] == [3 * (-1.0 + 1.25)] * 3


class Answers:
    """A play that gives every attempt the same value."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        return [group(each.task.id, [self.value] * each.attempts) for each in questions]


def test_pass_at_k_is_the_unbiased_estimate_averaged_over_tasks() -> None:
    one = summary(record({"a": [1, 0, 0, 0], "b": [1, 1, 0, 0]}))
    assert powers(4) == [1, 2, 4]
    assert powers(6) == [1, 2, 4]
    assert one.pass_at[1].point == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert one.pass_at[2].point == pytest.approx((1 - 3 / 6 + 1 - 1 / 6) / 2)  # 1 - C(n-c,2)/C(n,2)
    assert one.pass_at[4].point == 1.0


def test_an_unscored_attempt_is_no_failure_and_is_counted() -> None:
    one = summary(record({"a": [1, "timeout", "error", 1], "b": ["timeout"] * 4, "c": [0, 0, 0, 0]}))
    assert one.pass_at[1].point == pytest.approx(0.5)  # task a passes 2 of 2, task b says nothing, task c fails
    assert one.pass_tasks == {1: 2, 2: 2, 4: 1}
    assert one.unscored == {"timeout": 5, "error": 1}
    assert one.scored == 6
    assert one.reward is not None
    assert one.reward.point == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rows", "left_out", "as_wrong", "pass_as_wrong"),
    [
        ({"a": [1, 0]}, 0.5, 0.5, {1: 0.5, 2: 1.0}),
        ({"a": [1, "timeout", "error", 1]}, 1.0, 0.5, {1: 0.5, 2: 1 - 1 / 6, 4: 1.0}),
        ({"a": [1, 1], "b": ["error", "error"]}, 1.0, 0.5, {1: 0.5, 2: 0.5}),
        ({"a": [-2, "timeout"], "b": [1, 1]}, -0.5, -0.5, {1: 0.5, 2: 0.5}),
        ({"a": [2, "timeout"]}, 2.0, 1.0, {1: 0.5, 2: 1.0}),
        ({"a": ["error", "error"]}, None, None, {1: 0.0, 2: 0.0}),
    ],
)
def test_attempts_without_a_score_are_shown_as_a_bound(
    rows: dict[str, list[Any]], left_out: float | None, as_wrong: float | None, pass_as_wrong: dict[int, float]
) -> None:
    made = record(rows)
    assert made["mean"] == {"left_out": left_out, "as_wrong": as_wrong}
    one = summary(made)
    assert (None if one.reward is None else one.reward.point) == left_out
    assert one.reward_as_wrong == as_wrong
    assert one.pass_as_wrong == pytest.approx(pass_as_wrong)


def test_bounds_and_own_faults_are_shown_in_the_terminal() -> None:
    screen = Console(file=io.StringIO(), width=120)
    lost = record({"a": [1, "timeout"]})
    lost["tasks"][0]["attempts"][0]["score"]["own_fault"] = "time"
    screen.print(table([lost]))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    for words in ("1 timeout", "own fault, earned 0", "1 time", "pass@1, those as wrong", "50.0%", "0.500"):
        assert words in shown


def test_a_shaped_reward_passes_by_its_mark_alone() -> None:
    rows = {"a": [0.95, 0.4]}
    assert summary(record(rows)).pass_at[1].point == 0.0
    assert summary(record(rows, pass_mark=0.9)).pass_at[1].point == 0.5
    assert summary(record({"a": [0.1 + 0.2 + 0.7 - 1e-12]})).pass_at[1].point == 1.0


def test_form_truncation_and_lengths() -> None:
    cut = Group(task=task("a"), trajectories=(trajectory(3), trajectory(9, "length")), scores=(score(1.0), score(0.0)))
    one = summary(from_groups([cut], 2, model="m", step=7, sampling=Sampling()))
    assert (one.well_formed, one.truncated, one.length_mean, one.lengths) == (0.5, 0.5, 6.0, (3, 9))
    assert one.tokens == 12
    bare = Group(task=task("a"), trajectories=(trajectory(),), scores=(Score(value=1.0),))
    assert summary(from_groups([bare], 1, model="m", step=0, sampling=Sampling())).well_formed is None


def test_intervals_are_clustered_by_task() -> None:
    """Sixteen equal attempts at a task say no more than one: the interval may not shrink."""
    few = summary(record({str(i): [i % 2] for i in range(20)})).pass_at[1]
    many = summary(record({str(i): [i % 2] * 16 for i in range(20)})).pass_at[1]
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
    assert few.low < 0.35 < 0.65 < few.high


def test_a_clear_gain_is_found_and_noise_is_not() -> None:
    before = record({str(i): [0, 0] for i in range(20)})
    after = record({str(i): [1, i % 2] for i in range(20)}, model="grpo")
    gain = compare(before, after)
    assert gain.difference.point == pytest.approx(0.75)
    assert gain.difference.low > 0.5
    assert gain.p < 0.001
    assert gain.verdict == "improved"
    assert (gain.better, gain.worse, gain.same) == (20, 0, 0)
    assert compare(after, before).verdict == "worsened"
    mixed = compare(before, record({str(i): [int(i == 0), 0] for i in range(20)}, model="m"))
    assert mixed.verdict == "unclear"
    assert "no evidence of a difference" in in_words(mixed)


def test_one_task_has_no_interval() -> None:
    one, other = record({"a": [0.0, 1.0]}), record({"a": [1.0, 1.0]}, model="grpo")
    assert in_words(compare(one, other)).endswith("+50.0 points (one task gives no interval).")
    page = io.StringIO()
    Console(file=page, width=120).print(table([one, other]))
    assert "nan" not in page.getvalue()


def test_pairs_without_a_score_are_left_out_and_counted() -> None:
    before = record({"a": [0, 0], "b": ["error", "error"], "c": [0, 0]})
    after = record({"a": [1, 1], "b": [1, 1], "c": [1, 1]}, model="grpo")
    result = compare(before, after)
    assert (result.tasks, result.left_out, result.difference.point) == (2, 1, 1.0)


def test_unequal_evaluations_are_refused() -> None:
    base = record({"a": [0], "b": [0]})
    with pytest.raises(ValueError, match=r"different tasks.*'b'"):
        compare(base, record({"a": [0]}))
    other = record({"a": [0], "b": [0]}, model="x")
    other["tasks"][0]["prompt"] = "another question"
    with pytest.raises(ValueError, match="another prompt"):
        compare(base, other)
    greedy = record({"a": [0], "b": [0]}, model="x")
    greedy["sampling"] = {**greedy["sampling"], "temperature": 0.0}
    with pytest.raises(ValueError, match="different sampling"):
        compare(base, greedy)
    with pytest.raises(ValueError, match="no task has 1 scored attempt in both"):
        compare(base, record({"a": ["error"], "b": ["error"]}))


def test_bad_requests_are_refused() -> None:
    asked = {"model": "m", "step": 0, "sampling": Sampling()}
    with pytest.raises(ValueError, match="at least 1 attempt"):
        evaluate(Answers(1.0), [task("a")], 0, **asked)
    with pytest.raises(ValueError, match="at least 1 task"):
        evaluate(Answers(1.0), [], 1, **asked)
    with pytest.raises(ValueError, match="have the id 'a'"):
        evaluate(Answers(1.0), [task("a"), task("a")], 1, **asked)


def test_the_file_form_survives_a_round_trip(tmp_path: Path) -> None:
    before = record({"a": [1, "timeout"], "b": [0, 1]})
    path = write_evaluation(tmp_path, before)
    assert path == tmp_path / "evaluations" / "base.json"
    assert "NaN" not in path.read_text()
    assert json.loads(path.read_text())["tasks"][0]["attempts"][1]["score"]["value"] is None
    assert summary(read_evaluation(path)) == summary(before)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a readable evaluation"),
        ("[]", "JSON object, got list"),
        ('{"model": "m"}', "needs step, attempts"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_evaluation(path)
    assert "base.json" in str(caught.value)


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="may not contain a path"):
        write_evaluation(tmp_path, record({"a": [1]}, model="../../x"))


def test_the_model_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stage has ended"):
        pick_model(tmp_path, ["sft", "grpo"])
    (tmp_path / "models" / "sft").mkdir(parents=True)
    assert pick_model(tmp_path, ["sft", "grpo"]) == "sft"
    with pytest.raises(ValueError, match="no saved model 'grpo'"):
        pick_model(tmp_path, ["sft", "grpo"], "grpo")


def test_evaluating_a_run_again(tmp_path: Path) -> None:
    run = replace(toy_run(tmp_path / "run", tiny_folder(tmp_path / "model")), evaluation=None)
    train(replace(run, stages=run.stages[:1]), Silent())
    with pytest.raises(ValueError, match=r"no \[evaluation\]"):
        evaluate_run(run, "sft")
    held_out = toy_run(tmp_path / "run", tmp_path / "model")
    records = evaluate_run(held_out, "sft")
    names = sorted(path.name for path in (tmp_path / "run" / "evaluations").iterdir())
    assert names == ["eval-base.json", "eval-sft.json"]
    assert [record["step"] for record in records] == [0, 3]


def test_evaluations_side_by_side() -> None:
    names = [str(i) for i in range(12)]
    records = [record({name: [value, value] for name in names}, model=model) for model, value in (("a", 0), ("b", 1))]
    console = Console(record=True, width=120, file=None)
    with console.capture() as capture:
        console.print(table(records))
    assert "pass@2" in capture.get()
    assert "rose by 100.0 points" in capture.get()
