"""Rates that are read from a run are those that its steps were made of; `togi scale` shows what follows from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_run import WORDS, tasks

from togi.algorithms import GRPO
from togi.cli import run_command
from togi.evidence.before.machine_fitness import Size, memory_needed
from togi.models.policy import Optimiser
from togi.run import ModelChoice, Run, Scale, Stage
from togi.samplers import Groups
from togi.scale.forecast import Rung, by_run, climb, layouts_of
from togi.scale.measured_rates import least_squares, measured_rates
from togi.scale.parts import PROGRAM, Cached, parts_of
from togi.scale.simulation import Layout, Rates, simulate
from togi.scale.started import started
from togi.types import Sampling

SUMS = Path(__file__).parent.parent / "recipes" / "sums.toml"
TRUE = Rates(round_seconds=0.2, row_seconds=0.01, grade_seconds=0.05, step_seconds=2, token_seconds=0.004)
ALONE = Scale()
SIZE = Size(
    parameters=1_000_000, packed=0, trained=1_000_000, layers=2, hidden=8, tokens=10, bfloat16=True, reference=False
)


def run_of(scale: Scale = ALONE) -> Run:
    stage = Stage(
        name="grpo",
        algorithm=GRPO(sampler=Groups(n=4)),
        tasks=tasks(WORDS),
        reward=None,
        steps=3,
        tasks_per_step=2,
        sampling=Sampling(max_tokens=8),
        optimiser=Optimiser(learning_rate=1e-3),
    )
    return Run(
        name="toy", folder=Path("runs/toy"), model=ModelChoice(source="x", device="cpu"), stages=(stage,), scale=scale
    )


def folder_of(place: Path, scale: str = "", *, published: float | None = None) -> Path:
    """A run of five steps as fast as TRUE, with answers of other lengths in each."""
    random = np.random.default_rng(0)
    (place / "rollouts").mkdir()
    (place / "recipe.toml").write_text(f"[engine]\nbatch_size = 4\n[scale]\n{scale}\n")
    machine = {"cores": 4, "threads": 2, "device": "cpu"}
    (place / "manifest.json").write_text(
        json.dumps({"recipe": {}, "files": {}, "data": {}, "model": {}, "dtype": "", "started": "", "machine": machine})
    )
    rows = []
    for step in range(1, 6):
        lengths = random.integers(1, 60, (2, 4))
        attempts = [{"group": group, "tokens": int(length)} for group, own in enumerate(lengths) for length in own]
        (place / "rollouts" / f"grpo-{step:06d}.jsonl").write_text(
            "".join(json.dumps(each) + "\n" for each in attempts)
        )
        alone = replace(TRUE, grade_seconds=0.0, step_seconds=0.0, token_seconds=0.0)
        sample = simulate(alone, Layout(slots=4), lengths.reshape(1, 1, 8)).step_seconds
        tokens = int(lengths.sum())
        seconds = {"sample": sample, "grade": 8 * 0.05, "learn": 1.5 + 0.004 * tokens, "keep": 0.5}
        rows.append({"stage": "grpo", "step": step, "seconds": seconds, "tokens": tokens, "drawn": tokens})
    (place / "timings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def test_rates_are_those_the_steps_were_made_of(tmp_path: Path) -> None:
    found = measured_rates(folder_of(tmp_path), "grpo")
    for name in ("round_seconds", "row_seconds", "grade_seconds", "step_seconds", "token_seconds"):
        assert vars(found.rates)[name] == pytest.approx(vars(TRUE)[name]), name
    assert found.simulated == pytest.approx(found.seconds)
    assert (found.layout.slots, found.layout.places, found.published, found.dropped) == (4, 2, False, 0.0)
    assert len(found.lengths) == 4 * 2  # the first step is left out


@pytest.mark.parametrize(
    ("scale", "stage", "told"),
    [
        ("engines = 1\nstaleness = 1", "grpo", "sampled ahead of learning"),
        ("", "sft", "stage sft sampled 0 steps"),
    ],
)
def test_rates_that_cannot_be_told_are_refused(tmp_path: Path, scale: str, stage: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measured_rates(folder_of(tmp_path, scale), stage)


@pytest.mark.parametrize(
    ("first", "second", "wanted", "factors"),
    [
        ([1, 2], [1, 3], [5, 12], (3, 2)),
        ([1, 2], [2, 1], [1, 5], (2.2, 0)),  # the other factor would be below 0
        ([2, 1], [1, 2], [1, 5], (0, 2.2)),
    ],
)
def test_factors_are_never_below_zero(
    first: list[float], second: list[float], wanted: list[float], factors: tuple[float, float]
) -> None:
    assert least_squares(first, second, wanted) == pytest.approx(factors)


def test_a_ladder_by_a_run(tmp_path: Path) -> None:
    run = run_of()
    measured = measured_rates(folder_of(tmp_path), "grpo")
    layouts = layouts_of(run, (0, 1, 2), (0, 1), places=None)
    assert [(each.engines, each.staleness) for each in layouts] == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]
    rungs = climb(by_run(run.stages[0], measured), layouts)
    seconds = [rung.low.step_seconds for rung in rungs]
    assert seconds[0] == pytest.approx(seconds[1])  # nobody gains by an engine that is waited for
    assert seconds[1] > seconds[2]
    assert seconds[1] > seconds[3] > seconds[4]


def test_prices_count_devices() -> None:
    simulated = simulate(Rates(round_seconds=1, row_seconds=0), Layout(), np.full((1, 1, 1), 36))
    for layout, devices in ((Layout(engines=3, learners=2), 5), (Layout(engines=3, places=2), 1)):
        rung = Rung(layout=layout, low=simulated, high=simulated)
        assert rung.price(100.0) == pytest.approx((devices, devices))


def test_every_process_has_a_name_and_its_memory() -> None:
    run = replace(run_of(Scale(engines=2, learners=2, staleness=1)), model=ModelChoice(source="x", device="cuda"))
    parts = parts_of(run, SIZE, Cached(numbers=16, tokens=1000), cards=True)
    assert [(part.name, part.does, part.here) for part in parts] == [
        ("learner 0", "learns", True),
        ("learner 1", "learns", False),
        ("engine 1", "samples", False),
        ("engine 2", "samples", False),
    ]
    halved = replace(SIZE, parameters=500_000, trained=500_000)
    assert parts[0].memory == memory_needed(halved) + 2 * 1_000_000 + PROGRAM  # and the model whole
    assert parts[1].memory == memory_needed(halved) + PROGRAM
    without_cards = parts_of(run, SIZE, Cached(numbers=16, tokens=1000), cards=False)
    assert without_cards[1].memory == parts[1].memory + (2 + 4) * 1_000_000
    assert parts[2].memory == 2 * (1_000_000 + 16 * 1000 * 2) + PROGRAM
    assert list(started(run)) == ["learner 1", "engine 1", "engine 2"]
    (alone,) = parts_of(run_of(), SIZE, Cached(numbers=16, tokens=1000), cards=False)
    assert (alone.does, alone.here) == ("learns and samples", True)


def test_the_command_shows_processes_and_a_ladder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path)
    asked = ["--from", str(folder), "--engines", "1,2", "--staleness", "0,1", "--hourly-price", "3.6", "--on", "local"]
    assert run_command(["scale", str(SUMS), *asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(part["name"], part["does"]) for part in told["parts"]] == [("learner 0", "learns and samples")]
    assert [(rung["layout"]["engines"], rung["layout"]["staleness"]) for rung in told["ladder"]] == [
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    rung = told["ladder"][0]
    assert rung["layout"]["places"] == 2  # of the run's machine: 4 cores, 2 threads
    assert rung["price_per_step"] == pytest.approx([seconds / 1000 for seconds in rung["step_seconds"]])
    assert "the simulation says" in told["notes"][0]
    assert run_command(["scale", str(SUMS)]) == 0
    shown = capsys.readouterr().out
    assert "learner 0" in shown
    assert "by this machine's arithmetic" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--engines", "two"], "--engines is a list of whole numbers"),
        (["--engines", "1,,2"], "--engines is a list of whole numbers"),
        (["--staleness", "-1"], "--staleness"),
        (["--staleness", "1.5"], "--staleness is a list of whole numbers"),
        (["--places", "0"], "--places is at least 1"),
        (["--hourly-price", "-1"], "--hourly-price cannot be negative"),
        (["--on", "slurm"], "--on says who starts processes"),
        (["--stage", "cold_start"], "no stage 'cold_start' samples; there is grpo"),
        (["--from", "nowhere"], "nowhere: no such run folder"),
    ],
)
def test_what_cannot_be_looked_at_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["scale", str(SUMS), *words]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
