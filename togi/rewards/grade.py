"""Pure text graders, from a completion and the right answer to marks; they run in workers and know no pool or task.

Each returns a mark: ``{"value": 0..1, "parsed": 0 or 1}``, or ``{"bad_gold": why}`` when the right answer itself
cannot be read. All are strict: what leaves a doubt about which answer was given is not an answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from togi.unicode_words import blank, ink

Mark = Mapping[str, Any]

WRONG: Mark = {"value": 0.0, "parsed": 1.0}
UNPARSED: Mark = {"value": 0.0, "parsed": 0.0}
DOUBT = re.compile(
    r"\b(?:not|or|nor|neither|either|cannot|maybe|perhaps|never|except|(?:anything|all) but|far from|instead of)\b"
    r"|\brather than\b|n['’]t\b",
    re.IGNORECASE,
)
CHUNK = re.compile(r"[\w.,/%+\-$€£^⁄]+")
PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"(?P<sign>[+-]?)[$€£]?(?:(?P<top>\d+)/(?P<bottom>\d+)|(?P<plain>{PLAIN})(?:[eE](?P<power>[+-]?\d{{1,3}}))?)"
    r"(?P<percent>%?)"
)
LONGEST = 400  # characters of a number; beyond, arithmetic on it would be the model's way to stall the grader


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


def parse_number(text: str) -> Fraction | None:
    """The only number of a text, exactly; None when there is none, more than one, or a doubt.

    Reads signs, thousands commas, decimals, exponents, fractions a/b, percent (42% is 0.42), a currency sign, and
    decimal digits of any script. A digit joined to letters ("3x", "km2"), "41-42", "41 or 42" and "not 42" are doubts.
    """
    text = "".join(_plain_character(character) for character in text)
    if DOUBT.search(text):
        return None
    chunks = [chunk for chunk in CHUNK.findall(text) if any(character.isnumeric() for character in chunk)]
    if len(chunks) != 1 or len(chunks[0]) > LONGEST:
        return None
    match = NUMBER.fullmatch(chunks[0].lstrip("_").rstrip("_.,"))
    if match is None:
        return None
    if match["top"]:
        if int(match["bottom"]) == 0:
            return None
        value = Fraction(int(match["top"]), int(match["bottom"]))
    else:
        value = Fraction(match["plain"].replace(",", "")) * Fraction(10) ** int(match["power"] or 0)
    if match["percent"]:
        value /= 100
    return -value if match["sign"] == "-" else value


def parse_choice(text: str, options: str) -> str | None:
    """The one letter of ``options`` that a text chooses, or None.

    "B", "b", "B.", "(B)", "**B**"; a first "B. Paris", "B) Paris", "(B) Paris", "B: Paris"; a last "… is B", "answer:
    B", "option (B)". A list ("A) x, B) y"), two different letters, or a doubt ("A or B", "not B"), choose nothing.
    """
    text = text.strip().strip("*_`$ \n").strip()
    letters = f"[{re.escape(options)}]"
    alone = re.fullmatch(rf"\(?({letters})\)?[.:)]?", text, re.IGNORECASE)
    if alone:
        return alone[1].upper()
    if DOUBT.search(text):
        return None
    found = set(re.findall(rf"\(({letters})\)", text))
    found |= set(re.findall(rf"^({letters})[.):]", text))
    found |= set(re.findall(rf"(?:\bis|\b[Aa]nswer|\b[Oo]ption|\b[Cc]hoice)\b:?\s+\**\(?({letters})\)?\**[.!]?$", text))
    listed = set(re.findall(rf"(?<!\w)({letters})[.):](?!\w)", text))
    return found.pop() if len(found) == 1 and len(found | listed) == 1 else None


def number(*, text: str, gold: Any, tag: str, marker: str, tolerance: float, percent: str) -> Mark:
    """``percent``: "fraction" reads 42% as 0.42, "unit" lets only a percentage equal a percentage, "drop" reads 42."""
    wanted = str(gold).rpartition("####")[2]
    right = parse_number(wanted.replace("%", "") if percent == "drop" else wanted)
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is not one number"}
    answer = answer_text(text, tag=tag, marker=marker)
    given = None if answer is None else parse_number(answer.replace("%", "") if percent == "drop" else answer)
    if answer is None or given is None:
        return UNPARSED
    if percent == "unit" and ("%" in answer) != ("%" in wanted):
        return WRONG
    return {"value": float(abs(given - right) <= Fraction(tolerance)), "parsed": 1.0}


def choice(*, text: str, gold: Any, tag: str, marker: str, options: str) -> Mark:
    right = parse_choice(str(gold), options)
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is not one of the letters {options}"}
    answer = answer_text(text, tag=tag, marker=marker)
    given = None if answer is None else parse_choice(answer, options)
    return UNPARSED if given is None else {"value": float(given == right), "parsed": 1.0}


def exact(*, text: str, gold: Any, tag: str, marker: str, case: bool) -> Mark:
    golds = gold if isinstance(gold, list) else [gold]
    if not golds or any(each is None or not str(each).strip() for each in golds):
        return {"bad_gold": f"the answer {gold!r} is empty"}
    answer = answer_text(text, tag=tag, marker=marker)
    if answer is None:
        return UNPARSED
    return {"value": float(normal(answer, case) in {normal(str(each), case) for each in golds}), "parsed": 1.0}


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


def _plain_character(character: str) -> str:
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    return {"\u2212": "-", "\uff0d": "-", "\u2044": "/"}.get(character, character)


def normal(text: str, case: bool) -> str:
    """Text up to white space, and up to case unless ``case``."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text if case else text.casefold()
