"""Environments of OpenEnv's: on a server that is laid out like its own, and on its own where it is there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from togi.envs.open_env import open_env
from togi.envs.openenv_env import OpenEnv, openenv_env
from togi.episode_blame import Blame
from togi.protocols import Abort, Env
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

pytest.importorskip("websockets", reason="needs the openenv extra")
TASK = Task(id="t", prompt=(Message(role="user", content="Count."),), info={"seed": 3})
Handle = Callable[[str, Any], Any]


def observed(text: str, reward: Any = None, done: Any = False) -> dict[str, Any]:
    return {
        "type": "observation",
        "data": {"observation": {"metadata": {}, "text": text}, "reward": reward, "done": done},
    }


def counting() -> Handle:
    at = 0

    def handle(kind: str, data: Any) -> Any:
        nonlocal at
        if kind == "reset":
            return observed(f"seed {data['seed']}, count to 2")
        at += 1
        right = data == {"message": str(at)}
        return observed(f"at {at}", float(right and at == 2), at == 2 or not right)

    return handle


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[], Handle]], str]]:
    """Starts a server with a handler for each session: it gives what is answered, text as it is, None for silence, or
    raises to hang up."""
    from websockets.sync.server import serve as listen

    servers: list[Any] = []

    def start(made: Callable[[], Handle]) -> str:
        def session(socket: Any) -> None:
            handle = made()
            for line in socket:
                frame = json.loads(line)
                try:
                    said = handle(frame["type"], frame["data"])
                except ConnectionError:
                    socket.close()
                    return
                if said is not None:
                    socket.send(said if isinstance(said, str) else json.dumps(said))

        server = listen(session, "127.0.0.1", 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.socket.getsockname()[1]}/"

    yield start
    for server in servers:
        server.shutdown()


def made(url: str, place: Path | None = None, seconds: float = 10.0, **settings: Any) -> OpenEnv:
    return openenv_env({"base_url": url, **settings}, place or Path(), seconds)


def told(text: str) -> Message:
    return Message(role="assistant", content=text)


def begun(env: OpenEnv) -> Env:
    episode = env(TASK)
    assert episode.start()[0].content == "Count.\nseed 3, count to 2"
    return episode


def test_sessions_side_by_side(serve: Any) -> None:
    env = made(serve(counting))
    one, two = begun(env), begun(env)
    replies, reward, done = one.step(told("<think>2?</think>\n1\n"))
    assert (replies[0].content, reward, done) == ("at 1", 0.0, False)
    assert two.step(told("7"))[1:] == (0.0, True)
    assert one.step(told("2"))[1:] == (1.0, True)
    assert dict(one.counts) == {"ended": 1, "cut": 0}  # type: ignore[attr-defined]
    for each in (one, two):
        each.close()


def test_actions_and_observations_of_ones_own(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(
        "def act(text):\n    return {'message': text[-1], 'n': object()} if text == 'odd' else {'message': text[-1]}\n"
        "def tell(seen):\n    return 'seen: ' + seen['text']\n"
    )
    env = made(serve(counting), tmp_path, act="words.py:act", tell="words.py:tell")
    assert env.files == (tmp_path / "words.py",)
    episode = env(TASK)
    assert episode.start()[0].content.endswith("seen: seed 3, count to 2")
    assert episode.step(told("I say 1"))[0][0].content == "seen: at 1"
    with pytest.raises(ValueError, match=r"act\(\) gave .* which is no JSON"):
        episode.step(told("odd"))
    episode.close()


def test_turns_run_out(serve: Any) -> None:
    episode = begun(made(serve(lambda: lambda kind, data: observed("seed 3, count to 2")), turns=2))
    assert episode.step(told("1"))[2] is False
    assert episode.step(told("1"))[2] is True
    assert episode.cut  # type: ignore[attr-defined]
    episode.close()


def answers(said: Any) -> Callable[[], Handle]:
    return lambda: lambda kind, data: observed("seed 3, count to 2") if kind == "reset" else said


def test_a_server_that_dies_in_mid_episode_is_looked_into(serve: Any) -> None:
    def dies() -> Handle:
        def handle(kind: str, data: Any) -> Any:
            if kind == "step":
                raise ConnectionError
            return observed("seed 3, count to 2")

        return handle

    episode = begun(made(serve(dies)))
    for _ in range(2):  # and no new session is begun behind its back
        with pytest.raises(ConnectionError, match="is gone"):
            episode.step(told("1"))
    episode.close()


@pytest.mark.parametrize(("ends", "fault"), [("bye", "error"), ("", None)])
def test_who_ended_a_session_is_to_blame(serve: Any, ends: str, fault: str | None) -> None:
    def handle(kind: str, data: Any) -> Any:
        if kind == "step" and ends in data["message"]:
            raise ConnectionError
        return observed("go on")

    env = made(serve(lambda: handle))
    blame = Blame(make=env, harmless=lambda task: "hello")
    assert blame.fault(TASK, [("bye", ())], ConnectionError()) == fault


ERROR = {"type": "error", "data": {"message": "'mine'", "code": "EXECUTION_ERROR"}}
FULL = {"type": "error", "data": {"message": "all in use", "code": "CAPACITY_REACHED"}}
FAULTS = [
    (ERROR, RuntimeError, r"failed \(EXECUTION_ERROR\): 'mine'"),
    (FULL, Abort, "raise its max_concurrent_envs"),
    (None, TimeoutError, "did not answer within 0.5 s"),
    ("nonsense", ValueError, "which OpenEnv does not"),
    ("[]", ValueError, "which OpenEnv does not"),
    ("[" * 100_000, ValueError, "which OpenEnv does not"),
    ({"type": "observation", "data": {}}, ValueError, "which OpenEnv does not"),
    ({"type": "error", "data": {}}, ValueError, "which OpenEnv does not"),
    (observed("x", "much"), ValueError, "gave reward 'much'"),
    (observed("x", float("nan")), ValueError, "gave reward nan"),
    (observed("x", 1.0, "yes"), ValueError, "done 'yes'"),
    (observed("x" * (1 << 25)), ConnectionError, "is gone"),
]


@pytest.mark.parametrize(("said", "kind", "why"), FAULTS)
def test_what_a_server_does_wrong_is_told(serve: Any, said: Any, kind: type[Exception], why: str) -> None:
    episode = begun(made(serve(answers(said)), seconds=0.5 if said is None else 30))
    with pytest.raises(kind, match=why):
        episode.step(told("1"))
    episode.close()


def test_no_server() -> None:
    episode = made("http://127.0.0.1:9/")(TASK)
    with pytest.raises(Abort, match=r"there is no server at http://127\.0\.0\.1:9/"):
        episode.start()
    episode.close()


WRONG = [
    ({"base_url": 3}, "wanted a server's address"),
    ({"base_url": "127.0.0.1:8000"}, "wanted a server's address"),
    ({"base_url": "file:///etc"}, "wanted a server's address"),
    ({"turns": 0}, "at least 1"),
    ({"reset": 3}, "wanted a table"),
    ({"action": 3}, "name of a field"),
    ({"act": "f.py:act", "action": "code"}, "leave action out"),
    ({"tell": "nowhere.py:tell"}, "there is no file"),
    ({"url": "x"}, "no setting of OpenEnv's"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made(**{"url": "http://127.0.0.1:1", **settings}) if "url" not in settings else openenv_env(
            settings, Path(), 1.0
        )


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.envs.openenv_env.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the openenv extra"):
        open_env("openenv", {}, Path(), Pool(workers=1, seconds=1.0, memory_mb=512))


SERVER = """
import sys

