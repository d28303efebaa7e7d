"""Measuring on the way: it changes nothing of what is learned, resumes exactly, and is shown in the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_train import At, Power, contents, fall
from tiny_text import tiny_folder
from toy_run import tasks, toy_run

from togi.evidence.read_run import read_run
from togi.report import render
from togi.run import Run, Silent
from togi.run_folder.best_weights import chosen_steps
from togi.run_folder.files import RunFolder, mark
from togi.run_folder.integrity import check
from togi.train import train


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


def run_at(folder: Path, model: Path) -> Run:
    run = toy_run(folder, model)
    assert run.evaluation is not None
    return replace(run, evaluation=replace(run.evaluation, every=1, every_attempts=2, under_base=True))


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(run_at(folder, model), Silent())
    return folder


def measured(folder: Path) -> dict[str, Any]:
    files = sorted((folder / "evaluations_on_the_way").iterdir())
    return {file.name: json.loads(file.read_text()) | {"seconds": 0} for file in files}


def test_the_policy_is_measured_after_every_step_but_the_last(whole: Path) -> None:
    found = measured(whole)
    assert list(found) == [f"grpo-{step:06d}.json" for step in (1, 2, 3)] + [f"sft-{step:06d}.json" for step in (1, 2)]
    assert [record["step"] for record in found.values()] == [4, 5, 6, 1, 2]
    assert all(len(task["attempts"]) == 2 for record in found.values() for task in record["tasks"])
    assert check(whole).faults == ()


def test_every_answer_is_read_under_the_base_too(whole: Path) -> None:
    for model, moved in (("base", False), ("grpo", True)):
        record = json.loads((whole / "evaluations" / f"{model}.json").read_text())
        attempts = [attempt for task in record["tasks"] for attempt in task["attempts"]]
        assert all(attempt["base_logp"] < 0 for attempt in attempts)
        assert any(abs(attempt["kl"]) > 1e-3 for attempt in attempts) == moved


def test_learning_is_as_without(whole: Path, model: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", model)
    assert run.evaluation is not None
    train(replace(run, evaluation=replace(run.evaluation, under_base=True)), Silent())
    assert contents(whole) == contents(tmp_path / "run")


@pytest.mark.parametrize(("phase", "n"), [("held out", 1), ("held out", 4), ("learn", 6), ("save", 3)])
def test_a_run_that_was_stopped_measures_the_same(whole: Path, model: Path, tmp_path: Path, phase: str, n: int) -> None:
    run = run_at(tmp_path / "run", model)
    with pytest.raises(Power):
        train(run, At(phase, n, fall))
    train(run, Silent())
    assert contents(run.folder) == contents(whole)
    assert measured(run.folder) == measured(whole)
    assert check(run.folder).faults == ()


def test_the_report_draws_the_course(whole: Path) -> None:
    assert "Held-out result on the way: mean score" in render(read_run(whole))


# Where the best weights of a stage are kept.

SCORES = [0.1, 0.5, 0.5, 0.2]  # of a stage's looks: the third is the best, as the last of two such


def best_run(folder: Path, model: Path, **changes: Any) -> Run:
    run = run_at(folder, model)
    assert run.evaluation is not None
    return replace(run, evaluation=replace(run.evaluation, best="mean_score", **changes))


@pytest.fixture(scope="module")
def scripted() -> Iterator[None]:
    """Looks on the way get the scores that the step of their stage says."""

    def told(record: Any) -> dict[str, float]:
        first = {"sft": 0, "grpo": 3}.get(record["model"], 0)
        value = SCORES[(record["step"] - first - 1) % len(SCORES)]
        return {"pass@1": value, "mean_score": value}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("togi.train.headline", told)
        yield


@pytest.fixture(scope="module")
def chosen(scripted: None, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chosen") / "run"
    train(best_run(folder, model), Silent())
    return folder


def done(folder: Path) -> dict[str, Any]:
    return {event["name"]: event["best"] for event in events(folder) if event["event"] == "stage_done"}


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_a_stage_ends_with_its_best_weights_and_the_next_begins_with_them(chosen: Path, model: Path) -> None:
    assert {name: (best["step"], best["looks"], best["value"]) for name, best in done(chosen).items()} == {
        "sft": (3, 3, 0.5),
        "grpo": (3, 4, 0.5),
    }
    assert check(chosen).faults == ()
    kept = {
        event["files"].get("best/grpo-000003") for event in events(chosen) if event["event"] == "measured_on_the_way"
    }
    assert mark(chosen / "models" / "grpo") in kept
    assert json.loads((chosen / "evaluations" / "grpo.json").read_text())["step"] == 3 + 3
    assert sorted(path.name for path in (chosen / "best").iterdir()) == [
        "grpo-000003"
    ]  # of the last checkpoint but one
    assert "after step 3 of 4 are kept" in render(read_run(chosen))


@pytest.mark.parametrize(
    ("phase", "n"),
    [(phase, n) for phase, most in (("held out", 7), ("learn", 7), ("save", 12)) for n in range(2, most, 2)],
)
def test_a_run_that_was_stopped_keeps_the_same_weights(
    chosen: Path, model: Path, tmp_path: Path, phase: str, n: int
) -> None:
    run = best_run(tmp_path / "run", model)
    try:
        train(run, At(phase, n, fall))
    except Power:
        train(run, Silent())
    assert contents(run.folder) == contents(chosen)
    assert measured(run.folder) == measured(chosen)
    assert done(run.folder) == done(chosen)
    assert check(run.folder).faults == ()


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("kind", "n"),
    [("measured_on_the_way", 2), ("measured_on_the_way", 5), ("dropped", 1), ("dropped", 3), ("stage_done", 1)],
)
def test_a_kill_beside_an_event_loses_nothing(
    chosen: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, n: int, told: bool
) -> None:
    """Right before an event was written, or right after, before what it announces was done."""
    left, event = n, RunFolder.event

    def killed(self: RunFolder, happened: str, /, **details: Any) -> str:
        nonlocal left
        left -= happened == kind
        falls = happened == kind and left == 0
        told_of = "" if falls and not told else event(self, happened, **details)
        if falls:
            raise Power
        return told_of

    run = best_run(tmp_path / "run", model)
    monkeypatch.setattr(RunFolder, "event", killed)
    with pytest.raises(Power):
        train(run, Silent())
    train(run, Silent())
    assert contents(run.folder) == contents(chosen)
    assert measured(run.folder) == measured(chosen)
    assert check(run.folder).faults == ()


@pytest.mark.parametrize("lost", [1, 2])
def test_an_older_checkpoint_still_has_its_best_weights(
    scripted: None, chosen: Path, model: Path, tmp_path: Path, lost: int
) -> None:
    run = best_run(tmp_path / "run", model)
    with pytest.raises(Power):
        train(run, At("learn", 7, fall))
    for path in sorted((run.folder / "checkpoints").iterdir())[-lost:]:
        (path / "state.json").write_text("{}")
    if lost == 2:
        with pytest.raises(ValueError, match="no checkpoint"):
            train(run, Silent())
        return
    train(run, Silent())
    assert contents(run.folder) == contents(chosen)
    assert check(run.folder).faults == ()


def test_it_is_chosen_on_tasks_of_its_own(scripted: None, model: Path, tmp_path: Path) -> None:
    run = best_run(tmp_path / "run", model, choice=tasks(["white"]))
    train(run, Silent())
    asked = {task["id"] for record in measured(run.folder).values() for task in record["tasks"]}
    assert asked == {"white"}
    assert {best["tasks"] for best in done(run.folder).values()} == {"other"}
    assert json.loads((run.folder / "evaluations" / "grpo.json").read_text())["tasks"][0]["id"] == "brown"


@pytest.mark.parametrize("told", [None, [], {}, {"step": "1"}, {"step": 1, "metric": "x", "value": None, "looks": 2}])
def test_a_choice_of_another_shape_says_nothing(told: Any) -> None:
    assert chosen_steps([{"event": "stage_done", "name": "sft", "best": told}]) == {}
