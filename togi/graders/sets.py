"""Graders of intervals, sets and lists, exact in their numbers; they run in workers and know no pool or task."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import Any, Literal

from togi.graders.answer_place import place_of
from togi.graders.lexemes import fold, lexemes, plain
from togi.graders.marks import UNPARSED, Mark, gold_text, normal
from togi.graders.number import parse_number

Piece = tuple[Fraction | float, bool, Fraction | float, bool]
"""Low end, whether it belongs to the interval, high end, whether it does."""

INFINITY = float("inf")
ENDLESS = re.compile(r"[+]?(?:inf(?:inity)?|oo|∞)")
LATEX = {r"\cup": "∪", r"\infty": "∞", r"\in": "∈", r"\emptyset": "∅", r"\varnothing": "∅", r"\mathbb{R}": "R"}
LATEX |= {r"\lt": "<", r"\gt": ">", "≤": "<=", "≥": ">=", "≦": "<=", "≧": ">=", "⩽": "<=", "⩾": ">=", r"\lor": "∨"}
LATEX |= {rf"\{name}{slant}": sign for name, sign in (("le", "<="), ("ge", ">=")) for slant in ("", "q", "qslant")}
COMMAND = re.compile(r"\\mathbb\s*\{?R\}?|\\[a-zA-Z]+|[≤≥≦≧⩽⩾]")
PIECE = re.compile(r"([\[(])([^,\[\](){}]+),([^,\[\](){}]+)([\])])")
BETWEEN = re.compile(r"([^<>=]+)(<=?|>=?)([a-zA-Z])(<=?|>=?)([^<>=]+)")
ONE_SIDED = re.compile(r"([a-zA-Z])(<=?|>=?)([^<>=]+)|([^<>=]+)(<=?|>=?)([a-zA-Z])")
JOINED = re.compile(r"∪|(?<=[\])}])U(?=[\[({])")
EITHER = re.compile(r"\s+or\s+|\s*∨\s*")
LISTED = re.compile(r"\s*[,;、]\s*(?:(?:and|und|et|y)\s+)?|\s+(?:and|und|et|y)\s+|\s*[和と]\s*")
MOST = 1000  # items of a set, pieces of a union

Order = Literal["set", "list", "bag"]
BRACKETS = {"set": ("{}",), "list": ("[]", "()"), "bag": ("[]", "{}")}


def parse_intervals(text: str) -> tuple[Piece, ...] | None:
    """A union of intervals in its one normal form: sorted, apart from each other; None where it cannot be read.

    "(0, 1]", "x ∈ [2, inf)", "(-∞, 0) ∪ {1}", LaTeX's \\cup, \\infty and \\mathbb{R}, an inequality in one letter
    ("-1 < x <= 2", "3 >= x"), two of them joined by "or", and "∅" or "{}". Ends are numbers as ``parse_number`` reads
    them, without commas.
    """
    text = COMMAND.sub(lambda found: LATEX.get(re.sub(r"\\mathbb\s*\{?R\}?", r"\\mathbb{R}", found[0]), found[0]), text)
    text = bare(text)
    conditions = EITHER.split(text)
    if len(conditions) > 1:
        letters = [ONE_SIDED.fullmatch("".join(each.split())) for each in conditions]
        if len({found and (found[1] or found[6]) for found in letters}) > 1 or None in letters:
            return None
    parts = [part for each in conditions for part in JOINED.split("".join(each.split()))]
    if parts in (["∅"], ["{}"]):
        return ()
    pieces = [_piece(re.sub(r"^[a-zA-Z]∈", "", part)) for part in parts[: MOST + 1]]
    if len(pieces) > MOST or any(piece is None for piece in pieces):
        return None
    return _union([each for piece in pieces if piece is not None for each in piece])


def parse_items(text: str, order: Order, numbers: bool) -> list[Any] | None:
    """The items of a set or list; None where it cannot be read, or its brackets are those of the other.

    Items stand between commas or semicolons, without brackets, in {} (a set or bag), [] (a list or bag) or () (a
    list). A comma always parts, so numbers have none, and so does "and" between numbers.
    """
    text = bare(text)
    pair = text[:1] + text[-1:]
    if text[:1] in ("{", "[", "(") or text[-1:] in ("}", "]", ")"):
        if pair not in BRACKETS[order]:
            return None
        text = text[1:-1]
    if any(bracket in text for bracket in "{}[]()"):
        return None
    if not text.strip():
        return [] if pair in BRACKETS[order] else None
    items = [item.strip() for item in (LISTED if numbers else re.compile("[,;、]")).split(text)]
    if len(items) > MOST or not all(items):
        return None
    if not numbers:
        return [normal(item, case=False) for item in items]
    values = [parse_number(item, own=True) for item in items]
    leading = any(re.match(r"[+-]?0\d", item) for item in items)  # "1,000" is not the list of 1 and 0
    return None if leading or None in values else values


def bare(text: str) -> str:
    """An answer without LaTeX's dress and without the neutral words that lead to it: "The answer is {1, 2}."."""
    text = plain(fold(text))
    found = lexemes(text)
    start = 0
    for at, each in enumerate(found):
        if each.kind == "word" and each.effect in ("neutral", "copula"):
            if each.effect == "copula" and at:
                start = each.end
        elif each.text == ":":
            start = each.end
        else:
            break
    return re.sub(r"(?:です|である)?[.。\s]*$", "", plain(text[start:]))


