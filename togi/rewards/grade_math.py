"""Graders of mathematics on math-verify; they run in workers, and are given that library's functions.

The strict one reads only the content of one ``\\boxed{}``, and refuses what math-verify takes too kindly: a tuple for
a set, "3 km" for "3 m", 42% for 42, "41=42" for 42. The permissive one is math-verify as it comes: it finds answers
that the strict one does not, and pays for hedges ("42 or 43") and for numbers inside a failed formula. The library's
own clocks are off in both: they silently turn a time-out into "wrong"; the pool's clock does not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from togi.rewards.grade import DOUBT, UNPARSED, WRONG, Mark

LIBRARY = {  # what the graders are given: imported before the clock of a call starts
    "parse": "math_verify:parse",
    "verify": "math_verify:verify",
    "config": "math_verify:LatexExtractionConfig",
    "rational": "sympy:Rational",
}
PERMISSIVE = {name: LIBRARY[name] for name in ("parse", "verify")}
LONGEST, DEEPEST = 1000, 12  # characters and nested brackets of an answer that is read
Library = Callable[..., Any]
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


BEFORE = re.compile(rf"(?:{DOUBT.pattern})[\s:$*(\[\\]*$", re.IGNORECASE)
AFTER = re.compile(r"[\s,;.$*)\]\\]*(?:or|maybe|perhaps|(?:is|was)(?: not|n['’]t| wrong| false))\b", re.IGNORECASE)


def boxed(text: str) -> list[str]:
    """The contents of every ``\\boxed{}`` or ``\\fbox{}`` after the last ``</think>``, braces matched; a box that is
    not closed counts as empty."""
    text = text.rpartition("</think>")[2]
    return [text[begin : end - 1].strip() if end else "" for begin, end in _boxes(text)]


def _boxes(text: str) -> list[tuple[int, int]]:
    """Where each box's content begins, and the character after its brace; 0 for a box that is not closed."""
    found: list[tuple[int, int]] = []
    for opening in re.finditer(r"\\(?:boxed|fbox)\{", text):
        if found and opening.start() < found[-1][1]:
            continue  # a box in a box is content
        depth, end = 1, opening.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
            end += 1
        found.append((opening.end(), 0 if depth else end))
        if depth:
            break  # all that follows is within it; looking on would take forever for a text of nothing but openings
    return found


def denied(text: str) -> bool:
    """Whether the words right beside a box take it back: "not \\boxed{42}", "\\boxed{42}, or maybe not"."""
    text = text.rpartition("</think>")[2]
    return any(
        BEFORE.search(text[max(0, begin - 60) : text.rindex("\\", 0, begin)])
        or (end and AFTER.match(text[end : end + 60]))
        for begin, end in _boxes(text)
    )


def mathematics(*, text: str, gold: Any, parse: Library, verify: Library, config: Library, rational: type) -> Mark:
    def read(content: str) -> Any:
        found = parse(
            rf"\boxed{{{content}}}",
            extraction_config=[config(boxed_match_priority=0, try_extract_without_anchor=False)],
            extraction_mode="first_match",
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        return found if content else []

    content = (boxed(str(gold)) or [str(gold).strip().strip("$")])[0]
    right = read(content)
    if not right:
        return {"bad_gold": f"math-verify cannot read the answer {gold!r}"}
    answers = boxed(text) if "<think>" not in text.rpartition("</think>")[2] else []
    if not answers or denied(text):
        return UNPARSED
    if len(set(answers)) > 1:
        return WRONG
    given = read(answers[0]) if _bounded(answers[0]) else []
    if not given:
        return UNPARSED
    exact = [value if isinstance(value, str) else value.doit() for value in (right[0], given[0])]
    numbers = all(isinstance(value, rational) for value in exact)
    if not _same_kind(answers[0], content, numbers=numbers):
        return WRONG
    if numbers:  # compared as decimals, 1/2004! and 0 would be equal
        return {"value": float(exact[0] == exact[1]), "parsed": 1.0}
    equal = verify(right, given, float_rounding=12, numeric_precision=30, strict=True, timeout_seconds=None)
    return {"value": float(bool(equal)), "parsed": 1.0}


def permissive(*, text: str, gold: Any, parse: Library, verify: Library) -> Mark:
    """math-verify's default reading of everything after the thinking."""
    content = (boxed(str(gold)) or [str(gold).strip().strip("$")])[0]
    right = parse(f"${content}$", parsing_timeout=None) or parse(str(gold), parsing_timeout=None)
    if not right:
        return {"bad_gold": f"math-verify cannot read the answer {gold!r}"}
    tail = text.rpartition("</think>")[2]
    given = parse(tail, parsing_timeout=None) if "<think>" not in tail else []
    if not given:
        return UNPARSED
    return {"value": float(bool(verify(right, given, timeout_seconds=None))), "parsed": 1.0}


def _bounded(content: str) -> bool:
    """Whether a content is short and flat enough: reading takes ever longer with every bracket within brackets."""
    depth = deepest = 0
    for character in content:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return len(content) <= LONGEST and deepest <= DEEPEST


def _same_kind(answer: str, gold: str, *, numbers: bool) -> bool:
    """Refuse what math-verify reads too kindly: a percentage for a number, "41=42" or "x=41=42" for 42, a tuple for a
    set, and, where both are ``numbers``, one unit for another."""
    if ("%" in answer) != ("%" in gold):
        return False
    left, *rights = answer.split("=")
    if "=" not in gold and rights and not (len(rights) == 1 and _letters(left)):
        return False
    if {_bracket(answer), _bracket(gold)} == {"(", "{"}:
        return False
    return not numbers or "=" in answer or _letters(answer) == _letters(gold)


def _bracket(content: str) -> str:
    """The bracket that a content opens with, without LaTeX's sizes."""
    return re.sub(r"\\left|\\[bB]igg?l?|[\\\s]", "", content)[:1]


def _letters(content: str) -> str:
    """What is written beside a number: its unit. LaTeX's commands are not, what stands in their braces is."""
    return "".join(re.findall(r"[^\W\d_]|°", re.sub(r"\\(?:[A-Za-z]+|.)", " ", content)))
