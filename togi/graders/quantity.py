"""The grader of a number with its unit, on pint; it runs in workers and is given that library's registry.

Only the unit is pint's to read, never the number, so nothing that a model writes is evaluated: "3 m + 2 m" is no
answer. Arithmetic is in fractions, so 300 cm is 3 m exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from togi.graders.answer_place import place_of
from togi.graders.doubt import doubtful
from togi.graders.lexemes import CURRENCY, fold, lexemes, plain, value
from togi.graders.marks import UNPARSED, WRONG, Mark, gold_text
from togi.graders.number import joined
from togi.graders.unit_words import in_english

LIBRARY = {"registry": "pint:UnitRegistry"}  # imported before the clock of a call starts
ATOM = r"(?:°?[^\W\d_]+|[°%‰])(?:(?:\^|\*\*)?-?\d)?"  # a unit's name and its power
UNIT = re.compile(rf"(?:{ATOM}(?:(?:\s*[*·/]\s*\(?|\s+){ATOM}\)?)*)?")
SIGNS = {"°C": "degC", "°F": "degF", "°": "deg", "%": "percent", "‰": "permille", "·": "*"}
CLOSING = re.compile(r"(?:です|である|だ)?[.,;:*`。\s]*$")
LONGEST = 60  # characters of a unit


@lru_cache(maxsize=1)
def _units(registry: Callable[..., Any]) -> Any:
    """Made at a worker's first call, where it takes about half a second of the clock."""
    return registry(non_int_type=Fraction)


def parse_quantity(text: str, *, own: bool = False) -> tuple[Fraction, str] | None:
    """The only number of a text and the unit after it, in pint's spelling ("" for none); None where there is a doubt.

    "3 m", "3m", "The distance is 3 m.", "1,500 km/h", "9.8 m/s^2", "20 °C", "42%". What follows the number is a unit
    or the end; what precedes it is read as by ``read_number``.
    """
    text = fold(text)
    found = lexemes(text)
    at = next((at for at, each in enumerate(found) if each.kind == "number"), None)
    if at is None:
        return None
    number, before = found[at], found[:at]
    amount = value(number.text)
    if amount is None or (before and number.follows(before[-1]) and joined(before[-1])) or _is_money(number.text, text):
        return None
    if doubtful(before, (), own=own):
        return None
    unit = re.sub(r"\s*\^\s*\{?(-?\d)\}?", r"^\1", plain(text[number.end :]))
    unit = CLOSING.sub("", unit).strip()
    unit = unit.rstrip("!").rstrip() if unit[:1] != "!" else unit
    if len(unit) > LONGEST or not UNIT.fullmatch(unit):
        return None
    unit = in_english(unit)
    for written, meant in SIGNS.items():
        unit = unit.replace(written, meant)
    return amount, re.sub(r"(?<=[^\W\d_])(?:\^|\*\*)?(-?\d)", r"**\1", unit)


def _is_money(number: str, text: str) -> bool:
    """Whether a number has a currency; a pair of dollars is LaTeX's."""
    return re.search(CURRENCY, number) is not None and not ("$" in number and text.count("$") % 2 == 0)


def quantity(
    *, text: str, gold: Any, tag: str, marker: str, tolerance: float, percent: str, registry: Callable[..., Any]
) -> Mark:
    units = _units(registry)
    right = _base(parse_quantity((gold_text(gold) or "").rpartition("####")[2]), units, percent)
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is not one number with a unit"}
    place = place_of(text, tag=tag, marker=marker)
    given = _base(parse_quantity(place.text, own=place.own), units, percent) if place else None
    if given is None:
        return UNPARSED
    if given[1] != right[1]:
        return WRONG
    off = abs(Fraction(given[0]) - Fraction(right[0]))
    return {"value": float(off <= Fraction(tolerance) * abs(Fraction(right[0]))), "parsed": 1.0}


def _base(found: tuple[Fraction, str] | None, units: Any, percent: str) -> tuple[Any, Any] | None:
    """The amount in base units, and what it is an amount of: its dimensions, or "percent" where that is its own."""
    if found is None:
        return None
    value, unit = found
    if unit == "percent" and percent == "unit":
        return value, "percent"
    try:
        base = units.Quantity(value, units.parse_units(unit) if unit else units.dimensionless).to_base_units()
    except Exception:  # whatever pint raises of text that names no unit: it knows no common error
        return None
    return base.magnitude, tuple(sorted((name, Fraction(power)) for name, power in base.dimensionality.items()))
