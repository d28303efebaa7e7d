"""Pure text graders, from a completion and the right answer to marks; they run in workers and know no pool or task.

Each returns a mark: ``{"value": 0..1, "parsed": 0 or 1}``, or ``{"bad_gold": why}`` when the right answer itself
cannot be read. All are strict: what leaves a doubt about which answer was given is not an answer.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from togi.unicode_words import blank, ink

Mark = Mapping[str, Any]

WRONG: Mark = {"value": 0.0, "parsed": 1.0}
UNPARSED: Mark = {"value": 0.0, "parsed": 0.0}
NOTHING = ("", "none", "null", "nan")  # what programs write for an answer that is not there
DOUBT = re.compile(
    r"\b(?:not|or|nor|neither|either|cannot|maybe|perhaps|never|except|(?:anything|all) but|far from|instead of)\b"
    r"|\brather than\b|n['’]t\b",
    re.IGNORECASE,
)


def is_mark(value: Any) -> bool:
    """Whether this is what a grader gives, whoever wrote it."""
    if not isinstance(value, dict):
        return False
    if "bad_gold" in value:
        return isinstance(value["bad_gold"], str)
    parts = value.get("parts", {})
    shares = [value.get("value"), value.get("parsed"), *(parts.values() if isinstance(parts, dict) else [None])]
    return all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares)


def answer_text(text: str, *, tag: str = "answer", marker: str = "") -> str | None:
    """The part of a completion that is its answer, or None.

    What stands after the last ``</think>`` (an unclosed ``<think>`` has no answer); within it the content of
    ``<tag>…</tag>`` where such a tag is written (then exactly once), and what follows ``marker`` when one is asked for
    (exactly once too). Without tags and markers it is all of that text.
    """
    head, closed, tail = text.rpartition("</think>")
    if "<think>" in tail or (not closed and "<think>" in head):
        return None
    start, end = f"<{tag}>", f"</{tag}>"
    if tag and (start in tail or end in tail):
        if tail.count(start) != 1 or tail.count(end) != 1 or tail.index(end) < tail.index(start):
            return None
        tail = tail[tail.index(start) + len(start) : tail.index(end)]
    if marker:
        if tail.count(marker) != 1:
            return None
        tail = tail.partition(marker)[2]
    return None if blank(tail) else tail.strip()


def gold_text(gold: Any) -> str | None:
    """A task's own answer as text; None for what is neither a text nor a finite number, and for the word of such."""
    if isinstance(gold, bool) or not isinstance(gold, str | int | float):
        return None
    if isinstance(gold, float) and not math.isfinite(gold):
        return None
    return None if str(gold).strip().casefold() in NOTHING else str(gold)


def form(*, text: str, think: str, answer: str, min_think: int) -> Mark:
    """1 for exactly ``<think>…</think><answer>…</answer>`` with white space around, or ``<think>…</think>…`` when
    ``answer`` is empty; each tag once, nothing outside, and something to see in both."""
    body = r"(?P<rest>.+)" if not answer else f"<{answer}>(?P<rest>.+)</{answer}>"
    match = re.fullmatch(rf"\s*<{think}>(?P<thought>.+)</{think}>\s*{body}\s*", text, re.DOTALL)
    tags = [f"<{slash}{name}>" for name in (think, answer) if name for slash in ("", "/")]
    well_formed = (
        match is not None
        and all(text.count(tag) == 1 for tag in tags)
        and not blank(match["rest"])
        and ink(match["thought"]) >= max(1, min_think)
    )
    return {"value": float(well_formed), "parsed": 1.0}


def normal(text: str, case: bool) -> str:
    """Text up to white space, and up to case unless ``case``."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text if case else text.casefold()
