"""Requests at one engine, drawn side by side: each joins when it comes. It knows no HTTP and no key.

One thread draws, and takes new weights between two conversations of the engine; whoever asks waits in a thread of its
own. What was asked before new weights came ends on the old ones, and what is asked after them waits for them. What a
request draws depends on its own tokens, seed and distribution, so it is the same when it comes again; one that comes
twice at a time is drawn once. What nobody waits for any more is not begun, and holds up nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded
from togi.types import Ids, Prompt, Sampling, Turn

GATHERING = 0.01
"""Seconds that the first request waits for others which come with it."""
LOOK = 0.5
"""Seconds between two looks whether who asked is still there."""
_FEWEST = 512  # tokens that a conversation has room for in each row, so that longer requests may join later


class Refused(Exception):
    """A request that is not answered; ``again`` says that it may be when it is made once more."""

    def __init__(self, note: str, *, again: bool = False) -> None:
        super().__init__(note)
        self.note, self.again = note, again


@dataclass(frozen=True, kw_only=True)
class Request:
    """One completion of at most ``limit`` tokens, drawn with the weights that are called ``model``. The distribution's
    own ``max_tokens`` says nothing here."""

    model: str
    ids: Ids
    seed: int
    limit: int
    sampling: Sampling
    ends: frozenset[int]


@dataclass(eq=False)
class _Asked:
    """A request for which so many are ``waiting``."""

    request: Request
    waiting: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    answer: list[Turn | Refused] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _NewWeights:
    name: str
    take: Callable[[], None]
    over: threading.Event = field(default_factory=threading.Event)
    refused: list[Refused] = field(default_factory=list)


class JoiningRequests:
    """The queue before an engine that draws from ``loaded``, whose weights are called ``name`` at first."""

    def __init__(self, loaded: Loaded, name: str, *, batch_size: int) -> None:
        self._loaded, self._batch_size = loaded, batch_size
        self.name = name
        self._queue: deque[_Asked | _NewWeights] = deque()
        self._open: dict[Request, _Asked] = {}
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._engines: dict[frozenset[int], NativeEngine] = {}

    def ask(self, request: Request, gone: Callable[[], bool] = lambda: False) -> Turn:
        """Wait for a completion, unless whoever asked is ``gone``. Raises Refused."""
        with self._changed:
            asked = self._open.get(request)
            if asked is None:
                asked = self._open[request] = _Asked(request)
                self._queue.append(asked)
                self._changed.notify()
            asked.waiting += 1
        while not asked.over.wait(LOOK):
            if gone():
                self._leave(asked)
                raise Refused("whoever asked has gone")
        [answer] = asked.answer
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _leave(self, asked: _Asked) -> None:
        with self._changed:
            asked.waiting -= 1
            if not asked.waiting and self._open.get(asked.request) is asked:
                del self._open[asked.request]  # who asks for the same from now on has it drawn

    def take(self, name: str, take: Callable[[], None]) -> None:
        """Once what was asked before has ended, have ``take`` change the weights, which are called ``name`` from then
        on. Raises Refused."""
        new = _NewWeights(name, take)
        with self._changed:
            self._queue.append(new)
            self._changed.notify()
        new.over.wait()
        if new.refused:
            raise new.refused[0]

    def still(self) -> float:
        """For how many seconds the engine has been at one thing."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def run(self) -> None:
        """Draw for ever, in this thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
            time.sleep(GATHERING)
            self._busy_since = time.monotonic()
            first = self._queue.popleft()
            if isinstance(first, _NewWeights):
                self._renew(first)
            elif not first.waiting:
                pass
            elif first.request.model != self.name:
                refused = Refused(f"there is no model {first.request.model} here, only {self.name}")
                self._answer([first], refused)
            else:
                self._converse(first)
            self._busy_since = None

    def _renew(self, new: _NewWeights) -> None:
        try:
            new.take()
            self.name = new.name
        except Exception as error:
            # The boundary to files that another process wrote.
            new.refused.append(Refused(str(error) or type(error).__name__))
        new.over.set()

    def _converse(self, first: _Asked) -> None:
        """Draw what is drawn like the first request, from when it comes, until nothing is left to draw."""
        kind, joining = first.request, [first]
        running: dict[int, _Asked] = {}
        try:
            room = self._room(first)
            sampling = replace(kind.sampling, max_tokens=room)
            with self._engine(kind.ends).conversation(sampling, self._batch_size) as talk:
                turns = 0
                while joining or running:
                    for prompt, same in _prompts(joining):
                        try:
                            talk.ask([prompt])
                        except ValueError as error:  # tokens that the model does not have
                            self._answer(same, Refused(str(error)))
                            continue
                        running.update(enumerate(same, turns))
                        turns += len(same)
                    for number, turn in talk.draw():
                        if number in running:
                            self._answer([running.pop(number)], turn)
                        talk.over([number])
                    # Where others are waited for, the rest is drawn on beside them.
                    running = {number: asked for number, asked in running.items() if asked.waiting}
                    self._busy_since = time.monotonic()
                    joining = self._joining(kind, room)
        except Exception as error:
            # The boundary to a foreign model's code. What it says of its numbers holds however often it is asked.
            refused = Refused(str(error) or type(error).__name__, again=not isinstance(error, ValueError))
            self._answer({*joining, *running.values()}, refused)

    def _room(self, first: _Asked) -> int:
        """The most tokens of a completion in a conversation: rounded up, so that longer ones may join later."""
        with self._changed:
            limits = [each.request.limit for each in (first, *self._queue) if isinstance(each, _Asked)]
        return min(1 << (max(_FEWEST, *limits) - 1).bit_length(), self._loaded.context)

    def _joining(self, kind: Request, room: int) -> list[_Asked]:
        """The requests at the front of the queue that are drawn like one of this kind, and for which there is room."""
        joining: list[_Asked] = []
        with self._changed:
            while self._queue and isinstance(asked := self._queue[0], _Asked):
                if _alike(asked.request) != _alike(kind) or asked.request.limit > room:
                    break
                self._queue.popleft()
                if asked.waiting:
                    joining.append(asked)
        return joining

    def _answer(self, all_asked: Iterable[_Asked], answer: Turn | Refused) -> None:
        for asked in all_asked:
            if not asked.over.is_set():
                with self._changed:
                    if self._open.get(asked.request) is asked:
                        del self._open[asked.request]
                asked.answer.append(answer)
                asked.over.set()

    def _engine(self, ends: frozenset[int]) -> NativeEngine:
        if ends not in self._engines:
            loaded = self._loaded
            self._engines[ends] = NativeEngine(loaded.model, loaded.tokenizer, ends, batch_size=self._batch_size)
        return self._engines[ends]


def _alike(request: Request) -> tuple[str, Sampling, frozenset[int]]:
    """What has to be the same of requests that are drawn side by side."""
    return request.model, request.sampling, request.ends


def _prompts(joining: Sequence[_Asked]) -> Iterator[tuple[Prompt, list[_Asked]]]:
    """The requests as prompts, in the order of their turns: those that go on from the same tokens are one, which is
    computed once."""
    together: dict[tuple[Ids, int], list[_Asked]] = {}
    for asked in joining:
        together.setdefault((asked.request.ids, asked.request.limit), []).append(asked)
    for (ids, limit), same in together.items():
        yield Prompt(ids=ids, seeds=tuple(asked.request.seed for asked in same), left=limit), same
