"""The doctor: what a sample of attempts means for the first steps, and whether the machine is fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from togi.evidence.before.cold_start import cold_start
from togi.evidence.before.doctor import Diagnosis, doctor
from togi.evidence.before.machine_fitness import (
    Size,
    arithmetic,
    cores,
    disk,
    free_disk,
    memory,
    memory_needed,
    threads,
)
from togi.evidence.findings import Finding
from togi.memory import memory_limit
from togi.models.arithmetic_rate import Probe
from togi.models.load_model import Loaded
from togi.recipe import load_recipe
from togi.types import Group, Message, Sampling, Score, Status, Stop, Task, Trajectory, Turn

SAMPLING = Sampling(max_tokens=48)


def attempt(text: str, stop: Stop = "eos") -> Trajectory:
    return Trajectory(turns=(Turn(prompt=(1,), completion=(2, 3), text=text, stop=stop),), stop=stop)


def score(value: float | Status, form: float | None) -> Score:
    if isinstance(value, str):
        return Score(value=float("nan"), status=value, note="grader took 2 s")
    return Score(value=value, parts={} if form is None else {"form": form})


def groups(
    *rows: Sequence[float | Status], form: float | None = 1.0, stop: Stop = "eos", same: bool = False
) -> list[Group]:
    found = []
    for number, row in enumerate(rows):
        task = Task(id=f"t{number}", prompt=(Message(role="user", content="?"),))
        attempts = tuple(attempt("same" if same else f"answer {number} {index}", stop) for index in range(len(row)))
        found.append(Group(task=task, trajectories=attempts, scores=tuple(score(value, form) for value in row)))
    return found


def told(found: Sequence[Finding], words: str) -> Finding:
    """The one finding whose title holds the words."""
    (only,) = [finding for finding in found if words in finding.title]
    return only


def test_a_healthy_start_has_nothing_to_say_against_it() -> None:
    found = cold_start(groups([1, 0, 0, 1], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]), SAMPLING)
    assert {finding.level for finding in found} == {"ok"}
    assert "3 of 4 groups" in told(found, "carry a signal").title
    assert "pass@1 is 31%" in found[0].title
    assert "pass@4 is 75%" in found[0].title


def test_no_signal_at_all_cannot_work() -> None:
    signal = told(cold_start(groups(*[[0.0] * 8] * 32, form=0.0), SAMPLING), "carry a signal")
    assert signal.level == "fail"
    assert signal.title == "0 of 32 groups carry a signal"
    assert "train the form first" in signal.advice
    assert "make the task easier" in signal.advice
    assert "never differs: all 256 scored attempts got 0" in signal.detail


def test_a_stage_before_may_mend_it() -> None:
    found = cold_start(groups([0, 0], [0, 0], form=0.0), SAMPLING, taught_before="cold_start")
    assert told(found, "carry a signal").level == "warn"
    assert "stage cold_start should teach the form" in told(found, "well-formed").advice
    assert "fail" not in {finding.level for finding in found}


def test_tasks_that_are_too_easy_ask_for_harder_ones() -> None:
    signal = told(cold_start(groups([1, 1], [1, 1], [1, 1], [1, 1], [0, 1]), SAMPLING), "carry a signal")
    assert signal.level == "warn"
    assert "harder" in signal.advice


def test_cut_completions_name_the_limit() -> None:
    mixed = groups([1, 0], stop="length") + groups([1, 0])
    cut = told(cold_start(mixed, SAMPLING), "max_tokens=48")
    assert cut.title.startswith("50% of completions were cut")
    assert "raise max_tokens" in cut.advice
    assert "t0" in cut.detail
    never = told(cold_start(groups([1, 0], stop="length"), SAMPLING), "never ended")
    assert "end token" in never.advice


def test_bad_form_shows_an_example_made_harmless() -> None:
    bad = groups([1, 0], form=0.0)
    hostile = (attempt("\x1b[2J\u202eevil"), *bad[0].trajectories[1:])
    bad[0] = Group(task=bad[0].task, trajectories=hostile, scores=bad[0].scores)
    form = told(cold_start(bad, SAMPLING), "well-formed")
    assert form.level == "warn"
    assert "⟨U+202E⟩evil" in form.detail
    assert "\x1b" not in form.detail
    assert not any("well-formed" in one.title for one in cold_start(groups([1, 0], form=None), SAMPLING))


def test_own_faults_are_counted_apart() -> None:
    (group,) = groups([1, 0, 0, 0])
    stuck = replace(group.scores[-1], own_fault="time", note="stuck")
    found = cold_start([replace(group, scores=(*group.scores[:-1], stuck))], SAMPLING)
    lost = next(finding for finding in found if "earned 0" in finding.title)
    assert lost.level == "warn"
    assert lost.title == "1 of 4 attempts broke the environment or the grader and earned 0 (1 by time)"
    assert "stuck" in lost.detail


def test_unscored_attempts_are_counted_apart() -> None:
    found = cold_start(groups([1, 0, "timeout", "timeout"], [1, 0, 0, 1]), SAMPLING)
    lost = told(found, "got no score")
    assert lost.level == "warn"
    assert "2 of 8 attempts got no score (2 timeout)" in lost.title
    assert "grader took 2 s" in lost.detail
    assert "2 of 2 groups" in told(found, "carry a signal").title
    (nothing,) = cold_start(groups(["error", "error"]), SAMPLING)
    assert nothing.level == "fail"


def test_copies_ask_for_a_higher_temperature() -> None:
    assert "temperature" in told(cold_start(groups([1, 1], [0, 0], same=True), SAMPLING), "word for word").advice


def test_a_cold_start_needs_attempts() -> None:
    with pytest.raises(ValueError, match="got none"):
        cold_start([], SAMPLING)


@pytest.mark.slow
@pytest.mark.model
def test_the_quickstart_is_diagnosed_on_the_real_model(smollm2: Loaded) -> None:
    recipe = Path(__file__).parent.parent / "recipes" / "quickstart.toml"
    diagnosis = doctor(load_recipe(recipe, ()).run, tasks=2, attempts=2)
    attacked = "Red team against the reward of stage grpo"
    assert [title for title, _ in diagnosis.sections] == ["Machine", "Model", attacked, "Cold start of stage grpo"]
    assert [card.severity for card in diagnosis.cards] == [None]
    model = dict(diagnosis.sections)["Model"]
    assert "135 million parameters" in model[0].title
    assert "<|im_end|>" in model[0].detail
    assert all("stage cold_start" in finding.advice for finding in diagnosis.sections[-1][1] if finding.level != "ok")


def size(**changes: bool | int) -> Size:
    base: dict[str, bool | int] = {"parameters": 10**9, "trained": 10**9, "layers": 10, "hidden": 1000, "tokens": 1000}
    base |= {"packed": 0, "bfloat16": True, "reference": False}
    return Size(**(base | changes))  # type: ignore[arg-type]


def test_memory_counts_weights_gradients_moments_and_activations() -> None:
    assert memory_needed(size()) == 10**9 * (2 + 4 + 4 + 8) + 34 * 1000 * 10 * 1000
    assert memory_needed(size(packed=10**8)) == memory_needed(size()) + 10**8
    assert memory_needed(size(bfloat16=False)) == 10**9 * 16 + 2 * 34 * 1000 * 10 * 1000
    assert memory_needed(size(reference=True)) - memory_needed(size()) == 2 * 10**9
    assert memory_needed(size(teacher=10**9)) - memory_needed(size()) == 2 * 10**9
    assert memory_needed(size(trained=10**6)) < 2.5 * 10**9


def test_what_does_not_fit_cannot_work() -> None:
    assert memory(needed=30e9, limit=24e9, device=torch.device("cpu")).level == "fail"
    assert memory(needed=20e9, limit=24e9, device=torch.device("cpu")).level == "warn"
    assert memory(needed=3e9, limit=24e9, device=torch.device("cpu")).level == "ok"
    assert disk(needed=2e9, free=1e9, folder=Path("runs/x")).level == "fail"
    assert disk(needed=1e9, free=2e9, folder=Path("runs/x")).level == "ok"


def test_the_machine_can_be_measured(tmp_path: Path) -> None:
    assert memory_limit() > 1e8
    assert free_disk(tmp_path / "not" / "yet" / "there") > 0
    assert cores() >= 1


def test_threads_and_arithmetic_that_are_left_unused_are_told() -> None:
    assert threads(4, 4) is None
    assert "only 1 of 4" in (threads(1, 4) or Finding(level="ok", title="")).title
    assert "8 threads share 4" in (threads(8, 4) or Finding(level="ok", title="")).title
    fast = Probe(bfloat16=4e11, float32=1e11, compute=torch.bfloat16)
    assert arithmetic(fast, torch.bfloat16).level == "ok"
    slow = arithmetic(fast, torch.float32)
    assert slow.level == "warn"
    assert "bfloat16 is faster" in slow.advice


def test_only_failures_are_findings_and_everything_is_shown() -> None:
    checks = (
        Finding(level="ok", title="all well [bold]", detail="because"),
        Finding(level="warn", title="hm", advice="do this"),
        Finding(level="fail", title="no", advice="do that"),
    )
    diagnosis = Diagnosis(sections=(("Machine", checks),))
    assert [finding.title for finding in diagnosis.findings] == ["no"]
    console = Console(width=80)
    with console.capture() as capture:
        diagnosis.render(console)
    for words in ("Machine", "✓ all well [bold]", "because", "! hm", "→ do this", "✗ no", "cannot work like this"):
        assert words in capture.get()
