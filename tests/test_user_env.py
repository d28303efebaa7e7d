"""A user's own class as environment: what it may give, what is refused and where, and that a recipe plays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from togi.envs.open_env import open_env, opening
from togi.envs.user_env import UserEnv
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

TASK = Task(id="t", prompt=(Message(role="user", content="Name a colour."),), answer="red")

GUESS = """
class Guess:
    def __init__(self, task, hint="No.", most=2):
        self.task, self.hint, self.left = task, hint, most

    def start(self):
        return self.task.prompt

    def step(self, message):
        self.left -= 1
        right = message.content == self.task.answer
        return (self.hint if not right else ""), float(right), right or not self.left

class NoStep:
    def __init__(self, task): ...
    def start(self): ...

class Bare:
    pass

number = 3

def make(task):
    return Guess(task, most=1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guess.py").write_text(GUESS)
    return tmp_path


def said(*contents: str, role: Any = "user") -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for content in contents)


def test_an_episode_is_played_by_its_three_methods(folder: Path) -> None:
    make = open_env("guess.py:Guess", {"hint": "Another one."}, folder, Pool(workers=1))
    assert opening(make, TASK) == (TASK, TASK.prompt)
    env = make(TASK)
    assert env.start() == TASK.prompt
    assert env.step(Message(role="assistant", content="blue")) == (said("Another one."), 0.0, False)
    assert env.step(Message(role="assistant", content="red")) == ((), 1.0, True)
    env.close()  # the class has none
    assert make.files == (folder / "guess.py",)


def test_a_function_may_make_it(folder: Path) -> None:
    env = open_env("guess.py:make", {}, folder, Pool(workers=1))(TASK)
    assert env.step(Message(role="assistant", content="blue"))[2] is True


@pytest.mark.parametrize(
    ("use", "settings", "words"),
    [
        ("guess.py:Gues", {}, 'did you mean "Guess"'),
        ("nowhere.py:Guess", {}, "there is no file"),
        ("Guess", {}, "'Guess' is no environment"),
        ("no_such_module:Guess", {}, "there is no installed module"),
        ("guess.py:NoStep", {}, r"has no step\(\): an environment has start\(\)"),
        ("guess.py:Bare", {}, r"no start\(\) and no step\(\)"),
        ("guess.py:number", {}, "is int, and a function was wanted"),
        ("guess.py:Guess", {"hints": "x"}, r"Guess\(task, hints=…\): got an unexpected keyword argument 'hints'"),
        ("broken.py:Guess", {}, r"cannot be imported: ZeroDivisionError: division by zero \(.*broken.py, line 1\)"),
        ("half.py:Guess", {}, "is not valid Python"),
    ],
)
def test_what_is_no_environment_is_refused(folder: Path, use: str, settings: dict[str, Any], words: str) -> None:
    (folder / "broken.py").write_text("1 / 0\nclass Guess: ...\n")
    (folder / "half.py").write_text("class Guess(:\n")
    with pytest.raises(ValueError, match=words):
        open_env(use, settings, folder, Pool(workers=1))


GIVEN = [
    ("'hello'", said("hello")),
    ("('a', 'b')", said("a", "b")),
    ("['a', {'role': 'tool', 'content': 'b'}]", said("a") + said("b", role="tool")),
    ("{'role': 'system', 'content': 'x'}", said("x", role="system")),
    ("self.task.prompt[0]", TASK.prompt),
    ("self.task.prompt", TASK.prompt),
]
WRONG = [
    ("None", "gave no message"),
    ("''", "gave no message"),
    ("()", "gave no message"),
    ("3", "gave 3; wanted a text, or messages"),
    ("[3]", "gave 3; a message is a text"),
    ("{'role': 'robot', 'content': 'x'}", "a message is a text"),
    ("{'role': 'user'}", "a message is a text"),
    ("{'role': 'user', 'content': 3}", "a message is a text"),
    ("{'role': 'user', 'content': 'x', 'tool_calls': []}", "a message is a text"),
]


def giving(folder: Path, start: str = "'q'", step: str = "('', 0, True)") -> UserEnv:
    (folder / "given.py").write_text(
        f"class Given:\n    def __init__(self, task): self.task = task\n    def start(self): return {start}\n"
        f"    def step(self, message): return {step}\n"
    )
    return open_env("given.py:Given", {}, folder, Pool(workers=1))


@pytest.mark.parametrize(("start", "wanted"), GIVEN)
def test_messages_are_read_as_they_are_meant(folder: Path, start: str, wanted: tuple[Message, ...]) -> None:
    assert giving(folder, start)(TASK).start() == wanted
    assert giving(folder, step=f"({start}, 1, False)")(TASK).step(TASK.prompt[0]) == (wanted, 1.0, False)


@pytest.mark.parametrize(("start", "words"), WRONG)
def test_messages_that_make_no_sense_are_refused(folder: Path, start: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        giving(folder, start)(TASK).start()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("None", r"wanted \(replies, reward, done\)"),
        ("('', 1)", r"wanted \(replies, reward, done\)"),
        ("('', '1', True)", "wanted"),
        ("('', 1, 'yes')", "wanted"),
        ("('', float('nan'), True)", "wanted a finite number"),
        ("('', -float('inf'), True)", "wanted a finite number"),
        ("('', 10**400, True)", "wanted a finite number"),
        ("('', 0, False)", "gave no reply and did not end"),
        ("(3, 0, True)", "wanted a text, or messages"),
    ],
)
def test_steps_that_make_no_sense_are_refused(folder: Path, step: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        giving(folder, step=step)(TASK).step(TASK.prompt[0])


def test_it_is_put_away_after_its_opening(folder: Path) -> None:
    (folder / "shut.py").write_text(
        "closed = []\nclass Shut:\n    def __init__(self, task): ...\n    def start(self): return 1 / 0\n"
        "    def step(self, message): ...\n    def close(self): closed.append(1)\n"
    )
    make = open_env("shut.py:Shut", {}, folder, Pool(workers=1))
    with pytest.raises(ZeroDivisionError):
        opening(make, TASK)
    from togi.find_function import imported

    assert imported("shut.py:closed", folder) == [1]
