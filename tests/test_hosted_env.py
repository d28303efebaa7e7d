"""Environments of verifiers, played by verifiers in a process of their own: of a stand-in that is laid out like the
package, and of the package itself where it is there."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from togi.envs.open_env import open_env
from togi.envs.programs.program_env import ProgramEnv
from togi.protocols import Env
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

pytest.importorskip("uvicorn", reason="needs the serve extra")
pytest.importorskip("openai", reason="needs OpenAI's client")
REAL = find_spec("verifiers") is not None

STAND_IN = """
import os, signal

__version__ = "0.3"
print("the library prints")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))


class Environment:
    def __init__(self, goal):
        self.goal = goal

    async def run_rollout(self, row, client, model, sampling):
        messages = list(row["prompt"])
        for more in ("Sure?", ""):
            said = (await client.chat.completions.create(model=model, messages=messages)).choices[0].message
            messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": more}]
        if messages[1]["content"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if messages[1]["content"] == "fail":
            return {"error": {"error": "ToolError"}, "reward": 0.0}
        if messages[1]["content"] == "raise":
            raise KeyError("mine")
        return {"error": None, "reward": float(said.content == row["answer"]) * self.goal}


def load_environment(name, **arguments):
    return Environment(**arguments)
"""
OWN = "import verifiers\n\n\ndef load_environment(goal=1.0):\n    return verifiers.Environment(goal)\n"
TASK = Task(id="t", prompt=(Message(role="user", content="2 + 2?"),), answer=4)


def made(place: Path, use: str = "verifiers", **settings: Any) -> ProgramEnv:
    env = open_env(
        use, {"id": "own.py:load_environment", **settings}, place, Pool(workers=1, seconds=60.0, memory_mb=512)
    )
    assert isinstance(env, ProgramEnv)
    return env


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an environment of the user's; the stand-in is found before any real package."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "verifiers.py").write_text(STAND_IN)
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.setenv("PYTHONPATH", str(library))
    monkeypatch.delitem(sys.modules, "verifiers", raising=False)
    return tmp_path


def told(text: str) -> Message:
    return Message(role="assistant", content=text)


def begun(env: ProgramEnv, first: str) -> Env:
    episode = env(TASK)
    assert [each.content for each in episode.start()] == ["2 + 2?"]
    replies, _, _ = episode.step(told(first))
    assert [each.content for each in replies] == ["Sure?"]
    return episode


def test_episodes_are_played_side_by_side_and_pay(place: Path) -> None:
    env = made(place, arguments={"goal": 0.5})
    before = signal.getsignal(signal.SIGTERM)
    one, two = begun(env, "a"), begun(env, "b")
    assert one.step(told("4")) == ((), 0.5, True)
    assert two.step(told("5")) == ((), 0.0, True)
    for each in (one, two):
        each.close()
    assert signal.getsignal(signal.SIGTERM) is before, "the library takes the signals of its own process only"
    assert env.files == (place / "own.py",)


def test_what_an_episode_does_wrong_is_told(place: Path) -> None:
    env = made(place)
    for first, why in (("fail", "verifiers: .*ToolError"), ("raise", "KeyError: 'mine'")):
        episode = begun(env, first)
        with pytest.raises(RuntimeError, match=why):
            episode.step(told("4"))
        episode.close()


def test_a_process_that_dies_is_looked_into_and_begins_anew(place: Path) -> None:
    env = made(place)
    other = begun(env, "a")
    episode = begun(env, "die")
    with pytest.raises(RuntimeError, match=f"ended with -{int(signal.SIGKILL)}"):
        episode.step(told("4"))
    with pytest.raises(RuntimeError, match="ended with"):
        other.step(told("4"))
    episode.close()
    other.close()
    assert begun(env, "a").step(told("4"))[1] == 1.0


def test_an_episode_that_is_left_is_ended(place: Path) -> None:
    env = made(place)
    episode = begun(env, "a")
    episode.close()
    assert begun(env, "a").step(told("4"))[1] == 1.0


def test_an_environment_that_cannot_be_loaded_is_told(place: Path) -> None:
    with pytest.raises(ValueError, match=r"TypeError: load_environment.* unexpected keyword argument 'size'"):
        made(place, arguments={"size": 3})(TASK).start()
    (place / "own.py").write_text("import os\nos._exit(7)\n\ndef load_environment(): ...\n")
    with pytest.raises(ValueError, match="the process that plays ended with 7"):
        made(place)(TASK).start()
    (place / "library" / "verifiers.py").write_text("__version__ = '0.4'")
    (place / "own.py").write_text("load_environment = 3")
    with pytest.raises(ValueError, match=r"verifiers 0\.4 has no load_environment; wanted is verifiers before 0\.4"):
        made(place)(TASK).start()


WRONG = [
    ({"id": 3}, "needs the environment"),
    ({"id": "nowhere-env"}, "no installed environment 'nowhere_env'"),
    ({"id": "own.py:nobody"}, "has no function"),
    ({"arguments": 3}, "a table of arguments"),
    ({"turns": 0}, "at least 1"),
    ({"turn": 3}, "no setting of verifiers'"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_what_is_no_environment_is_refused(place: Path, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made(place, **settings)


def test_the_package_is_named_where_it_is_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.envs.programs.verifiers_player.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'verifiers<0\.4'"):
        made(place)


SUMS = '''
import verifiers as vf
from datasets import Dataset


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: One.
        b: The other.
    """
    return a + b


def right(completion, answer, **row) -> float:
    return float(completion[-1]["content"].strip() == answer)


def load_environment():
    rows = Dataset.from_list([{"question": "x", "answer": "y"}])
    return vf.ToolEnv(tools=[add], max_turns=4, dataset=rows, rubric=vf.Rubric(funcs=[right]))
'''
CALL = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 2}}</tool_call>'


@pytest.mark.skipif(not REAL, reason="needs verifiers")
def test_the_real_package(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SUMS)
    env = made(tmp_path)
    one, two = env(TASK), env(TASK)
    for each in (one, two):
        assert [message.content for message in each.start()] == ["2 + 2?"]
    assert [tool["function"]["name"] for tool in one.tools] == ["add"]  # type: ignore[attr-defined]
    replies, _, _ = one.step(told(CALL))
    assert [(each.role, each.content) for each in replies] == [("tool", "4")]
    assert two.step(told("4 ")) == ((), 1.0, True)
    assert one.step(told("5")) == ((), 0.0, True)
    assert one.counts["edited"] == one.counts["begun"] == 0  # type: ignore[attr-defined]
