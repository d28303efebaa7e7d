"""Keys and values of finished sequences, kept while a conversation may go on, so that its next turn computes new tokens
only. It knows no model and no schedule.
"""

from __future__ import annotations

from togi.engines.shared_prompts import Prefix
from togi.types import Ids


class KeptSequences:
    """Sequences by their tokens, at most ``room`` bytes of them; what does not fit is not kept, and computed anew. Once
    something did not fit they are ``full``, and nothing more need be copied for them."""

    def __init__(self, room: int) -> None:
        self.room, self._size, self.full = room, 0, False
        self._kept: dict[Ids, Prefix] = {}

    def keep(self, ids: Ids, prefix: Prefix) -> None:
        """Keep a sequence, whose last tokens may lack keys and values."""
        size = sum(part.numel() * part.element_size() for part in (*prefix.keys, *prefix.values))
        if (begun := ids[: len(prefix)]) in self._kept:
            return
        self.full = self._size + size > self.room
        if not self.full:
            self._kept[begun] = prefix
            self._size += size

    def take(self, wanted: list[Ids]) -> dict[Ids, Prefix]:
        """For each of the prompts the longest sequence that it goes on from, where one was kept. All others are
        dropped: conversations that are not continued now have ended."""
        lengths = sorted({len(ids) for ids in self._kept}, reverse=True)
        found: dict[Ids, Prefix] = {}
        for ids in wanted:
            shorter = (ids[:length] for length in lengths if length < len(ids))
            if (begun := next((each for each in shorter if each in self._kept), None)) is not None:
                found[ids] = self._kept[begun]
        self._kept, self._size, self.full = {}, 0, False
        return found
