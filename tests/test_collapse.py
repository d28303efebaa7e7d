"""A policy that is lost stops its stage with a checkpoint and a reason; a healthy one is left in peace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.algorithms import GRPO
from togi.evidence.during import Watching
from togi.evidence.during.alarms import Alarm
from togi.evidence.during.collapse_signals import COLLAPSES
from togi.evidence.during.step_measures import loops, watch_metrics
from togi.evidence.during.stuck_stage import WHAT_TO_TRY, Standstill, stop_if_collapsed
from togi.models.lora_and_optimiser import Lora, Optimiser
from togi.run import Run, Silent
from togi.run_folder.files import read_lines
from togi.samplers import Groups
from togi.train import train

STEPS = 20
STILL = {"reward": 0.5, "reward_spread": 0.4, "reward_max": 1.0, "frac_groups_at_best": 0.0, "sampled_entropy": 0.4}


ALL_ALIKE = {"frac_reward_zero_std": 1.0}


def to(start: float, end: float, *, at: int = 3) -> list[float]:
    """``start`` until step ``at``, then ``end``, with a little noise."""
    return [(start if step < at else end) * (1 + 0.02 * (-1) ** step) for step in range(STEPS)]


def told(**change: Sequence[float] | float) -> dict[str, int]:
    """The collapse signals that are told of a stage, and at which step."""
    watching = Watching("grpo")
    found: dict[str, int] = {}
    for step in range(STEPS):
        row: dict[str, Any] = {"stage": "grpo", "step": step + 1, **STILL}
        for name, values in change.items():
            row[name.replace("__", "/")] = values if isinstance(values, float) else values[step]
        found |= {alarm.signal: alarm.step for alarm in watching.look(row) if alarm.collapse}
    return found


@pytest.mark.parametrize(
    ("signal", "change"),
    [
        ("no entropy", {"sampled_entropy": to(0.4, 5e-7), "reward": to(0.70, 0.31)}),
        ("no entropy", {"sampled_entropy": to(2.0, 1e-3), "reward": to(0.05, 0.001)}),
        ("no entropy", {"sampled_entropy": to(0.04, 1e-3), "reward": to(0.5, 0.1)}),
        ("lost reward", {"reward": to(0.70, 0.31, at=8)}),
        ("lost reward", {**ALL_ALIKE, "reward": to(0.5, 0.0, at=1), "reward_max": to(1.0, 0.0, at=1)}),
        ("lost reward", {"reward": [*np.linspace(0.2, 0.8, 10), *np.full(10, 0.25)]}),
        ("lost reward", {"reward": to(-1.0, -9.0, at=8), "reward_spread": 3.0}),
        ("lost reward", {"reward": to(0.6, 0.1, at=1), "reward_error": 0.12}),  # by the very first update
        ("lost reward", {"reward": to(0.6, 0.1, at=2), "reward_error": [0.0, *[0.1] * 19]}),
        ("lost reward", {"reward": to(-1.0, -9.0, at=1), "reward_spread": 3.0, "reward_error": 1.0}),
        ("endless repetition", {"text__looping": to(0.05, 0.98)}),
        ("endless repetition", {"text__looping": to(0.0, 1.0, at=1)}),
        ("endless repetition", {"text__looping": to(0.0, 1.0), "reward": to(0.1, 0.9)}),  # the reward pays for it
        ("empty answers", {"text__empty": to(0.0, 1.0, at=1), "reward": to(0.3, 0.0)}),
        ("noise", {"sampled_entropy": to(0.5, 8.0), "reward": to(0.3, 0.0)}),
    ],
)
def test_a_lost_policy_is_seen(signal: str, change: dict[str, Any]) -> None:
    found = told(**change)
    assert signal in found
    assert found[signal] <= (7 if "frac_reward_zero_std" in change else 8 if "reward_error" in change else 18)


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({"sampled_entropy": to(0.4, 1e-5)}, True),
        ({"sampled_entropy": to(0.4, 1e-5), "reward": to(0.5, 0.53)}, True),  # a tenth of a spread is no gain
        ({"sampled_entropy": to(0.4, 1e-5), "reward": to(0.5, 0.6)}, False),
        ({"sampled_entropy": to(0.4, 1e-5), "gold": [*np.linspace(0.1, 0.9, STEPS)]}, False),
        ({"sampled_entropy": to(0.4, 1e-5), "frac_groups_at_best": 0.6}, False),
        ({"sampled_entropy": to(0.4, 0.03)}, False),
    ],
)
def test_a_policy_that_is_sure_and_no_better_is_warned_of_and_not_stopped(change: dict[str, Any], warned: bool) -> None:
    row = {name: values if isinstance(values, list) else [values] * STEPS for name, values in (STILL | change).items()}
    watching = Watching("grpo")
    steps = ({"stage": "grpo", "step": at + 1} | {name: row[name][at] for name in row} for at in range(STEPS))
    raised = [alarm for step in steps for alarm in watching.look(step) if alarm.signal == "no entropy"]
    assert [(alarm.severity, alarm.collapse) for alarm in raised] == [("warning", False)] * warned


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"sampled_entropy": to(0.4, 0.002), "reward": to(0.3, 0.9)},  # sure of what is right
        {"sampled_entropy": to(0.4, 1e-5), "reward": to(0.5, 0.5)},  # sure of what it could do before
        {"sampled_entropy": to(0.1, 1e-4), "reward": to(0.99, 0.97), "frac_groups_at_best": 0.9},  # solved
        {"sampled_entropy": to(0.01, 1e-5), "reward": to(0.5, 0.4)},  # sampled almost greedily from the start
        {"sampled_entropy": to(0.4, 0.03), "reward": to(0.5, 0.45)},  # low, and still open
        {"sampled_entropy": to(6.0, 7.0)},  # a model that never wrote text
        {"sampled_entropy": to(1.0, 2.5)},  # an entropy bonus
        {"reward": to(0.6, 0.5, at=8)},  # a dip
        {"reward": to(0.6, 0.3, at=1), "reward_error": 0.12},  # lucky tasks in the first step
        {"reward": to(0.6, 0.3, at=1), "reward_error": [0.0, *[0.12] * 19]},  # and all of them alike
        {"reward": [0.6, *[0.1] * 5, *[0.5] * 14], "reward_error": 0.1},  # it came back
        {"reward": to(0.6, 0.5, at=1), "reward_error": 0.01},  # lower for sure, and not by much
        {"reward": to(0.6, 0.1, at=1)},  # of two tasks a step nobody knows
        {**ALL_ALIKE, "reward": to(0.6, 1.0)},  # all right
        {**ALL_ALIKE, "reward": to(0.0, 0.0), "reward_max": 0.0},  # it never was paid
        {**ALL_ALIKE, "reward": to(0.1, 0.0, at=1), "reward_max": to(1.0, 0.0, at=1)},  # one lucky attempt
        {"reward": to(0.7, 0.3, at=8), "gold": [*np.linspace(0.2, 0.5, 10), *np.full(10, 0.7)]},  # a stricter task
        {"reward": [0.9 if step % 3 else 0.1 for step in range(STEPS)]},  # few attempts: noise
        {"text__looping": to(0.6, 0.95)},  # it always wrote so
        {"text__looping": to(0.0, 0.7)},
        {"text__empty": to(0.9, 1.0)},
        {"text__looping": 1.0, "gold": [*np.linspace(0.1, 0.9, STEPS)]},  # a task that asks for it
    ],
)
def test_a_healthy_run_is_left_in_peace(change: dict[str, Any]) -> None:
    assert told(**change) == {}


def test_a_run_without_a_reward_or_log_probabilities_cannot_collapse() -> None:
    watching = Watching("sft")
    for step in range(STEPS):
        assert watching.look({"stage": "sft", "step": step + 1, "loss": 1.0, "completions/mean_length": 9.0}) == []
    watching = Watching("entropy_minimisation")
    for step in range(STEPS):
        row = {"stage": "e", "step": step + 1, "sampled_entropy": to(0.4, 1e-4)[step]}
        assert not any(alarm.collapse for alarm in watching.look(row))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a a a a a a a a a a", True),
        ("aaaaaaaaaaaaaaaaaaaa", True),
        ("The answer is the the the the the the the the the the the", True),
        ("step by step by step by step by step by step by", True),
        ("I am sorry. I am sorry. I am sorry. I am sorry. I am sorry.", True),
        ("<answer></answer><answer></answer><answer></answer><answer></answer>", True),
        ("\n\n- \n\n- \n\n- \n\n- \n\n- \n\n- \n\n- \n\n- ", True),
        ("的的的的的的的的的的的的的的", True),
        ("答えは答えは答えは答えは答えは答えは", True),
        ("", False),
        ("a", False),
        ("aaaa", False),
        ("42", False),
        ("1000000", False),
        ("yes yes yes", False),
        ("The answer is 42.", False),
        ("1 + 1 = 2, 2 + 1 = 3, 3 + 1 = 4, 4 + 1 = 5, 5 + 1 = 6", False),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16", False),
        ("Title\n==========\nFirst we add the two numbers, then we take three away from what we have.", False),
        ("答えは四十二です。まず二つの数を足し、それから三を引きます。", False),
    ],
)
def test_a_loop_is_known_by_its_text(text: str, expected: bool) -> None:
    assert loops(text) is expected


def test_loops_and_empty_answers_are_counted() -> None:
    score = {"value": 0.0, "parts": {}, "shares": {}, "status": "ok", "note": ""}
    texts = ("a a a a a a a a", " \n", "The answer is 42.", "It is 7.")
    rows = [
        {"group": 0, "completion": text, "stop": "eos", "tokens": 4, "logp_mean": -0.1, "score": score}
        for text in texts
    ]
    found = watch_metrics(rows)
    assert (found["text/looping"], found["text/empty"]) == (0.25, 0.25)


def test_every_collapse_has_advice_and_says_what_was_seen() -> None:
    assert WHAT_TO_TRY.keys() == COLLAPSES.keys()
    lost = Alarm(stage="grpo", step=9, signal="noise", severity="critical", text="Answers are noise.")
    with pytest.raises(Standstill, match=r"grpo has collapsed at step 9\. Answers are noise\. Try a tenth"):
        stop_if_collapsed([replace(lost, signal="length"), lost])
    stop_if_collapsed([replace(lost, signal="length")])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A run that was taught with all weights until most answers are right."""
    run = learns(tmp_path_factory.mktemp("begun") / "run", model, learning_rate=0.0)
    train(replace(run, stages=(replace(run.stages[0], steps=15),)), Silent())
    return run.folder


