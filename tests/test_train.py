"""Exact resume: however a run is stopped, what it leaves behind equals an uninterrupted run to the bit."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_text import tiny_folder
from toy_run import choosing_run, preference_run, process_run, tasks, toy_run

from togi.interrupt import Interrupted
from togi.models.load_model import Lora
from togi.run import Run, Silent, Until
from togi.run_folder.files import FolderError, RunFolder, broken_link, read_lines
from togi.train import train

SLOW = pytest.mark.slow  # the phases that differ least from another one
PHASES = ["sample", "annotate", "credit", "learn", "keep", "save", "evaluate base", "evaluate sft", "evaluate grpo"]


class Power(BaseException):
    """The machine went off: nothing may tidy up."""


class At(Silent):
    """Does something the n-th time that a phase begins."""

    def __init__(self, phase: str, n: int, act: Callable[[], None]) -> None:
        self.wanted, self.left, self.act, self.notes = phase, n, act, list[str]()
        self.before = ""

    def phase(self, name: str) -> None:
        # A step's sampling goes on after each round of grading: it began once.
        goes_on = (self.before, name) == ("grade", "sample")
        self.before = name
        if name == self.wanted and not goes_on:
            self.left -= 1
            if self.left == 0:
                self.act()

    def note(self, text: str) -> None:
        self.notes.append(text)


def fall() -> None:
    raise Power


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that must not depend on how often the run was stopped. An evaluation's seconds are its own."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if name == "metrics.jsonl" or name.startswith(("rollouts/", "models/")) or name.endswith(".safetensors"):
            found[name] = path.read_bytes()
        if name.startswith("evaluations/"):
            found[name] = json.dumps({**json.loads(path.read_text()), "seconds": 0}).encode()
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(toy_run(folder, model), Silent())
    return folder


def test_a_run_leaves_everything_behind(whole: Path) -> None:
    rows = read_lines(whole / "metrics.jsonl")
    assert [(row["stage"], row["step"]) for row in rows] == [("sft", i) for i in (1, 2, 3)] + [
        ("grpo", i) for i in (1, 2, 3, 4)
    ]
    assert all("reward" in row and "kl" in row for row in rows if row["stage"] == "grpo")
    assert all("reward" not in row and "loss" in row for row in rows if row["stage"] == "sft")
    tokens = [row["tokens"] for row in read_lines(whole / "timings.jsonl") if row["stage"] == "grpo"]
    assert [row["tokens/learned"] for row in rows if row["stage"] == "grpo"] == list(accumulate(tokens))
    drawn = [row["drawn"] for row in read_lines(whole / "timings.jsonl")]
    assert [row.get("tokens/drawn") for row in rows] == [None] * 3 + list(accumulate(drawn[3:]))
    assert drawn[:3] == [0] * 3
    assert all(
        one >= other for one, other in zip(drawn[3:], tokens, strict=True)
    )  # groups without a signal are dropped
    rollouts = read_lines(whole / "rollouts" / "grpo-000002.jsonl")
    assert len(rollouts) == 12
    assert {"prompt", "completion", "score", "advantage", "answer", "stop"} <= rollouts[0].keys()
    assert sorted(path.stem for path in (whole / "evaluations").iterdir()) == ["base", "grpo", "sft"]
    events = read_lines(whole / "events.jsonl")
    assert broken_link(events) is None
    assert events[0]["event"] == "started"
    assert events[-1]["event"] == "finished"
    sft, grpo = (load_file(whole / "models" / name / "model.safetensors") for name in ("sft", "grpo"))
    assert any(not torch.equal(sft[key], grpo[key]) for key in sft)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(whole: Path, model: Path, tmp_path: Path) -> None:
    train(toy_run(tmp_path / "same", model), Silent())
    assert contents(tmp_path / "same") == contents(whole)
    train(replace(toy_run(tmp_path / "other", model), seed=4), Silent())
    assert contents(tmp_path / "other")["rollouts/grpo-000001.jsonl"] != contents(whole)["rollouts/grpo-000001.jsonl"]


@pytest.mark.parametrize(
    "phase", [pytest.param(each, marks=SLOW) if each in ("annotate", "credit", "keep") else each for each in PHASES]
)
def test_power_loss_in_any_phase(phase: str, whole: Path, model: Path, tmp_path: Path) -> None:
    """Twice: early and late; the second start goes on from a checkpoint, or from the start where there is none."""
    run = toy_run(tmp_path, model)
    for n in (1, 6) if not phase.startswith(("evaluate", "save")) else (1, 1):
        with pytest.raises(Power):
            train(run, At(phase, n, fall))
        if phase.startswith("evaluate"):
            break
    train(run, Silent())
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("sample", signal.SIGTERM),
        ("learn", signal.SIGINT),
        ("keep", signal.SIGTERM),
        ("save", signal.SIGINT),
        ("evaluate sft", signal.SIGTERM),
    ],
)
def test_a_signal_saves_within_a_step(
    phase: str, number: signal.Signals, whole: Path, model: Path, tmp_path: Path
) -> None:
    run = replace(toy_run(tmp_path, model), save_every=100)
    watch = At(phase, 1 if phase.startswith(("evaluate", "save")) else 5, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted) as stopped:
        train(run, watch)
    assert stopped.value.code == 128 + number
    assert "saving, then stopping" in watch.notes[-1]
    done = len(read_lines(tmp_path / "metrics.jsonl"))
    assert done == {"sample": 4, "learn": 5, "keep": 5, "save": 3, "evaluate sft": 3}[phase]
    again = At("sample", 1, lambda: None)
    train(run, again)
    assert f"resuming after step {done}" in again.notes[0]
    late = {name for name in contents(whole) if name.startswith("checkpoints/")}
    assert {k: v for k, v in contents(tmp_path).items() if not k.startswith("checkpoints/")} == {
        k: v for k, v in contents(whole).items() if k not in late
    }


def test_a_stage_ends_early_when_a_metric_says_so(model: Path, tmp_path: Path) -> None:
    """After three steps in a row with the metric in bounds, counted over an interruption too."""
    run = toy_run(tmp_path / "cut", model, grpo_steps=9)
    until = Until(metric="completions/mean_length", above=0.0, steps=3)
    run = replace(run, stages=(run.stages[0], replace(run.stages[1], until=until)))
    train(replace(run, folder=tmp_path / "whole"), Silent())
    with pytest.raises(Power):
        train(run, At("learn", 6, fall))
    train(run, Silent())
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    rows = read_lines(tmp_path / "whole" / "metrics.jsonl")
    assert [row["step"] for row in rows if row["stage"] == "grpo"] == [1, 2, 3]


def test_a_metric_that_is_not_logged_and_so_never_ends_a_stage_is_told(model: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path, model, grpo_steps=2)
    until = Until(metric="completions/mean_lenght", above=0.0)
    watch = At("never", 1, fall)
    train(replace(run, stages=(replace(run.stages[0], until=until), run.stages[1])), watch)
    (note,) = [note for note in watch.notes if "is to end by" in note]
    assert "completions/mean_lenght, which its first step does not log" in note


@pytest.mark.parametrize(
    ("metrics", "met"), [({"a": 0.6}, True), ({"a": 0.5}, False), ({}, False), ({"a": 0.1}, False)]
)
def test_a_bound_is_met_beyond_it_and_never_by_a_missing_metric(metrics: dict[str, float], met: bool) -> None:
    assert Until(metric="a", above=0.5).met(metrics) == met
    assert not Until(metric="a", below=0.1).met(metrics)


def test_a_finished_run_is_left_alone(whole: Path, model: Path) -> None:
    before = contents(whole)
    train(toy_run(whole, model), Silent())
    assert contents(whole) == before


@pytest.mark.parametrize("harmed", ["checkpoints/000006/policy.safetensors", "models/grpo/model.safetensors"])
def test_damaged_files_fall_back_loudly(harmed: str, whole: Path, model: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path, model)
    if harmed.startswith("checkpoints"):
        with pytest.raises(Power):
            train(run, At("sample", 7, fall))
    else:
        train(run, Silent())
    content = bytearray((tmp_path / harmed).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / harmed).write_bytes(content)
    watch = At("never", 1, fall)
    train(run, watch)
    assert any("damaged" in note and "other bytes" in note for note in watch.notes)
    assert contents(tmp_path) == contents(whole)


def test_a_changed_recipe_or_data_set_is_refused_naming_the_change(whole: Path, model: Path) -> None:
    run = toy_run(whole, model)
    with pytest.raises(FolderError, match=r"steps\.grpo: 4 -> 9"):
        train(toy_run(whole, model, grpo_steps=9), Silent())
    sft, grpo = run.stages
    changed = replace(run, stages=(replace(sft, tasks=tasks(["pink", "red"])), grpo))
    with pytest.raises(FolderError, match=r"data of sft: 5 tasks.* -> 2 tasks"):
        train(changed, Silent())


def test_an_allowed_change_goes_on(model: Path, tmp_path: Path) -> None:
    train(toy_run(tmp_path, model, grpo_steps=2), Silent())
    # The stage had ended, so its weights stand; what is new is only written down.
    train(toy_run(tmp_path, model, grpo_steps=3), Silent(), allow_changes=True)
    assert [e["event"] for e in read_lines(tmp_path / "events.jsonl")].count("changed") == 1


def test_a_folder_in_use_is_refused(model: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path), pytest.raises(FolderError, match=f"in use by process {os.getpid()}"):
        train(toy_run(tmp_path, model), Silent())


def test_a_full_disk_keeps_the_last_checkpoint(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy_run(tmp_path, model)
    with pytest.raises(Power):
        train(run, At("sample", 4, fall))
    assert (tmp_path / "checkpoints" / "000003").exists()

    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("togi.models.optimiser.save_file", no_space)
        with pytest.raises(FolderError, match="the disk is full"):
            train(run, Silent())
    assert (tmp_path / "checkpoints" / "000003").exists()
    train(run, Silent())


class Nothing(Silent):
    """Remembers metrics."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, float]] = []

    def step(self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]) -> None:
        self.seen.append(metrics)


