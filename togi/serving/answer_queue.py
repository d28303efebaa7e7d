"""One thread that owns the engine, and the bounded queue before it. It knows no HTTP and no JSON.

Questions that wait together and are drawn alike are answered in one batch. What a question draws depends on its own
ids, sampling and seeds, so it is the same in any company.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from togi.engines.stop_strings import Decoder
from togi.protocols import HeardEngine
from togi.serving.growing_text import GrowingText
from togi.types import Prompt, Sampling, Turn

GATHERING = 0.01
"""Seconds that the first question waits for others which come with it."""


class QueueFull(Exception):
    """No room for another question now."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What was added to one choice: text that is certain, and, where they were asked for, the tokens drawn since, as
    text, with their log-probabilities."""

    choice: int
    text: str
    drawn: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A choice is whole."""

    choice: int
    turn: Turn


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The engine gave up."""

    reason: str


Event = Piece | Ended | Failed


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A prompt to answer. ``tell`` is called in the engine's thread; ``left`` is set when nobody waits any more."""

    prompt: Prompt
    sampling: Sampling
    pieces: bool
    logprobs: bool
    tell: Callable[[Event], None]
    left: threading.Event = field(default_factory=threading.Event)


class AnswerQueue:
    """Use as a context: the thread runs while it is open. ``most`` questions wait at a time."""

    def __init__(
        self, engine: HeardEngine, decoder: Decoder, eos_ids: frozenset[int], *, most: int, batch_size: int
    ) -> None:
        self._engine, self._decoder, self._eos, self._most, self._rows = engine, decoder, eos_ids, most, batch_size
        self._waiting: deque[Asked] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> AnswerQueue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join()

    def ask(self, asked: Asked) -> None:
        """Raises QueueFull."""
        with self._changed:
            if len(self._waiting) >= self._most:
                self._waiting = deque(each for each in self._waiting if not each.left.is_set())
            if len(self._waiting) >= self._most:
                raise QueueFull
            self._waiting.append(asked)
            self._changed.notify()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._answer(batch)
            except Exception as error:
                # The boundary to a foreign model's code: the next batch may go well.
                for asked in batch:
                    asked.tell(Failed(reason=str(error) or type(error).__name__))

    def _next(self) -> list[Asked]:
        """The question that waits longest, and those that are drawn like it, as far as there are rows."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
        self._closing.wait(GATHERING)
        if self._closing.is_set():
            return []
        with self._changed:
            batch: list[Asked] = []
            later: deque[Asked] = deque()
            rows = 0
            for asked in self._waiting:
                alike = not batch or asked.sampling == batch[0].sampling
                if alike and (not batch or rows + len(asked.prompt.seeds) <= self._rows):
                    batch.append(asked)
                    rows += len(asked.prompt.seeds)
                else:
                    later.append(asked)
            self._waiting = later
        return batch

    def _answer(self, batch: Sequence[Asked]) -> None:
        wanted = [asked for asked in batch if not asked.left.is_set()]
        if wanted:
            heard = _Batch([_Heard(asked, self._decoder, self._eos) for asked in wanted], self._closing)
            self._engine.generate([asked.prompt for asked in wanted], wanted[0].sampling, listener=heard)


@dataclass(frozen=True)
class _Batch:
    heard: Sequence[_Heard]
    closing: threading.Event

    def drawn(self, prompt: int, attempt: int, token: int, logp: float) -> bool:
        return self.heard[prompt].go_on(attempt, token, logp) and not self.closing.is_set()

    def ended(self, prompt: int, attempt: int, turn: Turn) -> None:
        self.heard[prompt].end(attempt, turn)


class _Heard:
    """What was told of one question so far."""

    def __init__(self, asked: Asked, decoder: Decoder, eos_ids: frozenset[int]) -> None:
        self._asked, self._decoder, self._eos = asked, decoder, eos_ids
        self._texts = [GrowingText(decoder, asked.sampling) for _ in asked.prompt.seeds]
        self._drawn: list[list[tuple[str, float]]] = [[] for _ in asked.prompt.seeds]

    def go_on(self, choice: int, token: int, logp: float) -> bool:
        if token not in self._eos:
            if self._asked.logprobs:
                self._drawn[choice].append((self._decoder.decode([token], skip_special_tokens=False), logp))
            if self._asked.pieces and (text := self._texts[choice].piece(token)):
                self._tell(choice, text)
        return not self._asked.left.is_set()

    def end(self, choice: int, turn: Turn) -> None:
        if turn.stop == "done":
            self._asked.tell(Failed(reason="the server is stopping"))
            return
        rest = self._texts[choice].rest(turn.text)
        if rest or self._drawn[choice]:
            self._tell(choice, rest)
        self._asked.tell(Ended(choice=choice, turn=turn))

    def _tell(self, choice: int, text: str) -> None:
        drawn, self._drawn[choice] = tuple(self._drawn[choice]), []
        self._asked.tell(Piece(choice=choice, text=text, drawn=drawn))
