"""Which sequence has which row of the batch, and what was drawn of it; knows no model, no queue and no distribution.

Rows change places, with their keys and values, so that those that are drawn stand in front. In a conversation a
sequence keeps its row while its turn is answered. Axes: B some of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from togi.engines.key_value_cache import KeyValueCache
from togi.engines.stop_strings import StopStrings
from togi.types import Ids, Stop

_WAITING = 2  # a row that is drawn is not to stand behind more rows than twice those that are drawn


@dataclass(frozen=True, eq=False)
class Attempt:
    """One completion to draw: its number, its place among the prompts, how far it may grow, and why it stops there;
    ``begun`` is what is watched for stop strings along with what is drawn."""

    ticket: int
    prompt: int
    attempt: int
    ids: Ids
    seed: int
    limit: int
    full: Stop
    begun: Ids
    watch: StopStrings | None


@dataclass(frozen=True, eq=False)
class Waiting:
    """A row whose sequence waits for what is said next; ``begun`` of its tokens are computed, all but the last."""

    row: int
    ids: Ids

    @property
    def begun(self) -> int:
        return len(self.ids) - 1


class Rows:
    """Each row is free, or has a sequence that is drawn, or one that waits. Of those that are drawn, ``length`` counts
    the tokens of prompt and completion, of which the cache holds all but the last, and ``count`` the completion's."""

    def __init__(self, cache: KeyValueCache, tokens: int) -> None:
        """Rows of a cache, whose completions have at most so many tokens."""
        self._cache = cache
        self._attempts: list[Attempt | None] = [None] * cache.rows
        self._waiting: dict[int, Waiting] = {}  # by the ticket of the turn that ended
        self._going_on: set[int] = set()  # waited, and are to be drawn again
        self.seed = np.zeros(cache.rows, dtype=np.uint64)
        self.length = np.zeros(cache.rows, dtype=np.int64)
        self.count = np.zeros(cache.rows, dtype=np.int64)
        self.limit = np.zeros(cache.rows, dtype=np.int64)
        self._tokens = np.zeros((cache.rows, tokens), dtype=np.int64)
        self._logp = np.zeros((cache.rows, tokens), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def drawing(self) -> int:
        """How many sequences are drawn."""
        return sum(attempt is not None for attempt in self._attempts)

    def free(self) -> list[int]:
        """The rows without a sequence."""
        taken = self._going_on.union(waiting.row for waiting in self._waiting.values())
        return [row for row, attempt in enumerate(self._attempts) if attempt is None and row not in taken]

    def enter(self, row: int, attempt: Attempt) -> None:
        """Draw an attempt in this row."""
        self._going_on.discard(row)
        self._attempts[row] = attempt
        self.seed[row], self.length[row] = attempt.seed, len(attempt.ids)
        self.count[row], self.limit[row] = 0, attempt.limit

    def attempt(self, row: int) -> Attempt:
        attempt = self._attempts[row]
        assert attempt is not None
        return attempt

    def add(self, row_B: NDArray[np.int64], token_B: NDArray[np.int64], logp_B: NDArray[np.float32]) -> None:
        """Note one more token of each sequence."""
        count_B = self.count[row_B]
        self._tokens[row_B, count_B] = token_B
        self._logp[row_B, count_B] = logp_B
        self.count[row_B] += 1
        self.length[row_B] += 1

    def last(self, row_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """The newest token of each sequence."""
        return self._tokens[row_B, self.count[row_B] - 1]

    def completion(self, row: int) -> list[int]:
        completion: list[int] = self._tokens[row, : self.count[row]].tolist()
        return completion

    def logp(self, row: int) -> list[float]:
        """The log-probabilities of the completion's tokens."""
        logp: list[float] = self._logp[row, : self.count[row]].tolist()
        return logp

    def leave(self, row: int, *, waits: bool) -> None:
        """The sequence in this row has ended, and waits for what is said next."""
        attempt = self.attempt(row)
        self._attempts[row] = None
        if waits:
            self._waiting[attempt.ticket] = Waiting(row, (*attempt.ids, *self.completion(row)))

    def go_on(self, ids: Ids) -> Waiting | None:
        """The longest sequence that waits and that a prompt goes on from: its row is kept for the prompt."""
        found = [ticket for ticket, waiting in self._waiting.items() if ids[: len(waiting.ids)] == waiting.ids]
        if not found:
            return None
        waiting = self._waiting.pop(max(found, key=lambda ticket: len(self._waiting[ticket].ids)))
        self._going_on.add(waiting.row)
        return waiting

    def let_go(self, tickets: Iterable[int]) -> None:
        """No prompt goes on from these turns: their rows are free."""
        for ticket in tickets:
            self._waiting.pop(ticket, None)

    def let_go_some(self, most: int) -> None:
        """Free the rows of those that have waited longest: what goes on from them is computed anew."""
        self.let_go(list(self._waiting)[:most])

    def compact(self) -> NDArray[np.int64]:
        """Move the last sequences that are drawn into the gaps, and before most of those that wait; their rows."""
        drawn = [row for row, attempt in enumerate(self._attempts) if attempt is not None]
        for gap in self.free():
            if not drawn or gap > drawn[-1]:
                break
            last = drawn.pop()
            self._cache.move(last, gap, int(self.length[last]) - 1)
            self._moved(last, gap)
            drawn = sorted([*drawn, gap])
        for ticket, waiting in sorted(self._waiting.items(), key=lambda each: each[1].row):
            if not drawn or waiting.row > drawn[-1] or _WAITING * len(drawn) > drawn[-1]:
                break
            last = drawn.pop()
            self._cache.exchange(waiting.row, last, (waiting.begun, int(self.length[last]) - 1))
            self._moved(last, waiting.row)
            self._waiting[ticket] = Waiting(last, waiting.ids)
            drawn = sorted([*drawn, waiting.row])
        return np.array(drawn, dtype=np.int64)

    def _moved(self, source: int, target: int) -> None:
        self._attempts[target], self._attempts[source] = self._attempts[source], None
        for array in (self.seed, self.length, self.count, self.limit, self._tokens, self._logp):
            array[target] = array[source]
