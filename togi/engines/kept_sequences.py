"""Keys and values of sequences that were drawn, for others that begin as they do; knows no row, no schedule, no model.

It only spares work: a beginning that is not kept, or no more, is computed. Axes: K key-value heads, P tokens, D width.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import takewhile

from togi.engines.shared_prompts import Prefix
from togi.types import Ids

MOST = 1 << 15
"""Tokens that are kept: about 0.8 GB for models of 135 million parameters in bfloat16."""


class KeptSequences:
    """Sequences in the order of their ids, at most ``most`` tokens together; the oldest make room."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._size = most, 0
        self._ids: list[Ids] = []
        self._prefixes: list[Prefix] = []
        self._oldest: deque[Ids] = deque()

    def keep(self, ids: Ids, prefix: Prefix) -> None:
        """Keep the keys and values of all of ``ids``, unless they are there or longer than all that is kept."""
        place = bisect_left(self._ids, ids)
        if (place < len(self._ids) and self._ids[place] == ids) or len(ids) > self._most:
            return
        while self._size + len(ids) > self._most:
            self._drop(self._oldest.popleft())
        place = bisect_left(self._ids, ids)
        self._ids.insert(place, ids)
        self._prefixes.insert(place, prefix)
        self._oldest.append(ids)
        self._size += len(ids)

    def beginning(self, ids: Ids) -> Prefix | None:
        """The keys and values of the longest beginning of ``ids`` that is kept, its last token left out: what that is
        continued with has to be computed. None where there is none."""
        # In the order of ids, what has most in common with a sequence stands next to it.
        place = bisect_left(self._ids, ids)
        near = [(_common(self._ids[at], ids), at) for at in (place - 1, place) if 0 <= at < len(self._ids)]
        length, at = max(near, default=(0, 0))
        length = min(length, len(ids) - 1)
        return self._prefixes[at].first(length) if length > 0 else None

    def _drop(self, ids: Ids) -> None:
        place = bisect_left(self._ids, ids)
        del self._ids[place], self._prefixes[place]
        self._size -= len(ids)


def _common(one: Ids, other: Ids) -> int:
    """How many tokens two sequences begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
