"""Graders of intervals, sets and lists, exact in their numbers; they run in workers and know no pool or task."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import Any, Literal

from togi.rewards.grade import DOUBT, UNPARSED, Mark, answer_text, normal
from togi.rewards.grade_number import parse_number

Piece = tuple[Fraction | float, bool, Fraction | float, bool]
"""Low end, whether it belongs to the interval, high end, whether it does."""

INFINITY = float("inf")
ENDLESS = re.compile(r"[+]?(?:inf(?:inity)?|oo|∞)")
LATEX = {r"\left": "", r"\right": "", r"\cup": "∪", r"\infty": "∞", r"\{": "{", r"\}": "}", "$": ""}
LATEX |= {r"\leq": "<=", r"\geq": ">=", r"\le": "<=", r"\ge": ">=", "≤": "<=", "≥": ">=", "−": "-", r"\emptyset": "∅"}
PIECE = re.compile(r"([\[(])([^,\[\](){}]+),([^,\[\](){}]+)([\])])")
CHAIN = re.compile(r"(?:([^<>=]+)(<=?))?([a-zA-Z])(<=?)([^<>=]+)|([a-zA-Z])(>=?)([^<>=]+)|([^<>=]+)(<=?)([a-zA-Z])")
MOST = 1000  # items of a set, pieces of a union

Order = Literal["set", "list", "bag"]
BRACKETS = {"set": ("{}",), "list": ("[]", "()"), "bag": ("[]", "{}")}


def parse_intervals(text: str) -> tuple[Piece, ...] | None:
    """A union of intervals in its one normal form: sorted, apart from each other; None where it cannot be read.

    "(0, 1]", "[2, inf)", "(-∞, 0) ∪ {1}", LaTeX's \\cup, \\infty and \\left, one inequality in one letter
    ("-1 < x <= 2", "x >= 3"), and "∅" or "{}". Ends are numbers as ``parse_number`` reads them, without commas.
    """
    text = text.strip().strip("*`. \n")
    for written, meant in LATEX.items():
        text = text.replace(written, meant)
    text = "".join(text.split())
    if text in ("∅", "{}"):
        return ()
    if DOUBT.search(text):
        return None
    pieces = [_piece(part) for part in re.split(r"∪|(?<=[\])}])U(?=[\[({])", text)]
    if len(pieces) > MOST or any(piece is None for piece in pieces):
        return None
    return _union([each for piece in pieces if piece is not None for each in piece])


def parse_items(text: str, order: Order, numbers: bool) -> list[Any] | None:
    """The items of a set or list; None where it cannot be read, or its brackets are those of the other.

    Items stand between commas or semicolons, without brackets, in {} (a set or bag), [] (a list or bag) or () (a
    list); a comma always parts, so numbers have none.
    """
    text = text.strip().strip("*`$. \n").replace(r"\{", "{").replace(r"\}", "}").strip()
    pair = text[:1] + text[-1:]
    if text[:1] in ("{", "[", "(") or text[-1:] in ("}", "]", ")"):
        if pair not in BRACKETS[order]:
            return None
        text = text[1:-1]
    if any(bracket in text for bracket in "{}[]()"):
        return None
    if not text.strip():
        return [] if pair in BRACKETS[order] else None
    items = [item.strip() for item in re.split(r"[,;]", text)]
    if len(items) > MOST or not all(items):
        return None
    if not numbers:
        return None if any(DOUBT.search(item) for item in items) else [normal(item, case=False) for item in items]
    values = [parse_number(item) for item in items]
    leading = any(re.match(r"[+-]?0\d", item) for item in items)  # "1,000" is not the list of 1 and 0
    return None if leading or any(value is None for value in values) else values


def interval(*, text: str, gold: Any, tag: str, marker: str) -> Mark:
    right = parse_intervals(str(gold))
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is no interval, as (0, 1] or [2, inf)"}
    answer = answer_text(text, tag=tag, marker=marker)
    given = None if answer is None else parse_intervals(answer)
    return UNPARSED if given is None else {"value": float(given == right), "parsed": 1.0}


def items(*, text: str, gold: Any, tag: str, marker: str, order: Order, numbers: bool) -> Mark:
    written = ", ".join(map(str, gold)) if isinstance(gold, list) else str(gold)
    right = [] if gold == [] else parse_items(written, order, numbers)
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is no {order} of {'numbers' if numbers else 'texts'}"}
    answer = answer_text(text, tag=tag, marker=marker)
    given = None if answer is None else parse_items(answer, order, numbers)
    if given is None:
        return UNPARSED
    same = {"set": set(given) == set(right), "list": given == right, "bag": Counter(given) == Counter(right)}[order]
    return {"value": float(same), "parsed": 1.0}


def _piece(text: str) -> list[Piece] | None:
    """One interval, a set of points, or an inequality."""
    if match := PIECE.fullmatch(text):
        return _between(match[2], match[1] == "[", match[3], match[4] == "]")
    if text[:1] + text[-1:] == "{}":
        points = [_end(point) for point in text[1:-1].split(",")]
        finite = [point for point in points if isinstance(point, Fraction)]
        return [(point, True, point, True) for point in finite] if len(finite) == len(points) else None
    if match := CHAIN.fullmatch(text):
        if match[3]:
            return _between(match[1] or "-inf", match[2] == "<=", match[5], match[4] == "<=")
        if match[6]:
            return _between(match[8], match[7] == ">=", "inf", False)
        return _between(match[9], match[10] == "<=", "inf", False)
    return None


def _between(low: str, has_low: bool, high: str, has_high: bool) -> list[Piece] | None:
    start, end = _end(low), _end(high)
    if start is None or end is None or start > end or (start == end and not (has_low and has_high)):
        return None
    if (abs(start) == INFINITY and has_low) or (abs(end) == INFINITY and has_high):
        return None
    return [(start, has_low, end, has_high)]


def _end(text: str) -> Fraction | float | None:
    if ENDLESS.fullmatch(text):
        return INFINITY
    if text[:1] == "-" and ENDLESS.fullmatch(text[1:]):
        return -INFINITY
    return None if re.match(r"[+-]?0\d", text) else parse_number(text)


def _union(pieces: list[Piece]) -> tuple[Piece, ...]:
    merged: list[Piece] = []
    for low, has_low, high, has_high in sorted(pieces, key=lambda piece: (piece[0], not piece[1])):
        if merged:
            start, has_start, end, has_end = merged[-1]
            if low < end or (low == end and (has_low or has_end)):
                most = max((end, has_end), (high, has_high))
                merged[-1] = (start, has_start, *most)
                continue
        merged.append((low, has_low, high, has_high))
    return tuple(merged)
