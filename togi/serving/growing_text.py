"""Gives the text of a completion in pieces as it grows. Together they are the text of the whole; it knows no model."""

from __future__ import annotations

from togi.engines.stop_strings import Decoder
from togi.types import Sampling

_BROKEN = "\ufffd"  # what a decoder writes for bytes that do not yet make a character


class GrowingText:
    """One completion. What may yet change is held back: half a character, and what may become a stop string."""

    def __init__(self, decoder: Decoder, sampling: Sampling) -> None:
        self._decoder, self._stop = decoder, sampling.stop
        self._longest = max(map(len, self._stop), default=1) - 1
        self._tokens: list[int] = []
        self._start = self._end = 0
        self._known = ""
        self._held = ""
        self._given = 0

    def piece(self, token: int) -> str:
        """What is certain now and was not before; nothing once a stop string is there."""
        self._tokens.append(token)
        text = self._decoder.decode(self._tokens[self._start :], skip_special_tokens=True)
        # A token's text depends on the one before it, so both of two decodings begin at the same earlier token.
        fresh = text[len(self._known) :]
        if not fresh or fresh.endswith(_BROKEN):
            return ""
        self._start, self._end = self._end, len(self._tokens)
        self._known = self._decoder.decode(self._tokens[self._start :], skip_special_tokens=True)
        self._held += fresh
        if any(stop in self._held for stop in self._stop):
            return ""
        return self._give(len(self._held) - self._unsure())

    def rest(self, text: str) -> str:
        """What was not given yet of the whole ``text``."""
        return text[self._given :]

    def _give(self, characters: int) -> str:
        piece, self._held = self._held[:characters], self._held[characters:]
        self._given += len(piece)
        return piece

    def _unsure(self) -> int:
        """How many of the last characters may be the beginning of a stop string."""
        for size in range(min(self._longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0
