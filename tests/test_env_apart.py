"""Environments in processes of their own: the same episodes, and what hangs, dies or leaks ends with its process."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_rollout import episodes, texts

from togi.envs import env_apart
from togi.envs.env_apart import EnvApart
from togi.envs.user_env import user_env
from togi.find_function import resolve
from togi.protocols import Abort
from togi.samplers.group import ask
from togi.types import Beside, Message, Score, Task, Trajectory

PLAY = """
import os, subprocess, sys, time
from togi import Abort, Message

class Play:
    state_key = "a"

    def __init__(self, task, hint="h"):
        self.task, self.hint, self.turn = task, hint, 0
        self.counts = {"steps": 0}
        self.harmless = "look"

    def start(self):
        print("noise of a user")
        return [{"role": "system", "content": "r"}, self.task.prompt[0]]

    def step(self, message):
        self.turn += 1
        self.counts["steps"] += 1
        self.state_key = f"at {self.turn}"
        how = self.task.info.get("how") if self.turn == 2 and message.content != "look" else None
        if how == "raises":
            raise KeyError("boom")
        if how == "own":
            raise type("Odd", (Exception,), {})("odd")
        if how == "dies":
            os._exit(3)
        if how == "hangs":
            time.sleep(60)
        if how == "hangs in C":
            import signal
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(60)
        if how == "void":
            raise Abort("gone")
        if how == "leaks":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            return str(child.pid), 0.5, True
        return f"{self.hint}{self.turn}", 0.5, self.turn == 3
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvApart:
    monkeypatch.setattr(env_apart, "GRACE", 0.3)
    (tmp_path / "play.py").write_text(PLAY)
    use = f"{tmp_path / 'play.py'}:Play"
    return EnvApart(own=user_env(use, resolve(use, tmp_path), {"hint": "n"}, 0.7), base=tmp_path)


def task(name: str, how: str = "") -> Task:
    prompt = (Message(role="user", content=f"ask {name}"),)
    return Task(id=name, prompt=prompt, answer={"x": (1, 2)}, info={"how": how})


def scored(task: Task, trajectories: list[Trajectory]) -> list[Score]:
    return [Score(value=float(len(each.turns))) for each in trajectories]


def test_the_same_is_played_in_other_processes(make: EnvApart) -> None:
    seen = []
    for env, beside in ((make.own, None), (make, None), (make, Beside(threads=3, seconds=9))):
        play = replace(episodes(scored, env=env)[0], beside=beside)  # type: ignore[arg-type]
        groups = play(ask([task("a"), task("b")], 2))
        [attempt, *_] = groups[0].trajectories
        assert attempt.counts == {"steps": 3.0}
        seen.append((texts(groups), [turn.state_key for turn in attempt.turns], attempt.turns[1].replies))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("how", "told", "fault"),
    [
        ("raises", "KeyError: 'boom'", "error"),
        ("own", "Odd: odd", "error"),
        ("dies", "RuntimeError: its process has ended", "error"),
        ("hangs", "TimeoutError: took longer than 0.7 s", "time"),
        ("hangs in C", "TimeoutError: took longer than 0.7 s; its process was killed", "time"),
        ("void", "Abort: gone", None),
    ],
)
def test_what_goes_wrong_is_counted_and_harms_nobody(make: EnvApart, how: str, told: str, fault: str | None) -> None:
    play = episodes(scored, env=make)[0]  # type: ignore[arg-type]
    bad, good = play(ask([task("bad", how), task("good")], 1))
    assert [score.status for score in good.scores] == ["ok"]
    [attempt] = bad.trajectories
    assert told in (attempt.error or "")
    assert attempt.own_fault == fault
    assert attempt.stop == ("abort" if how == "void" else "error")
    assert len(attempt.turns) == 2


def test_what_an_environment_started_ends_with_it(make: EnvApart) -> None:
    play = episodes(scored, env=make)[0]  # type: ignore[arg-type]
    [group] = play(ask([task("a", "leaks")], 1))
    number = int(group.trajectories[0].turns[-1].replies[0].content)
    until = time.monotonic() + 5
    while _runs(number) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _runs(number)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_file_that_can_no_longer_be_read_is_told(make: EnvApart) -> None:
    Path(make.own.use.rpartition(":")[0]).write_text("oh no")
    with pytest.raises(RuntimeError, match=r'makes ".*Play" has ended'):
        make(task("a"))


def test_void_is_void_here_too() -> None:
    assert type(env_apart._problem("Abort", "x")) is Abort
    assert type(env_apart._problem("UnicodeDecodeError", "x")).__name__ == "UnicodeDecodeError"
    assert type(env_apart._problem("SystemExit", "x")) is type(env_apart._problem("SystemExit", "y"))
