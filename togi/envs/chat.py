"""Conversations as environments. Knows messages only: no tokens, no scoring."""

from __future__ import annotations

from togi.protocols import Env
from togi.types import Message, Task


class OneTurn(Env):
    """Ask the task's prompt; the first answer ends the episode. What it is worth is left to the reward."""

    def __init__(self, task: Task) -> None:
        self._prompt = task.prompt

    def start(self) -> tuple[Message, ...]:
        return self._prompt

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        return (), 0.0, True

    def close(self) -> None:
        pass