def learns(folder: Path, model: Path, *, learning_rate: float) -> Run:
    """Reinforcement learning of what supervised learning has taught already."""
    toy = toy_run(folder, model)
    sft, grpo = toy.stages
    sft = replace(sft, steps=40, optimiser=Optimiser(learning_rate=1e-2))
    grpo = replace(
        grpo,
        algorithm=GRPO(sampler=Groups(4), kl=0.0),
        minibatches=1,
        steps=14,
        optimiser=Optimiser(learning_rate=learning_rate),
    )
    return replace(toy, stages=(sft, grpo), evaluation=None, save_every=100)


def test_a_collapse_stops_the_stage_with_a_checkpoint_and_the_same_command_goes_on(tmp_path: Path, model: Path) -> None:
    run = learns(tmp_path / "run", model, learning_rate=0.3)
    with pytest.raises(Standstill, match="grpo has collapsed at step"):
        train(run, Silent())
    rows = [row for row in read_lines(run.folder / "metrics.jsonl") if row["stage"] == "grpo"]
    assert len(rows) < 14
    assert rows[-1]["reward"] < 0.5 < rows[0]["reward"]
    alarm = read_lines(run.folder / "alarms.jsonl")[-1]
    assert (alarm["step"], alarm["severity"]) == (len(rows), "critical")
    assert alarm["signal"] in COLLAPSES
    assert alarm["rollouts"]
    events = read_lines(run.folder / "events.jsonl")
    assert events[-1]["event"] == "interrupted"
    assert "checkpoint" in {event["event"] for event in events[-2:]}
    train(run, Silent())
    assert read_lines(run.folder / "events.jsonl")[-1]["event"] == "finished"


