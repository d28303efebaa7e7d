"""Environments as TRL has them: reset with the row, methods as tools, the reward at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from togi.envs.open_env import open_env
from togi.envs.trl_env import TrlEnv
from togi.envs.user_env import UserEnv
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

COUNTER = '''
import time


class Counter:
    def __init__(self):
        self.total = 0

    def reset(self, **row) -> str | None:
        self.goal = int(row["answer"])
        return f" The goal is {self.goal}, {row['hint']}."

    def add(self, number: int) -> str:
        """Adds a number.

        Args:
            number: What is added.
        """
        if number > 99:
            raise OverflowError("too much")
        if number < 0:
            time.sleep(60)
        self.total += number
        return f"The total is {self.total}."

    async def look(self) -> int:
        """Shows the total."""
        return self.total

    def get_reward(self) -> float:
        return float(self.total == self.goal)

    def _hidden(self) -> None: ...


class Bare:
    def reset(self, **row): ...


class Needs:
    def __init__(self, size): ...
    def reset(self, **row): ...
    def go(self) -> str:
        """Goes."""


class Odd:
    def reset(self, **row):
        return 3
    def go(self) -> str:
        """Goes."""
    def get_reward(self):
        return "much"


class Ours:
    def __init__(self, task): ...
    def start(self):
        return "go"
    def step(self, message):
        return "", 0.0, True
    def reset(self): ...
'''
TASK = Task(id="t", prompt=(Message(role="user", content="Count."),), answer="5", info={"hint": "as you know"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trl")
    (folder / "counter.py").write_text(COUNTER)
    return folder


def made(place: Path, name: str = "Counter", **settings: Any) -> TrlEnv:
    env = open_env(f"counter.py:{name}", settings, place, Pool(workers=1, seconds=0.5))
    assert isinstance(env, TrlEnv)
    return env


def call(name: str, /, **arguments: Any) -> Message:
    return Message(
        role="assistant", content=f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"
    )


def test_public_methods_are_the_tools(place: Path) -> None:
    equipped = made(place).equipped(TASK)
    assert [tool["function"]["name"] for tool in equipped.tools] == ["add", "look"]
    assert equipped.tools[0]["function"]["parameters"]["properties"]["number"]["description"] == "What is added."
    assert made(place).files == (place / "counter.py",)


def test_an_episode_is_reset_with_the_row_and_paid_at_the_end(place: Path) -> None:
    env = made(place)(TASK)
    assert env.start()[0].content == "Count. The goal is 5, as you know."
    replies, reward, done = env.step(call("add", number=2))
    assert (replies[0].content, reward, done) == ("The total is 2.", 0.0, False)
    assert env.step(call("look"))[0][0].content == "2"
    assert env.step(call("add", number="3"))[0][0].content == "The total is 5."
    assert env.step(Message(role="assistant", content="Done.")) == ((), 1.0, True)


def test_each_episode_has_an_object_of_its_own(place: Path) -> None:
    one, other = made(place)(TASK), made(place)(TASK)
    for env in (one, other):
        env.start()
        assert env.step(call("add", number=1))[0][0].content == "The total is 1."


BAD_CALLS = [
    (call("add"), "error: number is missing"),
    (call("add", number="x"), "error: number: Input should be a valid integer"),
    (call("add", number=100), "error: OverflowError: too much"),
    (call("add", number=-1), "error: TimeoutError: took longer than 0.5 s"),
    (call("get_reward"), "error: there is no tool 'get_reward': add, look"),
    (call("_hidden"), "error: there is no tool '_hidden'"),
    (call("reset"), "error: there is no tool 'reset'"),
]


@pytest.mark.parametrize(("message", "told"), BAD_CALLS)
def test_a_bad_call_is_told(place: Path, message: Message, told: str) -> None:
    env = made(place)(TASK)
    env.start()
    replies, _, done = env.step(message)
    assert replies[0].content.startswith(told)
    assert not done


def test_a_class_with_start_is_one_of_ours(place: Path) -> None:
    assert isinstance(open_env("counter.py:Ours", {}, place, Pool(workers=1)), UserEnv)


WRONG = [
    ("Bare", {}, "has reset() and no other public method"),
    ("Needs", {}, "is made without arguments"),
    ("Counter", {"goal": 3}, "'goal' none of its settings"),
    ("Counter", {"form": "xml"}, 'wanted "template"'),
]


@pytest.mark.parametrize(("name", "settings", "why"), WRONG)
def test_what_is_no_such_environment_is_refused(place: Path, name: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as error:
        open_env(f"counter.py:{name}", settings, place, Pool(workers=1))
    assert why in str(error.value)


def test_what_makes_no_sense_is_told(place: Path) -> None:
    env = made(place, "Odd")(TASK)
    with pytest.raises(ValueError, match=r"Odd\.reset\(\) gave 3; wanted a text, or None"):
        env.start()
    with pytest.raises(ValueError, match=r"Odd\.get_reward\(\) gave 'much'; wanted a finite number"):
        env.step(Message(role="assistant", content="done"))
