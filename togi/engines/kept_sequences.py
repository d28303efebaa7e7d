"""Keys and values of sequences that were drawn, for others that begin as they do; knows no row, no schedule, no model.

It only spares work: a beginning that is not kept is computed.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import takewhile

from togi.engines.shared_prompts import Prefix
from togi.types import Ids

MOST = 1 << 15
"""Tokens that are kept: about 0.8 GB for models of 135 million parameters in bfloat16."""


class KeptSequences:
    """Sequences in the order of their ids, at most ``most`` tokens together. What comes when it is full is not kept:
    others mostly go on from what was drawn first, and not from what was drawn after that."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._size = most, 0
        self._ids: list[Ids] = []
        self._prefixes: list[Prefix] = []

    def keep(self, ids: Ids, prefix: Prefix) -> None:
        """Keep the keys and values of all of ``ids`` where there is room, in place of a sequence that they go on from,
        unless they are the beginning of another."""
        place = bisect_left(self._ids, ids)
        if place < len(self._ids) and self._ids[place][: len(ids)] == ids:
            return
        before = self._ids[place - 1] if place else ()
        gone_on = bool(before) and ids[: len(before)] == before
        size = self._size + len(ids) - (len(before) if gone_on else 0)
        if size > self._most:
            return
        self._size = size
        at = slice(place - gone_on, place)
        self._ids[at], self._prefixes[at] = [ids], [prefix]

    def beginning(self, ids: Ids) -> Prefix | None:
        """The keys and values of the longest beginning of ``ids`` that is kept, its last token left out: what that is
        continued with has to be computed. None where there is none."""
        # In the order of ids, what has most in common with a sequence stands next to it.
        place = bisect_left(self._ids, ids)
        near = [(_common(self._ids[at], ids), at) for at in (place - 1, place) if 0 <= at < len(self._ids)]
        length, at = max(near, default=(0, 0))
        length = min(length, len(ids) - 1)
        return self._prefixes[at].first(length) if length > 0 else None


def _common(one: Ids, other: Ids) -> int:
    """How many tokens two sequences begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
