"""Judges that answer by a function of what they are shown, for tests that need no model and no server."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from togi.askers.asker import Reply, Request
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.grade import OpenGrade, judge
from togi.rewards.judge.preference import OpenPreference, preference
from togi.types import Message, Task, Trajectory, Turn

TASK = Task(id="t", prompt=(Message(role="user", content="What is 3 + 4?"),), answer="7")


def attempts(*texts: str) -> list[Trajectory]:
    return [Trajectory(turns=(Turn(prompt=(), completion=(), text=t, stop="eos"),), stop="eos") for t in texts]


class Scripted:
    """Replies by a function of the question's text; keeps what it was asked."""

    def __init__(self, reply: Callable[[str], Reply]) -> None:
        self.reply, self.calls, self.asked = reply, 0, list[Request]()

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        self.calls += 1
        self.asked += questions
        return [self.reply(question.messages[0].content) for question in questions]


def sides(text: str) -> tuple[str, str]:
    first, second = text.split("[Answer 1]\n> ")[1].split("[Answer 2]\n> ")
    return first.strip(), second.split("\n")[0].strip()


def compared(asker: Scripted, spec: preference | None = None, criteria: tuple[str, ...] = ("r",)) -> OpenPreference:
    return OpenPreference(spec or preference(), asker, criteria, prompts.COMPARE)


def graded(asker: Scripted, spec: judge | None = None, criteria: tuple[str, ...] = ("r",)) -> OpenGrade:
    return OpenGrade(spec or judge(), asker, criteria, prompts.RATE)


def soft(first: float) -> Reply:
    return Reply(logp={"1": math.log(first), "2": math.log(1 - first)})