def test_a_step_without_signal_changes_no_weight(model: Path, tmp_path: Path) -> None:
    """A reward that never differs: GRPO has nothing to learn, says so, and the run goes on."""
    run = constant_reward(toy_run(tmp_path, model))
    watch = Nothing()
    train(run, watch)
    assert all(row["frac_reward_zero_std"] == 1 for row in watch.seen)
    before, after = (
        load_file(model / "model.safetensors"),
        load_file(tmp_path / "models" / "grpo" / "model.safetensors"),
    )
    assert all(torch.equal(before[key], after[key]) for key in before)


def constant_reward(run: Run) -> Run:
    from togi.algorithms import GRPO
    from togi.samplers import Groups
    from togi.types import Score

    class Half:
        def __call__(self, task: object, trajectories: object) -> list[Score]:
            return [Score(value=0.5)] * len(trajectories)  # type: ignore[arg-type]

    grpo = replace(run.stages[1], algorithm=GRPO(sampler=Groups(4), kl=0.0), reward=Half())
    return replace(run, stages=(grpo,), evaluation=None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigkill_at_any_moment(whole: Path, model: Path, tmp_path: Path) -> None:
    """Five real kills at random moments; then the program may come to its end."""
    program = [sys.executable, str(Path(__file__).parent / "toy_run.py"), str(tmp_path / "run"), str(model)]
    lock = tmp_path / "run" / ".lock"
    rng = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(program)
        # Start-up takes seconds: only from the moment that the folder is locked do kills hit the run.
        while process.poll() is None and not (lock.exists() and lock.read_text() == str(process.pid)):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.1, 1.0))
        process.kill()
        process.wait()
    assert subprocess.run(program).returncode == 0
    assert contents(tmp_path / "run") == contents(whole)


