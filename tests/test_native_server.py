"""What reaches an engine process: requests that join, weights that wait for their turn, and what is turned away."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_doubles import InThread, Threads
from safetensors.torch import save_file
from test_engine_processes import slow_draws, until
from tiny_text import tiny_folder, tiny_llama

from togi.engines import joining_requests
from togi.engines.native import NativeEngine
from togi.engines.native_server import KEY, LARGEST_BODY
from togi.file_sha256 import file_sha256
from togi.models.load_model import load_model
from togi.models.whole_weights import write_whole
from togi.types import Prompt, Sampling, Turn

__all__ = ["slow_draws"]

SECRET = "a key of sixteen or more letters"
ASKED: dict[str, Any] = {
    "model": "start",
    "prompt": [5, 6, 7],
    "max_tokens": 9,
    "seed": 3,
    "stop": [],
    "stop_token_ids": [2],
    "ignore_eos": False,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def engine(folder: Path, tmp_path: Path) -> Iterator[InThread]:
    options = ["--name", "start", "--port", "0", "--dtype", "float32", "--device", "cpu", "--batch-size", "4"]
    command = ["python", "-m", "togi.engines.native_server", str(folder), *options]
    engine = Threads().start("engine", command, env={KEY: SECRET}, log=tmp_path / "log")
    assert isinstance(engine, InThread)
    yield engine
    engine.end(0)


def post(engine: InThread, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", engine.door.server_port, timeout=60)
    connection.request("POST", path, body, {"Authorization": f"Bearer {SECRET}"} | headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def ask(engine: InThread, **changes: Any) -> tuple[int, Any]:
    return post(engine, "/v1/completions", json.dumps(ASKED | changes).encode())


def take(engine: InThread, name: str, file: Path) -> tuple[int, Any]:
    body = {"name": name, "file": str(file), "sha256": file_sha256(file)}
    return post(engine, "/v1/load_weights", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "other"}, "there is no model other here, only start"),
        ({"prompt": [10**6]}, "token ids from 1000000"),
        ({"prompt": []}, "has no tokens"),
        ({"prompt": ["x"]}, "ValueError"),
        ({"prompt": None}, "TypeError"),
        ({"max_tokens": 0}, "do not fit the context of 256"),
        ({"max_tokens": 254}, "do not fit the context of 256"),
        ({"temperature": -1}, "sampling.temperature is -1.0"),
        ({"temperature": "hot"}, "ValueError"),
        ({"top_p": 0}, "sampling.top_p is 0.0"),
        ({"stop": [""]}, "free of empty strings"),
        ({"seed": None}, "TypeError"),
    ],
)
def test_what_cannot_be_drawn_is_refused(engine: InThread, changes: dict[str, Any], said: str) -> None:
    status, answer = ask(engine, **changes)
    assert status == 400
    assert said in answer["error"]["message"]
    assert ask(engine)[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/completions", b"{}", {"Authorization": "Bearer another key of this length"}, 401),
        ("/v1/completions", b"{}", {"Authorization": SECRET}, 401),
        ("/v1/completions", b"{}", {"Authorization": ""}, 401),
        ("/v1/completions", b"", {"Content-Length": str(LARGEST_BODY + 1)}, 413),
        ("/v1/completions", b"", {"Content-Length": "-1"}, 413),
        ("/v1/completions", b"", {"Content-Length": "\xb2"}, 413),  # a digit to Python, and no number
        ("/v1/completions", b"", {"Content-Length": "9" * 5000}, 413),  # more digits than Python reads
        ("/v1/completions", b"{}", {"Authorization": f"Basic {SECRET}"}, 401),
        ("/v1/completions", b"{}", {"Authorization": "Bearer "}, 401),
        ("/v1/load_weights", b'{"name": "x", "file": "../../../etc/passwd", "sha256": "0"}', {}, 400),
        ("/v1/completions", b"{", {}, 400),
        ("/v1/completions", b"[" * 100_000, {}, 400),
        ("/v1/completions", b"[]", {}, 400),
        ("/v1/completions", b"\xff", {}, 400),
        ("/v1/load_weights", b'{"name": "x", "file": "/none", "sha256": "0"}', {}, 400),
        ("/v1/load_lora_adapter", b'{"lora_name": "x", "lora_path": "/none", "sha256": "0"}', {}, 400),
        ("/../etc/passwd", b"{}", {}, 400),
    ],
)
def test_who_has_no_key_or_no_question_is_turned_away(
    engine: InThread, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert post(engine, path, body, **headers)[0] == status
    assert ask(engine)[0] == 200


def test_weights_that_do_not_fit_change_nothing(engine: InThread, tmp_path: Path) -> None:
    before = ask(engine)
    weights = {name: tensor.clone() for name, tensor in tiny_llama(seed=1).state_dict().items()}
    first = next(iter(weights))
    for number, odd in enumerate(
        (
            {name: tensor for name, tensor in weights.items() if name != first and "lm_head" not in name},
            weights | {"further": torch.zeros(1)},
            weights | {first: torch.zeros(3)},
        )
    ):
        save_file(odd, tmp_path / f"{number}.safetensors")
        status, answer = take(engine, "odd", tmp_path / f"{number}.safetensors")
        assert (status, "does not hold the weights of this model" in answer["error"]["message"]) == (400, True)
    assert ask(engine) == before


def test_what_is_under_way_ends_on_its_own_weights(
    engine: InThread, folder: Path, tmp_path: Path, slow_draws: threading.Event
) -> None:
    new = tiny_llama(seed=1)
    write_whole(new, tmp_path / "new.safetensors")
    wanted = []
    for model in (load_model(str(folder)).model, new):
        drawing = NativeEngine(model, load_model(str(folder)).tokenizer, frozenset({2}))
        [[turn]] = drawing.generate([Prompt(ids=(5, 6, 7), seeds=(3,))], Sampling(max_tokens=9))
        wanted.append(list(turn.completion))
    assert wanted[0] != wanted[1]
    slow_draws.clear()
    answers: dict[str, Any] = {}

    def told(name: str, *how: Any, **changes: Any) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.update({name: how[0](engine, *how[1:], **changes)}))
        thread.start()
        return thread

    threads = [told("before", ask)]
    until(lambda: engine.door.still() > 0)
    threads.append(told("taken", take, "new", tmp_path / "new.safetensors"))
    until(lambda: len(engine.door._requests._queue) == 1)
    threads += [told("late", ask, seed=4), told("after", ask, model="new")]
    until(lambda: len(engine.door._requests._queue) == 3)
    slow_draws.set()
    for thread in threads:
        thread.join(60)
    assert answers["before"][1]["choices"][0]["token_ids"] == wanted[0]
    assert answers["taken"][0] == 200
    assert "there is no model start here, only new" in answers["late"][1]["error"]["message"]
    assert answers["after"][1]["choices"][0]["token_ids"] == wanted[1]


def test_one_that_comes_twice_is_drawn_once(engine: InThread, slow_draws: threading.Event) -> None:
    slow_draws.clear()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(engine))) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: engine.door.still() > 0)
    assert len(engine.door._requests._open) == 1
    slow_draws.set()
    for thread in threads:
        thread.join(60)
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 200


def asked_at(engine: InThread, **changes: Any) -> http.client.HTTPConnection:
    """A question that waits for its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", engine.door.server_port, timeout=60)
    body = json.dumps(ASKED | changes).encode()
    connection.request("POST", "/v1/completions", body, {"Authorization": f"Bearer {SECRET}"})
    return connection


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, slow_draws: threading.Event) -> list[int]:
    """How many were being drawn, at each draw."""
    from togi.engines.batch_schedule import Schedule

    counts, draw = list[int](), Schedule.draw

    def counting(schedule: Schedule) -> list[tuple[int, Turn]]:
        drawn = draw(schedule)
        counts.append(schedule.drawing)
        return drawn

    monkeypatch.setattr(Schedule, "draw", counting)
    monkeypatch.setattr(joining_requests, "LOOK", 0.02)
    return counts


