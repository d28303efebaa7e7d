"""The strict boxed grader of mathematics on math-verify; it runs in workers, and is given that library's functions.

math-verify's permissive reading pays for hedges and for numbers inside a failed formula, so only the content of one
``\\boxed{}`` is read. It still takes a tuple for a set and drops units ("3 km" for "3 m"). Its own clocks are off: they
silently turn a time-out into "wrong"; the pool's clock does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from togi.rewards.grade import UNPARSED, WRONG, Mark

LIBRARY = {  # what the graders are given: imported before the clock of a call starts
    "parse": "math_verify:parse",
    "verify": "math_verify:verify",
    "config": "math_verify:LatexExtractionConfig",
    "rational": "sympy:Rational",
}
Library = Callable[..., Any]
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def boxed(text: str) -> list[str]:
    """The contents of every ``\\boxed{}`` or ``\\fbox{}`` after the last ``</think>``, braces matched; a box that is
    not closed counts as empty."""
    text = text.rpartition("</think>")[2]
    found = []
    for opening in (r"\boxed{", r"\fbox{"):
        start = text.find(opening)
        while start >= 0:
            begin = start + len(opening)
            depth, end = 1, begin
            while end < len(text) and depth:
                depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
                end += 1
            found.append(text[begin : end - 1].strip() if depth == 0 else "")
            start = text.find(opening, end)
    return found


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

    right = read((boxed(str(gold)) or [str(gold).strip().strip("$")])[0])
    if not right:
        return {"bad_gold": f"math-verify cannot read the answer {gold!r}"}
    answers = boxed(text) if "<think>" not in text.rpartition("</think>")[2] else []
    if not answers:
        return UNPARSED
    if len(set(answers)) > 1:
        return WRONG
    given = read(answers[0])
    if not given:
        return UNPARSED
    if not _same_kind(answers[0], str(gold)):
        return WRONG
    exact = [value if isinstance(value, str) else value.doit() for value in (right[0], given[0])]
    if all(isinstance(value, rational) for value in exact):  # compared as decimals, 1/2004! and 0 would be equal
        return {"value": float(exact[0] == exact[1]), "parsed": 1.0}
    equal = verify(right, given, float_rounding=12, numeric_precision=30, strict=True, timeout_seconds=None)
    return {"value": float(bool(equal)), "parsed": 1.0}


def _same_kind(answer: str, gold: str) -> bool:
    """Refuse what math-verify reads too kindly: a percentage for a number, and "41=42" or "x=41=42" for 42."""
    if ("%" in answer) != ("%" in gold):
        return False
    left, *rights = answer.split("=")
    return "=" in gold or not rights or (len(rights) == 1 and any(character.isalpha() for character in left))
