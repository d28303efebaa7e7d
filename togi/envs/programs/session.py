"""One episode between its two sides: a program asks and waits, the environment takes what was asked and answers it. It
knows no HTTP and no model.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from togi.chat_protocol.read_request import Refusal
from togi.types import Message


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What a program waits for: the answer to these messages, which may call these tools."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    answer: Future[Message] = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The program is done: what it gave, or what it raised."""

    gave: Any = None
    raised: Exception | None = None


class Session:
    """Its ``name`` and ``key`` are secrets, so that nobody answers or asks in another episode's name."""

    def __init__(self) -> None:
        self.name, self.key = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        self._events = queue.SimpleQueue[Asked | Ended]()
        self._waiting = set[Asked]()
        self._over = False
        self._lock = threading.Lock()

    def ask(self, asked: Asked) -> None:
        """Raises Refusal once the episode is over."""
        with self._lock:
            if self._over:
                raise over()
            self._waiting.add(asked)
        self._events.put(asked)

    def ended(self, ended: Ended) -> None:
        self._events.put(ended)

    def next(self, seconds: float) -> Asked | Ended:
        """What the program does next. Raises TimeoutError where it does nothing for so long."""
        try:
            while isinstance(event := self._events.get(timeout=seconds), Asked) and event.answer.cancelled():
                pass  # whoever asked has gone away
        except queue.Empty:
            raise TimeoutError(f"the program neither asked the model nor ended within {seconds:g} s") from None
        return event

    def answer(self, asked: Asked, said: Message) -> None:
        with self._lock:
            self._waiting.discard(asked)
        with suppress(InvalidStateError):  # whoever asked has gone away
            asked.answer.set_result(said)

    def close(self) -> None:
        """Nothing is answered any more."""
        with self._lock:
            self._over, waiting, self._waiting = True, self._waiting, set()
        for asked in waiting:
            with suppress(InvalidStateError):
                asked.answer.set_exception(over())


def over() -> Refusal:
    return Refusal("there is no such episode, or it is over", status=410, code="episode_over")