def test_a_collapse_that_may_go_on_is_only_told(tmp_path: Path, model: Path) -> None:
    run = learns(tmp_path / "run", model, learning_rate=0.3)
    train(replace(run, stages=(run.stages[0], replace(run.stages[1], stop_on_collapse=False))), Silent())
    assert any(alarm["signal"] in COLLAPSES for alarm in read_lines(run.folder / "alarms.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(("learning_rate", "collapses"), [(0.1, True), (1e-3, False)])
def test_adapters_that_are_ruined_stop_the_stage_and_sound_ones_do_not(
    tmp_path: Path, begun: Path, learning_rate: float, collapses: bool
) -> None:
    """The first update is enough to ruin them."""
    pytest.importorskip("peft")
    run = learns(tmp_path / "run", begun, learning_rate=learning_rate)
    adapted = replace(run.model, lora=Lora(rank=8))
    run = replace(run, model=adapted, stages=(replace(run.stages[1], tasks_per_step=4),))
    if collapses:
        with pytest.raises(Standstill, match="grpo has collapsed at step"):
            train(run, Silent())
    else:
        train(run, Silent())
    rows = read_lines(run.folder / "metrics.jsonl")
    assert (len(rows) < 10, rows[-1]["reward"] < rows[0]["reward"] / 2) == (collapses, collapses)
    log = run.folder / "alarms.jsonl"
    assert any(alarm["signal"] in COLLAPSES for alarm in (read_lines(log) if log.exists() else [])) == collapses


def test_a_run_that_has_learned_all_is_not_stopped(tmp_path: Path, model: Path) -> None:
    run = learns(tmp_path / "run", model, learning_rate=1e-3)
    train(run, Silent())
    assert not (run.folder / "alarms.jsonl").exists() or not any(
        alarm["signal"] in COLLAPSES for alarm in read_lines(run.folder / "alarms.jsonl")
    )
