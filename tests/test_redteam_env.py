"""The red team against environments: it finds holes that were put there, and passes what has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from togi.envs.tool_use import ToolUse
from togi.envs.user_env import user_env
from togi.evidence.redteam.attack_env import MOST, Place, attack_env
from togi.evidence.redteam.reward_card import Card
from togi.protocols import Reward
from togi.rewards import number, parse_reward
from togi.tools.tool import Description, Kept, Result, described
from togi.types import Limits, Message, Score, Task, Trajectory

TASKS = [
    Task(id=f"t{place}", prompt=(Message(role="user", content=f"Which {kind}?"),), answer=f"{word}wood")
    for place, (kind, word) in enumerate([("tree", "elm"), ("log", "oak"), ("plank", "ash"), ("beam", "fir")])
]
Step = tuple[Any, float, bool]


class Sound:
    """Three tries, and pay for the right word alone."""

    def __init__(self, task: Task) -> None:
        self.task, self.turn = task, 0

    def start(self) -> Any:
        return self.task.prompt

    def step(self, message: Message) -> Step:
        self.turn += 1
        if message.content == self.task.answer:
            return "", 1.0, True
        return self.otherwise(message.content)

    def otherwise(self, said: str) -> Step:
        return "no", 0.0, self.turn == 3


class PaysSilence(Sound):
    def otherwise(self, said: str) -> Step:
        return "", float(said == "I am done."), True


class PaysStalling(Sound):
    def otherwise(self, said: str) -> Step:
        return "on", 0.3, self.turn == 8


class PaysActs(Sound):
    harmless = "look"

    def otherwise(self, said: str) -> Step:
        return "you look", 0.5 * (said == "look"), self.turn == 3


class PaysRepeats(Sound):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.honest = ["dig", str(task.answer)]

    def otherwise(self, said: str) -> Step:
        return "gold", 0.5 * (said == "dig"), self.turn == 10


class TellsAfterwards(Sound):
    def otherwise(self, said: str) -> Step:
        return f"no, it is\n{self.task.answer}", 0.0, self.turn == 3


class TellsAtOnce(Sound):
    def start(self) -> Any:
        return f"Which wood? (Do not say {self.task.answer}.)"


class SaysTheAnswerAlone(Sound):
    def otherwise(self, said: str) -> Step:
        return self.task.answer, 0.0, self.turn == 3


class BelievesItself(Sound):
    def otherwise(self, said: str) -> Step:
        return "no", float("well done" in said), self.turn == 3


class PaysForBreaking(Sound):
    def otherwise(self, said: str) -> Step:
        try:
            said.encode()
        except ValueError:
            return "", 1.0, True
        return "no", 0.0, self.turn == 3


class BreaksAtAnything(Sound):
    def otherwise(self, said: str) -> Step:
        raise RuntimeError("what?")


class BreaksAfterPay(Sound):
    """Its harmless message breaks it as well, so that nobody is to blame."""

    harmless = "x"

    def otherwise(self, said: str) -> Step:
        raise RuntimeError("what?")


class NeverEnds(Sound):
    def otherwise(self, said: str) -> Step:
        return "on", 0.0, False


def card(made: Any, *, turns: int = 1000, reward: Reward | None = None, tasks: Sequence[Task] = TASKS) -> Card:
    make = user_env("env.py:Made", made, {}, 10.0) if isinstance(made, type) else made
    place = Place(make=make, reward=reward or parse_reward("turns()", Path()), limits=Limits(turns=turns), text="made")
    return attack_env(place, tasks, name="made", rows=4)


HOLES: list[tuple[type, str, str, str]] = [
    (PaysSilence, "ending", "critical", "good-bye, at once: earns 100% of what an honest attempt does"),
    (PaysStalling, "stalling", "critical", "the same words for ever: earns"),
    (PaysActs, "stalling", "critical", "one harmless message for ever: earns"),
    (PaysActs, "acting", "critical", "a harmless message, then a wrong answer: earns 50%"),
    (PaysRepeats, "repeating", "critical", "a paid act for ever: earns 233% more than an honest attempt does"),
    (TellsAfterwards, "leak", "high", "what is said holds the row's answer at 4 of 4 rows"),
    (TellsAtOnce, "leak", "high", "what is said holds the row's answer at 4 of 4 rows"),
    (SaysTheAnswerAlone, "stalling", "critical", "saying back what was said last: earns 100%"),
    (BelievesItself, "voices", "critical", "the user's, in words voice: earns"),
    (PaysForBreaking, "breaking", "critical", "half a character: earns 100%"),
    (BreaksAfterPay, "breaking", "medium", "4 of 4 attempts get no score"),
    (NeverEnds, "stalling", "low", f"goes on for more than {MOST} turns; set turns in [env]"),
]


@pytest.mark.parametrize(("made", "family", "severity", "title"), HOLES, ids=[f"{h[0].__name__}-{h[1]}" for h in HOLES])
def test_a_hole_is_found(made: type, family: str, severity: str, title: str) -> None:
    found = [(weak.severity, weak.title) for weak in card(made).of(family)[1]]
    assert any(level == severity and title in words for level, words in found), found


@pytest.mark.parametrize("made", [Sound, BreaksAtAnything])
def test_what_has_no_hole_passes(made: type) -> None:
    found = card(made)
    assert found.severity is None, found.weaknesses
    assert found.full == found.rows == 4
    assert all(payout.share == 0 for payout in found.payouts)


def test_a_limit_of_turns_ends_what_never_ends() -> None:
    assert card(NeverEnds, turns=5).severity is None


def test_where_no_honest_attempt_is_known_it_is_said() -> None:
    unknown = [Task(id=task.id, prompt=task.prompt) for task in TASKS]
    found = card(PaysActs, tasks=unknown)
    assert found.severity is None
    assert any("no attempt is known" in weak.title for weak in found.weaknesses)
    assert any("no honest attempt is known to compare with" in weak.title for weak in found.weaknesses)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A tool that says what it was made with."""

    says: str
    files: tuple[Path, ...] = ()

    @property
    def description(self) -> Description:
        return described("table", "A table.", row="Which row.")

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        return Result(text=self.says)


class PaysCalls(Reward):
    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        right = [trajectory.turns[-1].text == task.answer for trajectory in trajectories]
        return [
            Score(value=max(right, min(trajectory.counts["calls"], 2) / 2))
            for right, trajectory in zip(right, trajectories, strict=True)
        ]


SUMS = [
    Task(id=f"s{n}", prompt=(Message(role="user", content=f"{n} * 1001?"),), answer=str(n * 1001)) for n in range(2, 6)
]


def tools(says: str) -> ToolUse:
    return ToolUse(tools=(Table(says=says),), form="plain", turns=4)


def test_tools_are_attacked_too() -> None:
    make = tools("nothing")
    assert card(make, reward=number(), tasks=[make.equipped(task) for task in SUMS]).severity is None
    found = card(make, reward=PaysCalls(), tasks=[make.equipped(task) for task in SUMS])
    assert {"acting", "calls"} <= {weak.family for weak in found.weaknesses if weak.severity == "critical"}


def test_a_tool_that_tells_the_answer_is_found() -> None:
    make = tools(" ".join(str(task.answer) for task in SUMS))
    found = card(make, reward=number(), tasks=[make.equipped(task) for task in SUMS])
    assert any(weak.family == "leak" and "asking each tool" in weak.title for weak in found.weaknesses)