def test_adapters_over_two_stages(model: Path, tmp_path: Path) -> None:
    """The second stage goes on with the first one's adapter; the base model is in no checkpoint and never changes."""
    from peft import AutoPeftModelForCausalLM

    run = toy_run(tmp_path, model, grpo_steps=2)
    train(replace(run, model=replace(run.model, lora=Lora(rank=4))), Silent())
    for name in ("sft", "grpo"):
        files = {path.name for path in (tmp_path / "models" / name).iterdir()}
        assert "adapter_model.safetensors" in files
        assert "model.safetensors" not in files
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "models" / "grpo")
    frozen = {k.replace("base_layer.", ""): v for k, v in adapted.get_base_model().state_dict().items()}
    assert all(torch.equal(frozen[k], v) for k, v in load_file(model / "model.safetensors").items())
    first, second = (load_file(tmp_path / "models" / name / "adapter_model.safetensors") for name in ("sft", "grpo"))
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_rows_longer_than_the_context_are_refused_before_a_step(model: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path, model)
    sft, grpo = run.stages
    long = replace(run, stages=(replace(sft, tasks=tasks(["red", "blue" * 60])), grpo), evaluation=None)
    with pytest.raises(ValueError, match=r"1 of 2 tasks of stage sft do not fit .* of 256 tokens: blue"):
        train(long, Silent())
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.fixture(scope="module")
def preferences(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a preference run that nothing stopped."""
    folder = tmp_path_factory.mktemp("preferences")
    train(preference_run(folder, model), Silent())
    return folder


def test_a_preference_run_leaves_everything_behind(preferences: Path) -> None:
    rows = {(row["stage"], row["step"]): row for row in read_lines(preferences / "metrics.jsonl")}
    assert "learning_rate" not in rows["pairs", 1]
    assert {"gold", "reward"} <= rows["pairs", 1].keys()
    assert {"kl_sequence", "kl_coef", "gold", "nll_loss", "loss/value_avg", "critic_grad_norm"} <= rows["ppo", 3].keys()
    assert rows["ppo", 3]["kl_coef"] != 0.02
    assert rows["dpo", 1]["rewards/margins"] == 0.0, "the policy starts at its reference"
    assert rows["dpo", 3]["rewards/margins"] != 0.0
    assert sorted(path.name for path in (preferences / "models").iterdir()) == ["dpo", "ppo", "scorer", "sft"]
    assert (preferences / "models" / "scorer" / "scalar_head.json").exists()
    assert sorted(path.stem for path in (preferences / "evaluations").iterdir()) == ["base", "dpo", "ppo", "sft"]
    measured = json.loads((preferences / "preferences" / "scorer.json").read_text())
    assert measured["tasks"] > 0
    sft = json.loads((preferences / "evaluations" / "sft.json").read_text())
    assert all(isinstance(attempt["kl"], float) for task in sft["tasks"] for attempt in task["attempts"])


@pytest.mark.parametrize(
    "phase",
    [
        "learn",
        *(pytest.param(phase, marks=SLOW) for phase in ("sample", "gold", "annotate", "keep", "reference")),
        *(pytest.param(phase, marks=SLOW) for phase in ("save", "measure")),
    ],
)
def test_power_loss_in_a_preference_run(phase: str, preferences: Path, model: Path, tmp_path: Path) -> None:
    """Late in every stage that has the phase; what a stage remembers goes on as it was."""
    run = preference_run(tmp_path, model)
    for n in (1, 5) if phase not in ("reference", "measure") else (1,):
        with pytest.raises(Power):
            train(run, At(phase, n, fall))
    train(run, Silent())
    assert contents(tmp_path) == contents(preferences)


@pytest.fixture(scope="module")
def steps(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run about steps that nothing stopped."""
    folder = tmp_path_factory.mktemp("steps")
    train(process_run(folder, model), Silent())
    return folder


def test_a_run_about_steps_leaves_everything_behind(steps: Path) -> None:
    rows = {(row["stage"], row["step"]): row for row in read_lines(steps / "metrics.jsonl")}
    assert rows["labels", 1]["step_labels/steps"] >= 1
    assert {"steps/accuracy", "steps/right"} <= rows["scorer", 2].keys()
    assert {"rewards/process/mean", "reward"} <= rows["ppo", 2].keys()
    assert {"implicit/loss", "implicit/accuracy", "critic_grad_norm"} <= rows["prime", 3].keys()
    assert rows["prime", 1]["implicit/loss"] != rows["prime", 3]["implicit/loss"]
    labelled = read_lines(steps / "rollouts" / "labels-000001.jsonl")
    assert any(len(row["score"].get("steps", ())) > 1 for row in labelled)
    measured = json.loads((steps / "steps" / "scorer.json").read_text())
    assert measured["answers"]
    assert sorted(path.name for path in (steps / "models").iterdir()) == ["ppo", "prime", "scorer", "sft"]


@pytest.mark.parametrize(
    "phase",
    ["learn", *(pytest.param(phase, marks=SLOW) for phase in ("sample", "annotate", "keep", "save", "measure"))],
)
def test_power_loss_in_a_run_about_steps(phase: str, steps: Path, model: Path, tmp_path: Path) -> None:
    """Early, and in the last stage: the implicit model of PRIME goes on as it was."""
    run = process_run(tmp_path, model)
    for n in (1,) if phase == "measure" else (4, 7 if phase == "save" else 9):
        with pytest.raises(Power):
            train(run, At(phase, n, fall))
    train(run, Silent())
    assert contents(tmp_path) == contents(steps)


@pytest.fixture(scope="module")
def choosing(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that chooses tasks and attempts, and that nothing stopped."""
    folder = tmp_path_factory.mktemp("choosing")
    train(choosing_run(folder, model), Silent())
    return folder


def test_a_run_that_chooses_leaves_everything_behind(choosing: Path) -> None:
    rows = {(row["stage"], row["step"]): row for row in read_lines(choosing / "metrics.jsonl")}
    first, last = rows["budgets", 1], rows["budgets", 5]
    assert (first["replay/groups"], first["order/known"]) == (0, 0.0)
    assert last["replay/groups"] == 2
    assert 1 <= last["replay/age"] <= last["replay/age_max"] <= 4
    assert last["order/known"] > 0
    assert last["budget/variance"] < 1 < last["budget/most"]
    assert last["sampling/effective_sample_size/tokens"] < 1
    assert last["sampling/sampling_logp_difference/max"] < 1e-4, "what is replayed is no disagreement"
    assert len({row["task"] for row in read_lines(choosing / "rollouts" / "budgets-000005.jsonl")}) == 2
    levels = rows["levels", 4]
    assert sum(levels[f"curriculum/{letters}/drawn"] for letters in (3, 4, 5)) == pytest.approx(1)
    assert levels["dynamic/played"] >= 4
    shown = read_lines(choosing / "rollouts" / "levels-000004.jsonl")
    assert {row["attempt"] for row in shown} == {0, 1, 2}, "a demonstration is no rollout"


@pytest.mark.parametrize(
    "phase", ["learn", *(pytest.param(phase, marks=SLOW) for phase in ("sample", "annotate", "keep", "save"))]
)
def test_power_loss_in_a_run_that_chooses(phase: str, choosing: Path, model: Path, tmp_path: Path) -> None:
    """Late in both stages: counts of tasks and levels and what is remembered for replay go on as they were."""
    run = choosing_run(tmp_path, model)
    for n in (6, 3):
        with pytest.raises(Power):
            train(run, At(phase, n, fall))
    train(run, Silent())
    assert contents(tmp_path) == contents(choosing)
