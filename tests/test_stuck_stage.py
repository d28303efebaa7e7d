"""A reward that gives no score, or always the same one, ends a stage with a clear error, and loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_text import tiny_folder
from toy_run import SaysIt, toy_run

from togi.algorithms import GRPO, Collect
from togi.evidence.during.stuck_stage import Standstill
from togi.run import Run, Silent
from togi.run_folder.files import read_lines
from togi.samplers import Dynamic, Groups
from togi.train import train
from togi.types import Score, Status, Task, Trajectory


class Says(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def always(value: float, status: Status = "ok", note: str = "") -> object:
    def reward(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [Score(value=value if status == "ok" else float("nan"), status=status, note=note) for _ in trajectories]

    return reward


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


def paid_by(reward: object, folder: Path, model: Path, **changes: object) -> Run:
    run = toy_run(folder, model)
    stage = replace(run.stages[1], algorithm=GRPO(sampler=Groups(2), kl=0.0), reward=reward, **changes)  # type: ignore[arg-type]
    return replace(run, stages=(stage,), evaluation=None)


@pytest.mark.parametrize(("steps", "made"), [(8, 3), (2, 2)])
def test_a_reward_that_never_scores_stops_the_stage(tmp_path: Path, model: Path, steps: int, made: int) -> None:
    run = paid_by(always(0, "error", "no such column"), tmp_path / "run", model, steps=steps)
    with pytest.raises(
        Standstill, match=rf"no attempt of {made} steps in a row could be scored \(error: no such column\)"
    ):
        train(run, Silent())
    assert len(list(read_lines(run.folder / "metrics.jsonl"))) == made


def test_a_sampler_that_drops_what_was_not_scored_hides_no_failure(tmp_path: Path, model: Path) -> None:
    run = paid_by(always(0, "error", "no such column"), tmp_path / "run", model, steps=8)
    stage = replace(run.stages[0], algorithm=GRPO(sampler=Dynamic(2), kl=0.0))
    with pytest.raises(Standstill, match="no such column"):
        train(replace(run, stages=(stage,)), Silent())
    assert len(list(read_lines(run.folder / "metrics.jsonl"))) == 3


def test_a_reward_that_never_differs_stops_the_stage_and_the_same_command_goes_on(tmp_path: Path, model: Path) -> None:
    run = paid_by(always(0.5), tmp_path / "run", model, steps=12)
    with pytest.raises(Standstill, match="10 steps have passed"):
        train(run, Silent())
    assert (run.folder / "checkpoints").is_dir()
    train(run, Silent())
    assert [row["step"] for row in read_lines(run.folder / "metrics.jsonl")] == list(range(1, 13))


@pytest.mark.parametrize("reward", [always(0.5), always(0, "abstain")], ids=["alike", "abstains"])
def test_a_short_stage_that_learned_nothing_says_so(tmp_path: Path, model: Path, reward: object) -> None:
    watch = Says()
    train(paid_by(reward, tmp_path / "run", model, steps=3), watch)
    assert any("grpo learned nothing" in note for note in watch.notes)


def test_nothing_is_said_of_a_reward_that_differs(tmp_path: Path, model: Path) -> None:
    watch = Says()
    train(paid_by(SaysIt(), tmp_path / "run", model, steps=3), watch)
    assert not watch.notes


def test_a_stage_that_only_collects_is_not_to_learn(tmp_path: Path, model: Path) -> None:
    watch = Says()
    run = paid_by(always(0.5), tmp_path / "run", model, steps=11)
    train(replace(run, stages=(replace(run.stages[0], algorithm=Collect()),)), watch)
    assert not any("learned nothing" in note for note in watch.notes)


def test_an_evaluation_without_any_score_is_refused_before_training(tmp_path: Path, model: Path) -> None:
    run = toy_run(tmp_path / "run", model)
    assert run.evaluation is not None
    broken = replace(run.evaluation, reward=always(0, "timeout", "late"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no attempt of base at a held-out task could be scored \(timeout: late\)"):
        train(replace(run, evaluation=broken), Silent())
    assert not (run.folder / "metrics.jsonl").exists()
