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

from togi.rewards.grade import DOUBT, UNPARSED, WRONG, Mark, answer_text
from togi.rewards.grade_number import parse_number

LIBRARY = {"registry": "pint:UnitRegistry"}  # imported before the clock of a call starts
AMOUNT = re.compile(r"[+\-−]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?:/\d+)?|[+\-−]?\.\d+")
ATOM = r"(?:°?[^\W\d_]+|[°%])(?:(?:\^|\*\*)?-?\d|⁻?[¹²³])?"  # a unit's name and its power
UNIT = re.compile(rf"(?:{ATOM}(?:(?:\s*[*·/]\s*\(?|\s+){ATOM}\)?)*)?")
SIGNS = {"°C": "degC", "°F": "degF", "°": "deg", "%": "percent", "·": "*"}
POWERS = {"⁻¹": "**-1", "⁻²": "**-2", "⁻³": "**-3", "²": "**2", "³": "**3"}
LONGEST = 60  # characters of a unit


@lru_cache(maxsize=1)
def _units(registry: Callable[..., Any]) -> Any:
    """Made at a worker's first call, where it takes about half a second of the clock."""
    return registry(non_int_type=Fraction)


def parse_quantity(text: str) -> tuple[Fraction, str] | None:
    """The only number of a text and the unit after it, in pint's spelling ("" for none); None where there is a doubt.

    "3 m", "3m", "The distance is 3 m.", "1,500 km/h", "9.8 m/s^2", "20 °C", "42%". What follows the number is a unit
    or the end; a word before it is passed over, another number is a doubt.
    """
    text = text.strip().strip("*`$ \n").strip()
    found = AMOUNT.search(text)
    if found is None or DOUBT.search(text) or re.search(r"[\w.]$", text[: found.start()]):
        return None
    value, unit = parse_number(found[0]), text[found.end() :].strip().rstrip(".,;:!*`$ ")
    if value is None or len(unit) > LONGEST or not UNIT.fullmatch(unit):
        return None
    for written, meant in {**POWERS, **SIGNS}.items():
        unit = unit.replace(written, meant)
    return value, re.sub(r"(?<=[^\W\d_])(?:\^|\*\*)?(-?\d)", r"**\1", unit)


def quantity(
    *, text: str, gold: Any, tag: str, marker: str, tolerance: float, percent: str, registry: Callable[..., Any]
) -> Mark:
    units = _units(registry)
    right = _read(str(gold).rpartition("####")[2], units, percent)
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is not one number with a unit"}
    answer = answer_text(text, tag=tag, marker=marker)
    given = None if answer is None else _read(answer, units, percent)
    if given is None:
        return UNPARSED
    if given[1] != right[1]:
        return WRONG
    off = abs(Fraction(given[0]) - Fraction(right[0]))
    return {"value": float(off <= Fraction(tolerance) * abs(Fraction(right[0]))), "parsed": 1.0}


def _read(text: str, units: Any, percent: str) -> tuple[Any, Any] | None:
    """The amount in base units, and what it is an amount of: its dimensions, or "percent" where that is its own."""
    found = parse_quantity(text)
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
