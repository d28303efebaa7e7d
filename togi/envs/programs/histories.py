"""The conversations that a program has with the model: which of them a request goes on with, and what it says anew.

A program sends the whole history each time. Where that is what was said before, with the model's own words unchanged,
only what is new in it is encoded, behind the tokens that were sampled. Everything else is another conversation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.types import Message


@dataclass(frozen=True, kw_only=True)
class Following:
    """``new`` messages of a ``conversation``. ``begun`` where it is one that was not there before; ``edited`` where it
    is, since something that the model said is told otherwise."""

    conversation: str
    new: tuple[Message, ...]
    begun: bool = False
    edited: bool = False


@dataclass
class _Talk:
    tools: str
    messages: tuple[Message, ...]
    by_model: frozenset[int] = frozenset()


class Histories:
    def __init__(self) -> None:
        self._talks: list[_Talk] = []

    def follow(self, messages: tuple[Message, ...], tools: Sequence[Mapping[str, Any]]) -> Following:
        """Where a request belongs; it is kept there."""
        shown = json.dumps(list(tools), sort_keys=True)
        going_on = [
            (len(talk.messages), number)
            for number, talk in enumerate(self._talks)
            if talk.tools == shown
            and len(messages) > len(talk.messages)
            and talk.messages == messages[: len(talk.messages)]
            and len(talk.messages) - 1 in talk.by_model
        ]
        if going_on:
            known, number = max(going_on)
            self._talks[number].messages = messages
            return Following(conversation=_name(number), new=messages[known:])
        edited = any(_edited(talk, messages) for talk in self._talks)
        self._talks.append(_Talk(tools=shown, messages=messages))
        return Following(conversation=_name(len(self._talks) - 1), new=messages, begun=True, edited=edited)

    def said(self, conversation: str, message: Message) -> None:
        """What the model answers there."""
        talk = self._talks[int(conversation or 0)]
        talk.by_model |= {len(talk.messages)}
        talk.messages = (*talk.messages, message)


def _name(number: int) -> str:
    return str(number) if number else ""


def _edited(talk: _Talk, messages: Sequence[Message]) -> bool:
    """Whether the first message that is told otherwise than before is one of the model's."""
    for place, (known, told) in enumerate(zip(talk.messages, messages, strict=False)):
        if known != told:
            return place in talk.by_model and told.role == "assistant"
    return False
