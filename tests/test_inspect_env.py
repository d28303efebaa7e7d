"""Tasks of inspect_ai, played in a process of their own: of a stand-in that is laid out like the package, and of the
package itself where it is there."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from togi.envs.open_env import open_env
from togi.envs.programs.program_env import ProgramEnv
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

pytest.importorskip("uvicorn", reason="needs the serve extra")
pytest.importorskip("openai", reason="needs OpenAI's client")
REAL = find_spec("inspect_ai") is not None
TASK = Task(id="t", prompt=(Message(role="user", content="2 + 2?"),), answer=4, info={"metadata": {"level": 3}})
CALL = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 2}}</tool_call>'

MODEL = """
from openai import AsyncOpenAI


class Said:
    def __init__(self, content=""):
        self.content = content


class ChatMessageUser(Said):
    role = "user"


class ChatMessageSystem(Said):
    role = "system"


class ChatMessageAssistant(Said):
    role = "assistant"


class Output:
    def __init__(self, message):
        self.message, self.completion = message, message.content


class Model:
    def __init__(self, base_url, api_key):
        self.client = AsyncOpenAI(base_url=base_url, api_key=api_key)

    async def generate(self, messages, tools):
        asked = [{"role": each.role, "content": each.content} for each in messages]
        said = await self.client.chat.completions.create(model="policy", messages=asked)
        return Output(ChatMessageAssistant(said.choices[0].message.content))

    async def generate_loop(self, messages, tools):
        output = await self.generate(messages, tools)
        return [output.message], output


def get_model(name, base_url, api_key, memoize):
    return Model(base_url, api_key)


ModelName = str
"""
SOLVER = """
class TaskState:
    def __init__(self, messages, **more):
        self.messages, self.tools, self.output, self.more = messages, [], None, more
"""
SCORER = """
class Score:
    def __init__(self, value):
        self.value = value


class Target(str):
    pass


def value_to_float():
    return lambda value: {"C": 1.0, "I": 0.0}.get(value, value)
"""
STAND_IN_TASK = """
from inspect_ai.model import ChatMessageUser
from inspect_ai.scorer import Score


class Task:
    sandbox = None

    def __init__(self, score=True, sandbox=None):
        self.scorer, self.sandbox = [self.score] if score else None, sandbox

    async def solver(self, state, generate):
        assert state.more["metadata"] == {"level": 3}
        state = await generate(state)
        state.messages.append(ChatMessageUser("Sure?"))
        return await generate(state, tool_calls="none")

    async def score(self, state, target):
        return Score("C" if state.output.completion == target else "I")


def sums(**how):
    return Task(**how)
"""
REAL_TASK = '''
from inspect_ai import Task, task
from inspect_ai.scorer import match
from inspect_ai.solver import generate, system_message, use_tools
from inspect_ai.tool import tool


@tool
def add():
    async def execute(a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: One.
            b: The other.
        """
        return str(a + b)

    return execute


@task
def sums():
    return Task(solver=[system_message("Be brief."), use_tools(add()), generate()], scorer=match())
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task of the user's; the stand-in is found before any real package."""
    package = tmp_path / "library" / "inspect_ai"
    package.mkdir(parents=True)
    for name, text in (("__init__", ""), ("model", MODEL), ("solver", SOLVER), ("scorer", SCORER)):
        (package / f"{name}.py").write_text(text)
    (tmp_path / "own.py").write_text(STAND_IN_TASK)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.delitem(sys.modules, "inspect_ai", raising=False)
    return tmp_path


def made(place: Path, **settings: Any) -> ProgramEnv:
    pool = Pool(workers=1, seconds=60.0, memory_mb=512)
    env = open_env("inspect", {"task": "own.py:sums", **settings}, place, pool)
    assert isinstance(env, ProgramEnv)
    return env


def told(text: str) -> Message:
    return Message(role="assistant", content=text)


def test_samples_are_played_side_by_side_and_scored(place: Path) -> None:
    env = made(place)
    one, two = env(TASK), env(TASK)
    for each in (one, two):
        assert [message.content for message in each.start()] == ["2 + 2?"]
        assert each.step(told("a"))[0] == (Message(role="user", content="Sure?"),)
    assert one.step(told("4")) == ((), 1.0, True)
    assert two.step(told("5")) == ((), 0.0, True)
    assert env.files == (place / "own.py",)


CANNOT = [({"sandbox": "docker"}, "needs a sandbox of inspect's"), ({"score": False}, "has no scorer"), ({"x": 1}, "x")]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "why"), CANNOT)
def test_what_cannot_be_played_is_told(place: Path, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made(place, arguments=arguments)(TASK).start()


WRONG = [
    ({"task": 3}, "needs the task"),
    ({"task": "own.py:nobody"}, "has no function"),
    ({"task": "sums"}, "needs the task"),
    ({"arguments": 3}, "a table of arguments"),
    ({"turns": 0}, "at least 1"),
    ({"id": "x"}, "no setting of inspect's"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_what_makes_no_sense_is_refused(place: Path, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made(place, **settings)


def test_the_package_is_named_where_it_is_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.envs.programs.inspect_player.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install inspect_ai openai"):
        made(place)


@pytest.mark.skipif(not REAL, reason="needs inspect_ai")
def test_the_real_package(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(REAL_TASK)
    env = made(tmp_path)
    one, two = env(TASK), env(TASK)
    for each in (one, two):
        assert [message.content for message in each.start()] == ["Be brief.", "2 + 2?"]
    assert [tool["function"]["name"] for tool in one.tools] == ["add"]  # type: ignore[attr-defined]
    replies, _, _ = one.step(told(CALL))
    assert [(each.role, each.content) for each in replies] == [("tool", "4")]
    assert two.step(told("It is 5")) == ((), 0.0, True)
    assert one.step(told("It is 4")) == ((), 1.0, True)
    assert one.counts["edited"] == one.counts["begun"] == 0  # type: ignore[attr-defined]