LONG = {"max_tokens": 200, "ignore_eos": True}


def test_what_nobody_waits_for_is_not_drawn(engine: InThread, slow_draws: threading.Event, counted: list[int]) -> None:
    slow_draws.clear()
    first = asked_at(engine, **LONG)
    until(lambda: engine.door.still() > 0)
    second, other = asked_at(engine, seed=4, **LONG), asked_at(engine, seed=5, temperature=0.5, **LONG)
    until(lambda: len(engine.door._requests._open) == 3)
    for connection in (first, second, other):
        connection.close()
    until(lambda: not engine.door._requests._open)
    slow_draws.set()
    assert ask(engine, seed=6)[0] == 200
    assert len(counted) < 20  # the first's one token, and the last question's nine


def test_one_for_which_another_waits_is_drawn_to_its_end(
    engine: InThread, slow_draws: threading.Event, counted: list[int]
) -> None:
    wanted = ask(engine)
    slow_draws.clear()
    gone, stays = asked_at(engine), asked_at(engine)
    until(lambda: [each.waiting for each in engine.door._requests._open.values()] == [2])
    gone.close()
    until(lambda: [each.waiting for each in engine.door._requests._open.values()] == [1])
    slow_draws.set()
    answer = stays.getresponse()
    assert (answer.status, json.loads(answer.read())) == wanted
