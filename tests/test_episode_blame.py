"""Who is to blame where an environment raises: an attempt that breaks it earns 0, and a broken one costs nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from togi.envs.open_env import open_env
from togi.envs.step_clock import at_most
from togi.episode_blame import Blame, Said, all_of
from togi.protocols import Env
from togi.rollout import score
from togi.sandbox.workers.pool import Pool
from togi.types import Fault, Message, Score, Task, Trajectory, Turn

OWN = """
import itertools, json, time

class Base:
    calls = itertools.count()
    def __init__(self, task): self.task, self.said = task, []
    def start(self): return "q"
    def step(self, message):
        self.said.append(message.content)
        return self.take(message.content) or "more", 0.5, False

class Number(Base):
    def take(self, text): self.right = int(text) == int(self.task.answer)
class Never(Base):
    def take(self, text): raise RuntimeError("mine")
class OnlyWrong(Base):
    def take(self, text): assert text != self.task.answer, "lacks a column"
class Chance(Base):
    def take(self, text): assert text == self.task.answer or next(self.calls) % 2, "now and then"
class Tool(Base):
    harmless = '{"tool": "look"}'
    def take(self, text): json.loads(text)["tool"]
class NoForm(Base):
    def take(self, text): json.loads(text)["tool"]
class OfTheRow(Base):
    def __init__(self, task):
        super().__init__(task)
        self.harmless = task.answer * 2
    def take(self, text): assert len(text) == 2
class Wrongly(Base):
    def __init__(self, task):
        super().__init__(task)
        self.harmless = 7
    def take(self, text): assert text.islower()
class Second(Base):
    def take(self, text): assert len(self.said) < 2 or text != "bad"
class Dice(Base):
    def take(self, text):
        assert text != "bad"
        return f"roll {next(self.calls)}"
class Starts(Base):
    def start(self): raise OSError("no room")
class Closes(Base):
    def take(self, text): pass
    def close(self): assert "bad" not in self.said
class ClosesNever(Base):
    def take(self, text): pass
    def close(self): raise OSError("gone")
class Slow(Base):
    def take(self, text): time.sleep(60 * (text == "sleep"))
class Stubborn(Base):
    def take(self, text):
        while text == "loop":
            try: time.sleep(0.01)
            except Exception: pass
class AlwaysSlow(Base):
    def take(self, text): time.sleep(60)
class Deep(Base):
    def take(self, text): return str(self.depth(len(text)))
    def depth(self, n): return n and 1 + self.depth(n - 1)
class Eats(Base):
    def take(self, text): return "y" * (len(text) > 9 and 10**18)
class Speaks(Base):
    def take(self, text): return 3 if text == "bad" else "more"
class Exits(Base):
    def take(self, text): assert text != "bad", None
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blame")
    (folder / "own.py").write_text(OWN)
    return folder


CASES: list[tuple[str, str | None, list[str], Fault | None]] = [
    ("Number", "7", ["seven"], "error"),
    ("Number", "7", ["8", "", "nine"], "error"),  # only the second is looked at: the episode is over then
    ("Number", None, ["seven"], None),
    ("Number", "seven", ["eight"], None),
    ("Never", "7", ["7"], None),
    ("OnlyWrong", "7", ["7"], None),
    ("Chance", "7", ["8"], None),
    ("Tool", "7", ["not JSON"], "error"),
    ("Tool", "7", ["[]"], "error"),
    ("Tool", None, ['{"tool": 1}', "7"], "error"),
    ("NoForm", "7", ["not JSON"], None),
    ("OfTheRow", "x", ["x"], "error"),
    ("Wrongly", "x", ["X"], None),
    ("Second", "7", ["bad", "bad"], "error"),
    ("Second", None, ["ok", "bad"], "error"),
    ("Dice", "7", ["bad"], "error"),
    ("Dice", "7", ["ok", "bad"], None),
    ("Starts", "7", ["bad"], None),
    ("Closes", "7", ["ok", "bad"], "error"),
    ("Closes", "7", ["bad", "ok"], None),
    ("ClosesNever", "7", ["ok"], None),
    ("Slow", "7", ["sleep"], "time"),
    ("Stubborn", "7", ["loop"], "time"),
    ("AlwaysSlow", "7", ["7"], None),
    ("Deep", "7", ["x" * 100_000], "depth"),
    ("Eats", "7", ["x" * 10], "memory"),
    ("Speaks", "7", ["bad"], "error"),
    ("Exits", None, ["bad"], "error"),
]


