"""A whole run by two learners, as a user starts it: it learns what one learns, and outlives one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RECIPE = Path(__file__).parent.parent / "recipes" / "sums.toml"
SMALL = (
    "stage.cold_start.steps=2",
    "stage.cold_start.warmup_steps=0",
    "stage.cold_start.tasks_per_step=8",
    "stage.grpo.reward={score = 'concise(max_length = 8)'}",
    "stage.grpo.steps=4",
    "stage.grpo.tasks_per_step=4",
    "stage.grpo.attempts=4",
    "stage.grpo.minibatches=2",
    "sampling.max_tokens=8",
    "evaluation.tasks=2",
    "evaluation.attempts=1",
    "checkpoint.every=1",
)


def training(folder: Path, learners: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "togi", "train", str(RECIPE), *SMALL, f"scale.learners={learners}"]
    return subprocess.Popen(
        [*command, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def trained(folder: Path, learners: int) -> None:
    run = training(folder, learners)
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 0, said


def steps(folder: Path) -> list[dict[str, Any]]:
    log = folder / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def follower(folder: Path) -> int:
    """The process of the second learner."""
    for place in Path("/proc").iterdir():
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            rank = b"RANK=1" in (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if rank and str(folder).encode() in words and not any(word.endswith(b"guard.py") for word in words):
            return int(place.name)
    raise AssertionError("no second learner")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes as Linux has them")
def test_a_run_by_two_learners_goes_on_with_one_when_the_other_dies(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    trained(alone, 1)
    run = training(together, 2)
    while len(steps(together)) < 3 and run.poll() is None:
        time.sleep(0.1)
    os.kill(follower(together), signal.SIGKILL)
    said, _ = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "learner 1 died (signal 9)" in said
    assert "goes on from the last checkpoint" in said
    assert [event["count"] for event in events(together) if event["event"] == "learners"] == [2]
    assert events(together)[-1]["event"] == "learner_lost"

    trained(together, 1)
    verified = subprocess.run([sys.executable, "-m", "togi", "verify", str(together)], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    one, several = steps(alone), steps(together)
    assert [(row["stage"], row["step"]) for row in several] == [(row["stage"], row["step"]) for row in one]
    for row, other in zip(one[:3], several[:3], strict=True):
        paid = ("reward",) if row["stage"] == "grpo" else ()
        for name in ("loss", "grad_norm", "learning_rate", *paid):
            wanted = pytest.approx(row[name], rel=1e-3, abs=1e-4)
            assert other[name] == wanted, (row["stage"], row["step"], name)
