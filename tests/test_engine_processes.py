"""Engines in other processes: they draw what the one here does, take what is learned, and may fail."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_doubles import Threads
from test_server_engine import same
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.engines import engine_process, fleet, server_weights
from togi.engines.completions_server import CompletionsServer, ServerFault
from togi.engines.engine_choice import EngineChoice
from togi.engines.engine_process import EngineProcess
from togi.engines.fleet_member import EngineOutage
from togi.engines.open_engine import open_engine, opened_beside
from togi.file_sha256 import file_sha256
from togi.launch.launcher import Launcher
from togi.launch.local import LocalLauncher
from togi.models.load_model import Loaded, Lora, load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.models.whole_weights import write_whole
from togi.protocols import CallsOff, LocalEngine
from togi.run import Scale, Silent
from togi.run_folder.files import read_lines
from togi.train import train
from togi.types import Prompt, Sampling, Turn

PROMPTS = [Prompt(ids=(5, 6, 7), seeds=(1, 2, 3)), Prompt(ids=(9, 8), seeds=(4,)), Prompt(ids=(5, 6), seeds=(5, 6))]
LONG = [Prompt(ids=(5, 6, 7), seeds=tuple(range(8)))]
FEW, NINE = Sampling(max_tokens=5), Sampling(max_tokens=9)
Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def told() -> Told:
    return []


@contextmanager
def beside(
    loaded: Loaded, place: Path, told: Told, launcher: Launcher, count: int = 2, **choice: Any
) -> Iterator[LocalEngine]:
    def tell(kind: str, **details: Any) -> None:
        told.append((kind, details))

    with opened_beside(EngineChoice(batch_size=4, **choice), count, launcher, place / "engines", tell) as chosen:
        yield open_engine(loaded, chosen)


def kinds(told: Told) -> list[str]:
    return [kind for kind, _ in told]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "sampling",
    [
        NINE,
        Sampling(max_tokens=30, ignore_eos=True, temperature=0.7, top_k=20),
        Sampling(max_tokens=9, temperature=0),
        Sampling(max_tokens=200, stop=("e", "</a>")),
    ],
)
def test_they_draw_what_the_engine_here_does(folder: Path, tmp_path: Path, told: Told, sampling: Sampling) -> None:
    loaded = load_model(str(folder))
    with beside(loaded, tmp_path, told, Threads()) as engine:
        first = engine.generate(PROMPTS, sampling)
        same(first, open_engine(loaded).generate(PROMPTS, sampling))
        same(engine.generate(PROMPTS, sampling), first)
    assert Counter(kinds(told)) == {"engine_began": 2, "weights_unchanged": 1}
    assert [path.name for path in (tmp_path / "engines").iterdir() if path.is_dir()] == []


def change(loaded: Loaded, by: float) -> None:
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if weight.requires_grad and "lora_A" not in name:
                weight += by * torch.linspace(-1, 1, weight.numel()).view_as(weight)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_what_is_learned_reaches_them(folder: Path, tmp_path: Path, told: Told, lora: Lora | None) -> None:
    loaded = load_model(str(folder), lora=lora)
    policy = LocalPolicy(loaded.model, Optimiser(), compute=torch.float32)
    turns: list[list[list[Turn]]] = []
    change(loaded, 0.5)
    with beside(loaded, tmp_path, told, Threads()) as engine:
        change(loaded, 0.5)
        for step in (0, 3):
            policy.step = step
            engine.sync(policy)
            turns.append(engine.generate(PROMPTS, FEW))
            here = open_engine(loaded)
            here.sync(policy)
            same(turns[-1], here.generate(PROMPTS, FEW))
            change(loaded, 0.5)
    assert turns[0] != turns[1]
    published = [details for kind, details in told if kind == "weights_published"]
    assert [each["version"] for each in published] == [0, 3]
    assert len({each["sha256"] for each in published}) == 2
    assert all(each["engines"] == ["engine 1", "engine 2"] for each in published)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_weights_that_did_not_change_are_not_sent_again(
    folder: Path, tmp_path: Path, told: Told, lora: Lora | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    for name in ("load_weights", "load_adapter"):
        load = getattr(CompletionsServer, name)

        def heard(server: CompletionsServer, called: str, *how: str, load: Any = load) -> None:
            sent.append(called)
            load(server, called, *how)

        monkeypatch.setattr(CompletionsServer, name, heard)
    loaded, launcher = load_model(str(folder), lora=lora), Threads()
    policy = LocalPolicy(loaded.model, Optimiser(), compute=torch.float32)
    with opened_beside(
        EngineChoice(batch_size=4), 2, launcher, tmp_path / "engines", lambda kind, **each: told.append((kind, each))
    ) as chosen:
        engine = open_engine(loaded, chosen)
        change(loaded, 0.5)
        for step in (1, 2, 3):
            policy.step = step
            engine.sync(policy)
            turns = engine.generate(PROMPTS, FEW)
            assert {turn.version for each in turns for turn in each} == {step}  # of weights that it had too
        assert sent == [sent[0]] * 2
        later = open_engine(loaded, chosen)  # as an evaluation of the same weights does
        assert later.generate(PROMPTS, FEW)[0][0].completion == turns[0][0].completion
        assert len(sent) == 2
        launcher.started[0].kill()
        until(lambda: kinds(told).count("engine_began") == 3)
        assert sent == [sent[0]] * 3  # one that was begun again has nothing yet
        change(loaded, 0.5)
        policy.step = 4
        later.sync(policy)
        later.generate(PROMPTS, FEW)
    assert len(sent) == 5
    assert sent[4] == sent[3] != sent[0]
    events = [(kind, details["version"]) for kind, details in told if kind.startswith("weights")]
    assert events == [
        ("weights_published", 1),
        ("weights_unchanged", 2),
        ("weights_unchanged", 3),
        ("weights_unchanged", 0),
        ("weights_published", 4),
    ]


def test_models_of_one_form_share_the_processes(folder: Path, tmp_path: Path, told: Told) -> None:
    one, other = load_model(str(folder)), load_model(str(tiny_folder(tmp_path / "other", seed=1)))
    wide = load_model(str(tiny_folder(tmp_path / "wide", tied=False)))
    launcher = Threads()
    with opened_beside(EngineChoice(), 1, launcher, tmp_path / "engines", lambda kind, **_: None) as chosen:
        for loaded in (one, other, one, wide):
            engine = open_engine(loaded, chosen)
            same(
                engine.generate(PROMPTS, FEW),
                open_engine(loaded).generate(PROMPTS, FEW),
            )
        engines = [open_engine(each, chosen) for each in (one, other)]
        launched = len(launcher.started)
        for each in (0, 1, 0):
            wanted = open_engine([one, other][each]).generate(PROMPTS, FEW)
            same(engines[each].generate(PROMPTS, FEW), wanted)
    assert launched == 2


@pytest.fixture
def slow_draws(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Tokens are drawn once this is set."""
    from togi.engines.batch_schedule import Schedule

    go_on, draw = threading.Event(), Schedule.draw

    def waits(schedule: Schedule) -> list[tuple[int, Turn]]:
        assert go_on.wait(100)
        return draw(schedule)

    monkeypatch.setattr(Schedule, "draw", waits)
    go_on.set()
    return go_on


