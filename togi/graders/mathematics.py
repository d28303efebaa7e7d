"""Graders of mathematics on math-verify; they run in workers, and are given that library's functions.

The strict one reads only the content of one ``\\boxed{}``, and refuses what math-verify takes too kindly: a tuple for
a set, "3 km" for "3 m", 42% for 42, "41=42" for 42. The permissive one is math-verify as it comes: it finds answers
that the strict one does not, and pays for hedges ("42 or 43") and for numbers inside a failed formula. The library's
own clocks are off in both: they silently turn a time-out into "wrong"; the pool's clock does not.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from togi.graders.answer_place import boxes, place_of
from togi.graders.answer_words import listed
from togi.graders.doubt import ANYWHERE, BELONGING, BESIDE
from togi.graders.lexemes import NUMERAL, Lexeme, fold, lexemes
from togi.graders.marks import UNPARSED, WRONG, Mark, gold_text
from togi.graders.number_size import digits
from togi.sandbox.workers.worker_call import TooLong

LIBRARY = {  # what the graders are given: imported before the clock of a call starts
    "parse": "math_verify:parse",
    "verify": "math_verify:verify",
    "config": "math_verify:LatexExtractionConfig",
    "rational": "sympy:Rational",
}
PERMISSIVE = {name: LIBRARY[name] for name in ("parse", "verify")}
LONGEST, DEEPEST = 1000, 12  # characters and nested brackets of an answer that is read
MOST = 100_000  # digits that the numbers of an answer may have in all, unless the right answer has more
DOUBLED = re.compile(r"!\s*!")  # read by some as a factorial of a factorial, by others as a double one
Library = Callable[..., Any]
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


FUNCTIONS = """sin, cos, tan, cot, sec, csc, arcsin, arccos, arctan, sinh, cosh, tanh, log, ln, lg, exp, sqrt, gcd, lcm,
    pi, inf, infinity, mod, floor, ceil, abs"""
SYMBOLS = frozenset("°∞√×÷·±∓≤≥≠∈∉∪∩∅∖⊂⊆∀∃∠△⊥∥→∑∏∫∂∇⟨⟩⌊⌋⌈⌉′″∧∨¬")
DROPPED = frozenset(  # by math-verify, silently
    ("?", ":", "_", "#", "@", "&", "'", "...", r"\ldots", r"\dots", r"\cdots", r"\phantom", r"\hphantom", r"\vphantom")
) | {r"\cancel", r"\bcancel", r"\xcancel", r"\sout"}
CHANGING = ANYWHERE | BELONGING | BESIDE | {"report", "condition", "moment", "revision"}


def boxed(text: str) -> str | None:
    """The content of the one ``\\boxed{}`` after the thinking; None where there is none, or it is in doubt."""
    place = place_of(text, tag="")
    return tidy(place.text) if place and place.own else None


def tidy(content: str) -> str:
    """A content with one width and one minus, without colours, dollars around it and a full stop after it."""
    content = re.sub(r"\\(?:text)?color\s*\{\s*[a-zA-Z]+\s*\}", "", fold(content)).strip()
    content = re.sub(r"^\$+(?=[^$]*[^$\\]\$+$)|(?<!\\)\$+$|(?:(?<=[^.])\.|。)$", "", content)
    return content.strip()


def odd(content: str, gold: str) -> bool:
    """Whether a content says something that is no mathematics, and that the right answer does not say too: words that
    change an answer, marks and letters of no formula, two numbers side by side."""
    known = {each.text.casefold() for each in lexemes(gold)}
    found = lexemes(content)
    beside = any(one.kind == other.kind == "number" and not other.follows(one) for one, other in pairwise(found))
    return beside or any(_odd(each) for each in found if each.text.casefold() not in known)


def _odd(each: Lexeme) -> bool:
    if each.kind == "word":
        text = each.text.casefold()
        greek = len(text) == 1 and unicodedata.name(text, "").startswith("GREEK")
        return not greek and not each.letter and each.effect in CHANGING and text not in listed(FUNCTIONS)
    if each.kind == "number":
        return any(mark in each.text for mark in (NUMERAL, ":", "_"))
    return each.text in DROPPED or not (each.text.isascii() or each.text in SYMBOLS)


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

    written = gold_text(gold)
    content = _content(written or "")
    right = read(content)
    if not right:
        return {"bad_gold": f"math-verify cannot read the answer {gold!r}"}
    answer = boxed(text)
    if not answer or odd(answer, content):
        return UNPARSED
    if len(answer) > LONGEST:
        raise TooLong(f"an answer of more than {LONGEST} characters is not read")
    flat = _flat(answer)
    if flat and digits(answer) > max(MOST, digits(content)):
        raise TooLong(f"an answer whose numbers have more than {MOST} digits is not worked out")
    given = read(answer) if flat else []
    if not given:
        return UNPARSED
    exact = [value if isinstance(value, str) else value.doit() for value in (right[0], given[0])]
    numbers = all(isinstance(value, rational) for value in exact)
    if not _same_kind(answer, content, numbers=numbers):
        return WRONG
    if numbers:  # compared as decimals, 1/2004! and 0 would be equal
        return {"value": float(exact[0] == exact[1]), "parsed": 1.0}
    equal = verify(
        right,
        given,
        float_rounding=12,
        numeric_precision=30,
        strict=True,
        allow_set_relation_comp=True,
        timeout_seconds=None,
    )
    return {"value": float(bool(equal)), "parsed": 1.0}


def permissive(*, text: str, gold: Any, parse: Library, verify: Library) -> Mark:
    """math-verify's default reading of everything after the thinking."""
    written = gold_text(gold) or ""
    content = _content(written)
    right = (parse(f"${content}$", parsing_timeout=None) or parse(written, parsing_timeout=None)) if written else []
    if not right:
        return {"bad_gold": f"math-verify cannot read the answer {gold!r}"}
    tail = text.rpartition("</think>")[2]
    given = parse(tail, parsing_timeout=None) if "<think>" not in tail else []
    if not given:
        return UNPARSED
    return {"value": float(bool(verify(right, given, timeout_seconds=None))), "parsed": 1.0}


