"""Conversations as environments. Knows messages only: no tokens, no scoring."""

from __future__ import annotations

from dataclasses import replace

from togi.protocols import Env
from togi.types import Message, Task


def told_more(prompt: tuple[Message, ...], told: str) -> tuple[Message, ...]:
    """The prompt, with what an environment tells at its start at the end of its last message."""
    if not prompt:
        return (Message(role="user", content=told.lstrip("\n")),)
    return (*prompt[:-1], replace(prompt[-1], content=prompt[-1].content + told))


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
