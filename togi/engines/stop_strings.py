"""Watches a growing completion for stop strings; knows token ids and a decoder, no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

CLOSING = re.compile(r"\s*</[\w.-]+>\s*")
_PENDING = 8  # tokens held back at most: a UTF-8 character has four bytes


class Decoder(Protocol):
    """The part of a tokenizer that turns ids into text."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...


class StopStrings:
    """Looks for stop strings in one completion as it grows, decoding each token about twice.

    A token's text depends on its neighbours, so the text added is the difference of two decodings that start at the
    same earlier token; bytes that do not yet make a character are waited for.
    """

    def __init__(self, decoder: Decoder, stop: Sequence[str]) -> None:
        self._decoder, self._stop = decoder, tuple(stop)
        self._overlap = max(map(len, self._stop)) - 1
        self._tail = self._known = ""
        self._start = self._end = 0

    def found(self, tokens: Sequence[int]) -> bool:
        """Whether a stop string is in the text; ``tokens`` is the whole completion, one or more longer than before."""
        text = self._decoder.decode(tokens[self._start :], skip_special_tokens=True)
        fresh = text[len(self._known) :]
        seen = self._tail + fresh.rstrip("\ufffd")
        if any(stop in seen for stop in self._stop):
            return True
        if not fresh.endswith("\ufffd") or len(tokens) - self._end >= _PENDING:
            self._tail = (self._tail + fresh)[-self._overlap :] if self._overlap else ""
            self._start, self._end = self._end, len(tokens)
            self._known = self._decoder.decode(tokens[self._start :], skip_special_tokens=True)
        return False


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string, and with it where it is a closing tag (``</answer>``), which readers of
    tags need; the whole text when there is none."""
    places = [(text.find(each), each) for each in stop if each in text]
    if not places:
        return text
    begin, found = min(places)
    return text[:begin] + (found if CLOSING.fullmatch(found) else "")
