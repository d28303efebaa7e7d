"""The grader of one number, exactly, and the reading of numbers that others build on; it runs in workers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from togi.graders.answer_place import place_of
from togi.graders.calculation import with_results
from togi.graders.doubt import doubtful
from togi.graders.lexemes import UNITS, Lexeme, fold, lexemes, value
from togi.graders.marks import UNPARSED, WRONG, Mark, gold_text

MOST = 10  # times that an answer may be said


class Number(NamedTuple):
    """A number as it was written: 42% is 42 and a percentage."""

    value: Fraction
    percent: bool


def read_number(text: str, *, own: bool = False) -> Number | None:
    """The only number that a text says, once or more; None when there is none, another one, or a doubt about it.

    Reads signs, thousands commas, decimals, exponents, fractions, percent, currencies, LaTeX, and decimal digits of any
    script. In prose an unknown word is a noun ("Anna has 42 plums"), in a place of its ``own`` it is a doubt.
    """
    found = with_results(lexemes(fold(text)))
    places = [at for at, each in enumerate(found) if each.kind == "number"]
    numbers = {_amount(found, at, own=own) for at in places} if len(places) <= MOST else set()
    return numbers.pop() if len(numbers) == 1 else None


def _amount(found: Sequence[Lexeme], at: int, *, own: bool) -> Number | None:
    """One number among what precedes and follows it; None where letters are joined to it ("3x"), or it is in doubt."""
    number, before, after = value(found[at].text), found[:at], found[at + 1 :]
    if number is None or (
        found[at].text[0].isdecimal() and before and found[at].follows(before[-1]) and joined(before[-1])
    ):
        return None
    if after and after[0].follows(found[at]) and joined(after[0]) and after[0].text.casefold() not in UNITS:
        return None
    if _is_booked(before[-1:], found[at], after[:1]):
        return None
    percent = bool(after) and (after[0].text == "%" or after[0].effect == "percent")
    return None if doubtful(before, after[percent:], own=own) else Number(number, percent)


def _is_booked(before: Sequence[Lexeme], number: Lexeme, after: Sequence[Lexeme]) -> bool:
    """Whether it stands as accountants write a loss: "($42)"."""
    around = [each.text for each in (*before, *after)]
    return around == ["(", ")"] and not number.text[0].isdecimal() and number.text[0] not in "+-."


def joined(each: Lexeme) -> bool:
    """Whether it is a word of a script with spaces."""
    return each.kind == "word" and each.text[0] < "\u3000"


def parse_number(text: str, *, own: bool = False) -> Fraction | None:
    """The only number of a text; 42% is 0.42."""
    found = read_number(text, own=own)
    return found and (found.value / 100 if found.percent else found.value)


def number(*, text: str, gold: Any, tag: str, marker: str, tolerance: float, percent: str) -> Mark:
    """``percent``: "fraction" reads 42% as 0.42, "unit" lets only a percentage equal a percentage, "drop" reads 42."""
    right = read_number((gold_text(gold) or "").rpartition("####")[2])
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is not one number"}
    place = place_of(text, tag=tag, marker=marker)
    given = read_number(place.text, own=place.own) if place else None
    if given is None:
        return UNPARSED
    if percent == "unit" and given.percent != right.percent:
        return WRONG
    off = abs(_meant(given, percent) - _meant(right, percent))
    return {"value": float(off <= Fraction(tolerance)), "parsed": 1.0}


def _meant(said: Number, percent: str) -> Fraction:
    return said.value / 100 if said.percent and percent != "drop" else said.value
