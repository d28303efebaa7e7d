"""Whole runs that sample ahead: they learn from every group once, whenever they are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ahead_run import GROUPS, STEPS, __file__ as ahead_program, ahead_run, serving_elsewhere
from test_train import At, contents
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.algorithms import GRPO
from togi.engines.engine_choice import EngineChoice
from togi.engines.native import NativeEngine
from togi.interrupt import Interrupted
from togi.run import Silent
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import check
from togi.samplers import Groups
from togi.stage_state import Workshop
from togi.train import train
from togi.types import Prompt, Sampling


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with serving_elsewhere(model) as url:
        yield url


@pytest.fixture(scope="module")
def whole(model: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(ahead_run(folder, model, url), Silent())
    return folder


def tasks_learned(folder: Path, steps: int) -> list[list[str]]:
    """The task of each attempt of each step."""
    return [
        [row["task"] for row in read_lines(folder / f"rollouts/hone-{step:06d}.jsonl")] for step in range(1, steps + 1)
    ]


def sampled(folder: Path) -> Counter[tuple[int, int]]:
    """How often each group of each step was sampled to its end."""
    events = read_lines(folder / "events.jsonl")
    return Counter((event["step"], event["group"]) for event in events if event["event"] == "sampled")


def once(steps: int) -> dict[tuple[int, int], int]:
    return {(step, group): 1 for step in range(1, steps + 1) for group in range(GROUPS)}


def test_a_run_learns_from_groups_that_are_a_step_old(whole: Path) -> None:
    rows = read_lines(whole / "metrics.jsonl")
    ages = [row["staleness/max"] for row in rows]
    assert ages[0] == 0
    assert set(ages) == {0, 1}
    assert [row["ahead/dropped/stale"] for row in rows] == [0] * STEPS
    assert all(row["engines_idle"] >= 0 and "wait" in row["seconds"] for row in read_lines(whole / "timings.jsonl"))
    for row in rows:  # numbers of the trainer and of the sampler are compared where the same weights drew
        assert ("sampling/sampling_logp_difference/mean" in row) == (row["staleness/mean"] < 1)
    assert sampled(whole) == once(STEPS)
    assert not check(whole).faults
    # Two checkpoints are left, of which the older one would still learn from the groups of the last two steps.
    assert {path.name[:11] for path in (whole / "ahead").iterdir()} == {"hone-000005", "hone-000006"}


def test_without_staleness_a_run_is_the_same_to_the_bit(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(toy_run(tmp_path / "plain", model), evaluation=None, engine=EngineChoice(batch_size=1))
    hone = replace(run.stages[1], algorithm=GRPO(sampler=Groups(4), kl=0.01))
    run = replace(run, stages=(run.stages[0], hone))
    alone, draw = threading.Lock(), NativeEngine.generate

    def one_after_another(engine: NativeEngine, prompts: Sequence[Prompt], sampling: Sampling, *_: Any) -> Any:
        """What is computed together decides the last bits."""
        with alone:
            return [draw(engine, [prompt], sampling)[0] for prompt in prompts]

    monkeypatch.setattr(NativeEngine, "generate", one_after_another)
    for place in ("rollout", "samplers.baton"):
        monkeypatch.setattr(f"togi.{place}.Conversing", type(None))  # a class that no engine is of
    train(run, Silent())
    monkeypatch.setattr(Workshop, "samples_ahead", property(lambda work: work.stage.name == "grpo"))
    train(replace(run, folder=tmp_path / "ahead"), Silent())
    plain, ahead = contents(tmp_path / "plain"), contents(tmp_path / "ahead")
    assert plain.keys() == ahead.keys()
    assert [name for name in plain if plain[name] != ahead[name]] == ["metrics.jsonl"]
    for ours, theirs in zip(
        *(read_lines(tmp_path / each / "metrics.jsonl") for each in ("ahead", "plain")), strict=True
    ):
        assert {key: value for key, value in ours.items() if key in theirs} == theirs
        assert all(key.startswith(("ahead/", "staleness/")) for key in ours.keys() - theirs.keys())


def test_a_signal_ends_it_while_groups_are_waited_for(whole: Path, model: Path, url: str, tmp_path: Path) -> None:
    run = ahead_run(tmp_path / "run", model, url)
    with pytest.raises(Interrupted):
        train(run, At("wait", 4, threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM)).start))
    train(run, Silent())
    assert tasks_learned(run.folder, STEPS) == tasks_learned(whole, STEPS)
    assert sampled(run.folder) == once(STEPS)
    assert not check(run.folder).faults


def program(folder: Path, model: Path, url: str, steps: int, *kill: str) -> list[str]:
    return [sys.executable, ahead_program, str(folder), str(model), url, str(steps), *kill]


KILLS = [
    ("written", "1"),  # nothing is ready
    ("written", "8"),  # a file that no event names
    ("sampled", "2"),
    ("sampled", "11"),
    ("learn", "1"),
    ("learn", "4"),
    ("step", "3"),
    ("checkpoint", "1"),
    ("checkpoint", "2"),
    ("dropped", "1"),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill", KILLS, ids="-".join)
def test_a_kill_loses_no_group_and_doubles_none(
    kill: tuple[str, str], whole: Path, model: Path, url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert subprocess.run(program(folder, model, url, STEPS, *kill)).returncode == -9
    assert not check(folder).faults
    assert subprocess.run(program(folder, model, url, STEPS)).returncode == 0
    assert [row["step"] for row in read_lines(folder / "metrics.jsonl")] == list(range(1, STEPS + 1))
    assert tasks_learned(folder, STEPS) == tasks_learned(whole, STEPS)
    assert sampled(folder) == once(STEPS)
    assert max(row["staleness/max"] for row in read_lines(folder / "metrics.jsonl")) <= 1
    assert not check(folder).faults


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_random_kills(model: Path, url: str, tmp_path: Path) -> None:
    """As many kills as fit a minute; then the run may come to its end."""
    folder, steps, dice, killed = tmp_path / "run", 40, random.Random(0), 0
    end = time.monotonic() + 60
    while time.monotonic() < end:
        process = subprocess.Popen(program(folder, model, url, steps))
        lock = folder / ".lock"
        while process.poll() is None and not (lock.exists() and lock.read_text() == str(process.pid)):
            time.sleep(0.01)
        try:
            process.wait(dice.uniform(0.1, 4.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        assert process.returncode in (0, -9)
        assert not check(folder).faults
    assert killed
    assert subprocess.run(program(folder, model, url, steps)).returncode == 0
    assert [row["step"] for row in read_lines(folder / "metrics.jsonl")] == list(range(1, steps + 1))
    assert sampled(folder) == once(steps)
    drawn = [task for step in tasks_learned(folder, steps) for task in step[::2]]
    assert all(len(set(drawn[epoch : epoch + 5])) == 5 for epoch in range(0, steps * GROUPS, 5))  # each task in turn
    assert not check(folder).faults
