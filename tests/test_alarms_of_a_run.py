"""A run raises alarms while it trains, keeps them beside its logs, and raises the same ones however it is stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.algorithms import GRPO
from togi.recipe import load_recipe
from togi.run import Run, Silent
from togi.run_folder.files import read_lines
from togi.train import train
from togi.types import Score, Task, Trajectory, Turn


class Power(BaseException):
    """The machine went off."""


class Notes(Silent):
    """Keeps what is said, and falls at the ``n``-th time that something is sampled."""

    def __init__(self, n: int = 0) -> None:
        self.left, self.notes = n, list[str]()

    def phase(self, name: str) -> None:
        self.left -= name == "sample"
        if name == "sample" and self.left == 0:
            raise Power

    def note(self, text: str) -> None:
        self.notes.append(text)


class HalfLost:
    """A grader that runs out of time for every second attempt."""

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        lost = Score(value=math.nan, status="timeout", note="10 s")
        given = [Score(value=float(len(trajectory.turns[-1].completion))) for trajectory in trajectories]
        return [lost if number % 2 else score for number, score in enumerate(given)]


def run(folder: Path, model: Path) -> Run:
    toy = toy_run(folder, model, grpo_steps=13)
    grpo = replace(toy.stages[1], algorithm=GRPO(), reward=HalfLost(), minibatches=1)
    return replace(toy, stages=(toy.stages[0], grpo), evaluation=None, save_every=4)


def test_an_alarm_is_told_and_kept_once_however_the_run_is_stopped(tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "model")
    told = Notes()
    train(run(tmp_path / "whole", model), told)
    (alarm,) = [row for row in read_lines(tmp_path / "whole" / "alarms.jsonl") if row["signal"] == "no score"]
    assert (alarm["stage"], alarm["step"], alarm["severity"]) == ("grpo", 11, "critical")
    assert alarm["text"].startswith("50% of attempts get no score, mostly timeout")
    assert [row["score"]["status"] for row in alarm["rollouts"]] == ["timeout"] * 3
    assert [note for note in told.notes if "get no score" in note] == [f"critical: {alarm['text']}"]

    stopped = tmp_path / "stopped"
    with pytest.raises(Power):
        train(run(stopped, model), Notes(15))  # after the alarm, with the last checkpoint before it
    assert len(read_lines(stopped / "alarms.jsonl")) == 1
    train(run(stopped, model), Notes())
    for name in ("alarms.jsonl", "metrics.jsonl"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_hacked_recipe_pays_what_its_truth_does_not_and_then_what_it_does() -> None:
    loaded = load_recipe(Path(__file__).parent.parent / "recipes" / "hacked.toml")
    cold_start, hacked, cured = loaded.run.stages
    assert hacked.start in (None, "cold_start")
    assert cured.start == cold_start.name
    task = hacked.tasks[0]
    empty = "<think>Let me see.</think><answer>0.5</answer>"
    turn = Turn(prompt=(1,), completion=(2, 3), text=empty, stop="eos")
    attempt = [Trajectory(turns=(turn,), stop="eos")]
    assert hacked.reward is not None
    assert cured.reward is not None
    assert hacked.gold is not None
    assert hacked.reward(task, attempt)[0].value > 1.0
    assert hacked.gold(task, attempt)[0].value == cured.reward(task, attempt)[0].value == 0.0