import uvicorn
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Say(Action):
    message: str


class Heard(Observation):
    text: str


class Counting(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed=None, episode_id=None, **more):
        self.at = 0
        return Heard(text=f"seed {seed}, count to 2")

    def step(self, action, timeout_s=None, **more):
        self.at += 1
        right = action.message == str(self.at)
        return Heard(text=f"at {self.at}", done=self.at == 2 or not right, reward=float(right and self.at == 2))

    @property
    def state(self):
        return State(episode_id="x", step_count=self.at)


app = create_app(Counting, Say, Heard, env_name="counting", max_concurrent_envs=2)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@pytest.mark.skipif(find_spec("openenv") is None, reason="needs OpenEnv")
def test_the_real_server(tmp_path: Path) -> None:
    import socket

    (tmp_path / "server.py").write_text(SERVER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(tmp_path / "server.py"), str(port)])
    try:
        env = made(f"http://127.0.0.1:{port}")
        one = env(TASK)
        for _ in range(300):
            with suppress(Abort):
                one.start()
                break
            time.sleep(0.2)
        two = begun(env)
        with pytest.raises(Abort, match="max_concurrent_envs"):
            env(TASK).start()
        assert one.step(told("1"))[1:] == (0.0, False)
        assert one.step(told("2"))[1:] == (1.0, True)
        process.kill()
        with pytest.raises(ConnectionError, match="is gone"):
            two.step(told("1"))
    finally:
        process.kill()
        process.wait()