def interval(*, text: str, gold: Any, tag: str, marker: str) -> Mark:
    right = parse_intervals(gold) if isinstance(gold, str) else None
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is no interval, as (0, 1] or [2, inf)"}
    place = place_of(text, tag=tag, marker=marker)
    given = parse_intervals(place.text) if place else None
    return UNPARSED if given is None else {"value": float(given == right), "parsed": 1.0}


def items(*, text: str, gold: Any, tag: str, marker: str, order: Order, numbers: bool) -> Mark:
    written = [gold_text(each) for each in gold] if isinstance(gold, list) else [gold_text(gold)]
    whole = None if None in written else ", ".join(str(each) for each in written)
    right = [] if gold == [] else whole and parse_items(whole, order, numbers)
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is no {order} of {'numbers' if numbers else 'texts'}"}
    place = place_of(text, tag=tag, marker=marker)
    given = parse_items(place.text, order, numbers) if place else None
    if given is None or (not numbers and any(_doubted(item) for item in given if item not in right)):
        return UNPARSED
    same = {"set": set(given) == set(right), "list": given == right, "bag": Counter(given) == Counter(right)}[order]
    return {"value": float(same), "parsed": 1.0}


def _doubted(item: str) -> bool:
    """Whether a text says no item, or more than one."""
    return any(each.effect in ("denial", "alternative", "hedge") for each in lexemes(fold(item)))


def _piece(text: str) -> list[Piece] | None:
    """One interval, a set of points, or an inequality."""
    if text == "R":
        return _between("-inf", False, "inf", False)
    if match := PIECE.fullmatch(text):
        return _between(match[2], match[1] == "[", match[3], match[4] == "]")
    if text[:1] + text[-1:] == "{}":
        points = [_end(point) for point in text[1:-1].split(",")]
        finite = [point for point in points if isinstance(point, Fraction)]
        return [(point, True, point, True) for point in finite] if len(finite) == len(points) else None
    if match := BETWEEN.fullmatch(text):
        left, first, _, second, right = match.groups()
        if first[0] != second[0]:
            return None
        ends = (left, "=" in first, right, "=" in second)
        return _between(*ends) if first[0] == "<" else _between(*ends[2:], *ends[:2])
    if match := ONE_SIDED.fullmatch(text):
        end, sign = (match[3], match[2]) if match[1] else (match[4], match[5])
        if (sign[0] == "<") == bool(match[1]):
            return _between("-inf", False, end, "=" in sign)
        return _between(end, "=" in sign, "inf", False)
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