def drawn_beside(
    engine: LocalEngine, prompts: Sequence[Prompt], sampling: Sampling = NINE
) -> Callable[[], list[list[Turn]]]:
    """Has completions drawn in a thread; gives what waits for them."""
    found: list[list[list[Turn]]] = []
    thread = threading.Thread(target=lambda: found.append(engine.generate(prompts, sampling)))
    thread.start()

    def drawn() -> list[list[Turn]]:
        thread.join()
        return found[0]

    return drawn


def test_what_is_called_off_ends_at_once(
    folder: Path, tmp_path: Path, told: Told, slow_draws: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("togi.engines.joining_requests.LOOK", 0.02)
    loaded, launcher, errors = load_model(str(folder)), Threads(), list[Exception]()
    with beside(loaded, tmp_path, told, launcher, count=1) as engine:
        assert isinstance(engine, CallsOff)
        engine.call_off()  # nothing is being drawn
        wanted = engine.generate(LONG, NINE)
        slow_draws.clear()

        def left() -> None:
            try:
                engine.generate(PROMPTS, NINE)
            except ValueError as error:
                errors.append(error)

        leaving = threading.Thread(target=left)
        leaving.start()
        requests = launcher.started[0].door._requests
        until(lambda: len(requests._open) == 4)
        engine.call_off()
        leaving.join(60)
        assert [str(error).partition("v1: ")[2] for error in errors] == ["it was called off"]
        until(lambda: not requests._open)
        slow_draws.set()
        same(engine.generate(LONG, NINE), wanted)
    assert "engine_failed" not in kinds(told)


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_one_that_fails_is_begun_again_and_nothing_is_lost(
    folder: Path, tmp_path: Path, told: Told, slow_draws: threading.Event, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "hung":
        monkeypatch.setattr(engine_process, "HUNG", 0.0)
        monkeypatch.setattr(EngineProcess, "_answers", lambda process: not process._launched.hangs.is_set())
    monkeypatch.setattr(fleet, "_LOOK", 0.05)
    loaded, launcher = load_model(str(folder)), Threads()
    wanted = open_engine(loaded).generate(LONG, NINE)
    with beside(loaded, tmp_path, told, launcher) as engine:
        engine.generate(PROMPTS, FEW)
        slow_draws.clear()
        drawn = drawn_beside(engine, LONG)
        until(lambda: sum(each.door.still() > 0 for each in launcher.started) == 2)
        if how == "killed":
            launcher.started[0].kill()
        else:
            launcher.started[0].hangs.set()
        until(lambda: len(launcher.started) == 3)
        slow_draws.set()
        same(drawn(), wanted)
        until(lambda: kinds(told).count("engine_began") == 3)
        same(engine.generate(LONG, NINE), wanted)
    [failed] = [details for kind, details in told if kind == "engine_failed"]
    assert failed["why"].startswith("it ended: signal 9" if how == "killed" else "it has not answered for")
    assert not failed["given_up"]


def test_one_that_was_begun_again_has_the_newest_weights(folder: Path, tmp_path: Path, told: Told) -> None:
    loaded, launcher = load_model(str(folder)), Threads()
    policy = LocalPolicy(loaded.model, Optimiser(), compute=torch.float32)
    with beside(loaded, tmp_path, told, launcher, count=1) as engine:
        engine.generate(PROMPTS, FEW)
        change(loaded, 0.5)
        policy.step = 2
        engine.sync(policy)
        wanted = engine.generate(PROMPTS, FEW)
        launcher.started[0].kill()
        same(engine.generate(PROMPTS, FEW), wanted)
    assert len(launcher.started) == 2


def test_new_weights_reach_those_that_are_left(folder: Path, tmp_path: Path, told: Told) -> None:
    loaded, launcher = load_model(str(folder)), Threads(never=range(3, 9))
    policy = LocalPolicy(loaded.model, Optimiser(), compute=torch.float32)
    with beside(loaded, tmp_path, told, launcher) as engine:
        engine.generate(PROMPTS, FEW)
        launcher.started[0].kill()
        change(loaded, 0.5)
        policy.step = 1
        engine.sync(policy)
        turns = engine.generate(PROMPTS, FEW)
    here = open_engine(loaded)
    here.sync(policy)
    same(turns, here.generate(PROMPTS, FEW))
    assert [details["engines"] for kind, details in told if kind == "weights_published"][-1:] == [
        [launcher.started[1].name]
    ]


def test_it_ends_where_none_is_left(folder: Path, tmp_path: Path, told: Told) -> None:
    loaded = load_model(str(folder))
    with (
        beside(loaded, tmp_path, told, Threads(never=range(1, 99))) as engine,
        pytest.raises(EngineOutage, match=r"engine 1: it ended while it began: exit code 1 \(it wrote last: no model"),
    ):
        engine.generate(PROMPTS, FEW)
    assert [details["given_up"] for kind, details in told if kind == "engine_failed"].count(True) == 2
    assert len(told) == 2 * fleet.LIVES


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_a_weight_file_that_is_torn_is_not_taken(
    folder: Path, tmp_path: Path, told: Told, lora: Lora | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(whole: str, file: Path) -> str:
        with file.open("r+b") as opened:
            opened.seek(-1, os.SEEK_END)
            opened.write(b"\xff")
        return whole

    loaded, launcher = load_model(str(folder), lora=lora), Threads()
    with beside(loaded, tmp_path, told, launcher, count=1) as engine:
        engine.generate(PROMPTS, FEW)
        monkeypatch.setattr(server_weights, "file_sha256", lambda file: torn(file_sha256(file), file))
        monkeypatch.setattr(server_weights, "write_whole", lambda model, file: torn(write_whole(model, file), file))
        change(loaded, 0.5)
        engine.sync(LocalPolicy(loaded.model, Optimiser(), compute=torch.float32))
        with pytest.raises(EngineOutage, match="is not as it was written: its SHA-256 is"):
            engine.generate(PROMPTS, FEW)


def test_one_that_does_not_take_a_version_in_time_is_begun_again(
    folder: Path, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, asked = CompletionsServer.load_weights, list[str]()

    def late(server: CompletionsServer, name: str, file: str, checksum: str) -> None:
        asked.append(name)
        if len(asked) == 1:
            raise ServerFault("no answer within 600 s", again=True)
        take(server, name, file, checksum)

    monkeypatch.setattr(CompletionsServer, "load_weights", late)
    loaded, launcher = load_model(str(folder)), Threads()
    with beside(loaded, tmp_path, told, launcher, count=1) as engine:
        engine.generate(PROMPTS, FEW)
        change(loaded, 0.5)
        engine.sync(LocalPolicy(loaded.model, Optimiser(), compute=torch.float32))
        same(engine.generate(PROMPTS, FEW), open_engine(loaded).generate(PROMPTS, FEW))
    assert len(launcher.started) == 2
    assert asked == [asked[0]] * 2
    assert [details["why"] for kind, details in told if kind == "engine_failed"] == ["no answer within 600 s"]


def test_a_long_wait_says_what_it_waits_for(
    folder: Path, tmp_path: Path, told: Told, slow_draws: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("togi.engines.server_engine.TOLD", 0.1)
    with beside(load_model(str(folder)), tmp_path, told, Threads(), count=1) as engine:
        engine.generate(PROMPTS, FEW)
        slow_draws.clear()
        drawn = drawn_beside(engine, PROMPTS)
        until(lambda: "engines_waited_for" in kinds(told))
        slow_draws.set()
        drawn()
    waited = next(details for kind, details in told if kind == "engines_waited_for")
    assert waited["what"] == "6 completions"
    assert waited["engines"][0].startswith("engine 1 has been drawing for")


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def test_a_run_is_the_same_beside(folder: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "here", folder, grpo_steps=2)
    train(run, Silent())
    train(replace(run, folder=tmp_path / "beside", scale=Scale(engines=2)), Silent(), launcher=Threads())
    for rollouts in sorted((tmp_path / "here" / "rollouts").iterdir()):
        ours, theirs = (read_lines(path) for path in (tmp_path / "beside" / "rollouts" / rollouts.name, rollouts))
        assert [row["completion"] for row in ours] == [row["completion"] for row in theirs]
    kinds = ("weights_published", "weights_unchanged")
    told = [(event["event"], event["version"]) for event in events(tmp_path / "beside") if event["event"] in kinds]
    assert told == [
        ("weights_unchanged", 0),  # the base is measured, with which they began
        ("weights_published", 0),  # the first stage is: it learned from what is recorded
        ("weights_unchanged", 0),  # the second begins with it
        ("weights_published", 2),  # its first step brought two updates
        ("weights_published", 0),  # it is measured
    ]


def test_a_run_stops_with_a_checkpoint_where_none_is_left(folder: Path, tmp_path: Path) -> None:
    launcher = Threads(never=range(2, 99))

    class Kills(Silent):
        def step(self, step: int, metrics: Any, seconds: Any) -> None:
            if "tokens/drawn" in metrics:
                launcher.started[0].kill()

    run = replace(toy_run(tmp_path / "run", folder, grpo_steps=3), scale=Scale(engines=1), save_every=100)
    with pytest.raises(EngineOutage, match="it ended while it began"):
        train(run, Kills(), launcher=launcher)
    stopped = events(tmp_path / "run")[-1]
    assert stopped["event"] == "interrupted"
    assert "checkpoint" in [event["event"] for event in events(tmp_path / "run")][-3:]
    launcher.never = ()
    train(run, Silent(), launcher=launcher)
    assert events(tmp_path / "run")[-1]["event"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_real_process_that_is_killed_or_stopped(
    folder: Path, tmp_path: Path, told: Told, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "HUNG", 10.0)
    monkeypatch.setattr(engine_process, "ASKED", 5.0)
    loaded = load_model(str(folder))
    wanted = open_engine(loaded).generate(LONG, Sampling(max_tokens=200, ignore_eos=True))
    with beside(loaded, tmp_path, told, LocalLauncher()) as engine:
        engine.generate(PROMPTS, FEW)
        pid = int((tmp_path / "engines" / "engine-1.log").read_text().split("process ")[1].split()[0])
        drawn = drawn_beside(engine, LONG, Sampling(max_tokens=200, ignore_eos=True))
        os.kill(pid, number)
        same(drawn(), wanted)
        same(engine.generate(LONG, Sampling(max_tokens=200, ignore_eos=True)), wanted)
        until(lambda: kinds(told).count("engine_began") == 3)
    assert kinds(told).count("engine_failed") == 1
