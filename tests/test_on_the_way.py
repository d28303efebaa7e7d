"""Measuring on the way: it changes nothing of what is learned, resumes exactly, and is shown in the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_train import At, Power, contents, fall
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.report import render
from togi.run import Run, Silent
from togi.run_folder.integrity import check
from togi.train import train


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


def run_at(folder: Path, model: Path) -> Run:
    run = toy_run(folder, model)
    assert run.evaluation is not None
    return replace(run, evaluation=replace(run.evaluation, every=1, every_attempts=2))


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


def test_learning_is_as_without(whole: Path, model: Path, tmp_path: Path) -> None:
    train(toy_run(tmp_path / "run", model), Silent())
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
    assert "Held-out result on the way: mean score" in render(whole)
