"""Trackers get a run's numbers under their names and steps, and none of them can stop or slow the run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.run import Logging, Silent
from togi.run_folder.files import read_lines
from togi.trackers import sending as module
from togi.trackers.sending import Sender, Senders
from togi.trackers.tracker import Tracked
from togi.train import train


def run_at(folder: Path) -> Tracked:
    return Tracked(name="one", project="togi", folder=folder, identity="abc123", done=0, recipe={"seed": 1})


class Kept:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.closed = False

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self.rows.append((step, numbers))

    def close(self) -> None:
        self.closed = True


class Fails(Kept):
    def log(self, numbers: Mapping[str, float], step: int) -> None:
        raise ConnectionError("nobody there")


def missing() -> Kept:
    raise ModuleNotFoundError("No module named 'wandb'")


def test_numbers_have_their_place_before_their_name_and_are_finite() -> None:
    kept, told = Kept(), list[str]()
    senders = Senders([Sender("kept", lambda: kept)], told.append)
    senders.send("grpo", {"reward": 0.5, "loss": float("nan")}, 3)
    senders.send("grpo", {"reward": 1.0}, 4)
    senders.close()
    assert kept.rows == [(3, {"grpo/reward": 0.5}), (4, {"grpo/reward": 1.0})]
    assert kept.closed
    assert told == []


@pytest.mark.parametrize(
    ("make", "why"),
    [(Fails, "wandb failed (ConnectionError: nobody there)"), (missing, "wandb needs the wandb extra")],
)
def test_what_fails_is_told_once(make: Callable[[], Kept], why: str) -> None:
    told: list[str] = []
    senders = Senders([Sender("wandb", make)], told.append)
    for step in range(5):
        senders.send("grpo", {"reward": 0.5}, step)
    senders.close()
    assert len(told) == 1
    assert why in told[0]
    assert "metrics.jsonl has every number" in told[0]


def test_what_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released, told = threading.Event(), list[str]()

    class Hangs(Kept):
        def log(self, numbers: Mapping[str, float], step: int) -> None:
            released.wait()

    monkeypatch.setattr(module, "LAST", 0.0)
    senders = Senders([Sender("slow", Hangs, waiting=2)], told.append)
    for step in range(50):
        senders.send("grpo", {"reward": 0.5}, step)
    senders.close()
    released.set()
    assert told == ["slow is too slow: it misses some steps, and metrics.jsonl has every number"]


def test_a_run_is_followed_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the tensorboard extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = toy_run(tmp_path / "run", tiny_folder(tmp_path), grpo_steps=2)
    train(replace(run, logging=Logging(to=("tensorboard",))), Silent())
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    names = read.Tags()["scalars"]
    for stage in ("sft", "grpo"):
        rows = [row for row in read_lines(tmp_path / "run" / "metrics.jsonl") if row["stage"] == stage]
        before = 0 if stage == "sft" else 3
        for name in {name for row in rows for name in row} - {"stage", "step"}:
            shown = {event.step: event.value for event in read.Scalars(f"{stage}/{name}")}
            written = {before + row["step"]: row[name] for row in rows if row.get(name) is not None}
            assert shown == pytest.approx(written)
        assert f"{stage}/seconds/learn" in names
    assert [event.step for event in read.Scalars("held_out/mean_score")] == [0, 3, 5]


def test_a_run_goes_on_without_a_tracker_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = replace(toy_run(tmp_path / "run", tiny_folder(tmp_path), grpo_steps=1), evaluation=None)
    train(replace(run, logging=Logging(to=("wandb",))), Silent())
    events = read_lines(tmp_path / "run" / "events.jsonl")
    assert [event["text"] for event in events if event["event"] == "warning"] == [
        text for event in events if "wandb" in (text := str(event.get("text")))
    ]
    assert sum("wandb" in str(event.get("text")) for event in events) == 1
    assert events[-2]["event"] == "finished" or events[-1]["event"] == "finished"


def test_a_run_that_goes_on_may_change_its_trackers(tmp_path: Path) -> None:
    from togi.run_folder.manifest import changes_between
    from togi.run_folder.run_description import made_of

    run = replace(toy_run(tmp_path / "run", tmp_path), recipe={"name": "toy", "logging": {"to": []}})
    other = replace(run, recipe={"name": "toy", "logging": {"to": ["wandb"]}})
    assert changes_between(made_of(run), made_of(other)) == []


@pytest.mark.slow
def test_weights_and_biases_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the wandb extra")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = module.TRACKERS["wandb"](run_at(tmp_path))
    tracker.log({"grpo/reward": 0.5}, 3)
    tracker.close()
    assert os.environ["WANDB_MODE"] == "offline"
    assert [path.name[-6:] for path in (tmp_path / "wandb").glob("offline-run-*")] == ["abc123"]


@pytest.mark.slow
def test_mlflow_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the mlflow extra")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for step in (1, 2):
        tracker = module.TRACKERS["mlflow"](run_at(tmp_path / "run"))
        tracker.log({"held_out/pass@1": step / 2}, step)
        tracker.close()
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("togi").experiment_id])
    history = client.get_metric_history(found.info.run_id, "held_out/pass_1")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 1.0)]
    assert (found.info.run_name, found.info.status) == ("one", "FINISHED")


TRACKIO = """
import json, sys
from pathlib import Path
from togi.trackers.tracker import Tracked
from togi.trackers.trackio import Trackio
import trackio
run = Tracked(name="one", project="togi", folder=Path(), identity="x", done=0, recipe={"seed": 1})
for step in (1, 2):
    tracker = Trackio(run)
    tracker.log({"grpo/reward": step / 2}, step)
    tracker.close()
rows = trackio.SQLiteStorage.get_logs("togi", "one")
found = [[row["step"], row["grpo/reward"]] for row in rows]
print("found", json.dumps([found, len(trackio.Api().runs("togi"))]))
"""


@pytest.mark.slow
def test_trackio_goes_on_with_its_run(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="the extra trackio is not installed")
    here = os.environ | {"TRACKIO_DIR": str(tmp_path)}  # which it reads when it is imported
    done = subprocess.run([sys.executable, "-c", TRACKIO], env=here, capture_output=True, text=True, check=True)
    assert "found [[[1, 0.5], [2, 1.0]], 1]" in done.stdout.splitlines()


def test_trackio_is_called_as_it_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Run:
        def log(self, numbers: Mapping[str, float], step: int) -> None:
            asked.append((numbers, step))

        def finish(self) -> None:
            asked.append("finish")

    double = ModuleType("trackio")
    vars(double)["init"] = lambda **given: asked.append(given) or Run()
    monkeypatch.setitem(sys.modules, "trackio", double)
    tracker = module.TRACKERS["trackio"](run_at(tmp_path))
    tracker.log({"grpo/reward": 0.5}, 3)
    tracker.close()
    init = {"project": "togi", "name": "one", "config": {"seed": 1}, "resume": "allow"}
    quiet = {"auto_log_gpu": False, "auto_log_cpu": False}
    assert asked == [init | quiet, ({"grpo/reward": 0.5}, 3), "finish"]