def _content(gold: str) -> str:
    """What a task's own answer says, in a box or bare."""
    found = boxes(gold)
    return tidy(gold[found[0][0] : found[0][1]] if found else gold)


def _flat(content: str) -> bool:
    """Whether a content is flat enough, since reading takes ever longer with every bracket within brackets, and without
    "!!", which means two things."""
    depth = deepest = 0
    for character in content:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest <= DEEPEST and not DOUBLED.search(content)


def _same_kind(answer: str, gold: str, *, numbers: bool) -> bool:
    """Refuse what math-verify reads too kindly: a percentage for a number, "41=42" or "x=41=42" for 42, a tuple for a
    set, and, where both are ``numbers``, one unit for another."""
    if ("%" in answer) != ("%" in gold):
        return False
    left, *rights = answer.split("=")
    if "=" not in gold and rights and not (len(rights) == 1 and _letters(left)):
        return False
    brackets = (_bracket(answer), _bracket(gold))
    bare = answer if not brackets[0] else gold
    alone = not re.search(r"[,<>≤≥∈]|\\(?:[lg][et]|in)(?![a-z])|\\[lg]eq", bare)  # neither a list nor an inequality
    if set(brackets) == {"(", "{"} or ("" in brackets and set(brackets) & {"{", "["} and alone):
        return False
    return not numbers or "=" in answer or _letters(answer) == _letters(gold)


def _bracket(content: str) -> str:
    """The bracket that a content opens with, without LaTeX's sizes."""
    found = re.match(r"(?:\\left|\\[bB]igg?l?|\s)*(\\\{|[(\[])", content)
    return found[1][-1] if found else ""


def _letters(content: str) -> str:
    """What is written beside a number: its unit. LaTeX's commands are not, what stands in their braces is."""
    return "".join(re.findall(r"[^\W\d_]|°", re.sub(r"\\(?:[A-Za-z]+|.)", " ", content)))
