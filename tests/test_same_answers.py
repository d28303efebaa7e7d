"""An environment that answers the same messages otherwise is told of."""

from __future__ import annotations

import pytest
from test_rollout import Guess, episodes, task

from togi.envs import OneTurn
from togi.evidence.before.same_answers import other_answers
from togi.samplers.group import ask
from togi.types import Message, Task


class Counts(Guess):
    """Differs from object to object, in one place."""

    objects = 0
    place = ""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        Counts.objects += 1
        self.number = Counts.objects

    def start(self) -> tuple[Message, ...]:
        return (Message(role="user", content=f"go{self.number if self.place == 'start' else ''}"),)

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        if self.place == "raises" and self.number > 2:
            raise RuntimeError("no more")
        replies, reward, done = super().step(message)
        if self.place == "reply" and self.turns == 2:
            replies = (Message(role="user", content=str(self.number)),)
        return replies, reward + (self.number if self.place == "pay" else 0), done


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", None),
        ("start", "what it says first at task a"),
        ("reply", "its reply to turn 2 of task a"),
        ("pay", "what it pays for turn 1 of task a"),
        ("raises", "it raised RuntimeError at task a"),
    ],
)
def test_what_differs_is_told(place: str, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counts, "place", place)
    monkeypatch.setattr(Counts, "objects", 0)
    groups = episodes(env=Counts)[0](ask([task("a")], 2))
    assert other_answers(Counts, groups) == told


def test_a_single_answer_and_what_broke_are_not_played_again() -> None:
    groups = episodes(env=Guess)[0](ask([task("a", fails_at=1)], 2))
    Guess.made = 0
    assert other_answers(Guess, groups) is None
    assert other_answers(OneTurn, groups) is None
    assert Guess.made == 0