def played(env: Env, says: Sequence[str]) -> tuple[list[Said], Exception | None]:
    """What was said in an episode, as far as it went, and what it raised."""
    said: list[Said] = []
    raised: Exception | None = None
    try:
        env.start()
        for text in says:
            said.append((text, ()))
            replies, _, _ = env.step(Message(role="assistant", content=text))
            said[-1] = (text, all_of(replies))
    except Exception as problem:
        raised = problem
    try:
        env.close()
    except Exception as problem:
        raised = raised or problem
    return said, raised


@pytest.mark.parametrize(("name", "answer", "says", "wanted"), CASES)
def test_the_one_who_broke_an_episode_is_told(
    folder: Path, name: str, answer: str | None, says: list[str], wanted: Fault | None
) -> None:
    task = Task(id="t", prompt=(Message(role="user", content="?"),), answer=answer)
    make = open_env(f"own.py:{name}", {}, folder, Pool(workers=1, seconds=0.1))
    said, raised = played(make(task), says)
    assert raised is not None
    blame = Blame(make=make, harmless=lambda task: str(task.answer or ""))
    assert blame.fault(task, said, raised) == wanted


def test_a_harmless_message_is_a_text(folder: Path) -> None:
    (folder / "wrong.py").write_text(
        "class E:\n    harmless = 3\n    def start(self): ...\n    def step(self, m): ...\n"
    )
    with pytest.raises(ValueError, match="names 3 as harmless; wanted a text"):
        open_env("wrong.py:E", {}, folder, Pool(workers=1))


def attempt(text: str, error: str | None = None, fault: Fault | None = None) -> Trajectory:
    turn = Turn(prompt=(1,), completion=(2,), text=text, stop="eos")
    return Trajectory(turns=(turn,), stop="error" if error else "eos", error=error, own_fault=fault)


@pytest.mark.parametrize(("graded", "earned"), [([1.0, 0.5], 0.0), ([-1.0, 1.0], -1.0), ([], 0.0)])
def test_breaking_an_environment_pays_no_more_than_any_sibling(graded: list[float], earned: float) -> None:
    def reward(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [Score(value=each, parts={"p": 1.0}, shares={"p": each}) for each in graded]

    task = Task(id="t", prompt=(Message(role="user", content="?"),))
    attempts = [attempt("bad", "environment: E", "error"), *(attempt("ok") for _ in graded), attempt("x", "OSError")]
    first, *between, last = score(reward, [(task, attempts)])[0]
    assert (first.status, first.value, first.own_fault) == ("ok", earned, "error")
    assert first.parts == ({"p": 0.0} if graded else {})
    assert sum(first.shares.values()) == earned
    assert "the completion's own fault" in first.note
    assert [each.value for each in between] == graded
    assert (last.status, last.own_fault, last.note) == ("error", None, "OSError")


@pytest.mark.parametrize(
    ("role", "paid", "others", "earned"),
    [
        ("", 0.0, [("", 1.0)], 0.0),
        ("", 0.0, [("", 1.0), ("", -1.0)], -1.0),
        ("x", 0.0, [("x", -1.0), ("y", -5.0)], -1.0),
        ("x", 0.0, [("y", -5.0)], 0.0),
        ("", -3.0, [], -3.0),
        ("", 2.0, [("", 1.0)], 0.0),
        ("", 2.0, [("", math.nan)], 0.0),
    ],
)
def test_breaking_it_pays_no_more_than_losing_elsewhere(
    role: str, paid: float, others: list[tuple[str, float]], earned: float
) -> None:
    """With a single attempt at each task there are no siblings that lost."""

    def reward(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        value = float(task.id)
        return [Score(value=value, status="error" if math.isnan(value) else "ok") for _ in trajectories]

    bad = attempt("bad", "environment: E", "error")
    bad = replace(bad, turns=(replace(bad.turns[0], reward=paid),), role=role)
    asked = [(Task(id=str(value), prompt=()), [replace(attempt("ok"), role=each)]) for each, value in others]
    (first,), *_ = score(reward, [(Task(id="t", prompt=()), [bad]), *asked])
    assert first.value == earned


def test_a_clock_lets_quick_code_be_and_an_older_alarm_go_on() -> None:
    def waits() -> None:
        with at_most(0.1):
            with at_most(30.0):
                pass
            time.sleep(60)

    with pytest.raises(TimeoutError, match=r"longer than 0\.1 s"):
        waits()
