"""Whether a value that came out of a box is the one that was wanted; both are plain Python values by now.

A box hands over text that was decoded into plain values outside of it, so that no ``__eq__`` of a program's own takes
part. Nothing here runs foreign code.
"""

from __future__ import annotations

from fractions import Fraction
from math import isfinite, isnan
from typing import Any


def same(got: Any, wanted: Any, *, strict: bool = True, tolerance: float = 0.0) -> bool:
    """Equal by type and value, all the way down: 1, 1.0 and True differ, and so do [1] and (1,).

    ``strict`` false takes 1, 1.0 and True for the same number, as ``==`` does; lists and tuples still differ.
    ``tolerance`` is the largest absolute difference of floats, exactly that; nan is the same as nan alone.
    """
    if isinstance(wanted, int | float):
        if not isinstance(got, int | float) or (strict and type(got) is not type(wanted)):
            return False
        return _near(got, wanted, tolerance if isinstance(wanted, float) or isinstance(got, float) else 0.0)
    if type(got) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(
            same(one, other, strict=strict, tolerance=tolerance) for one, other in zip(got, wanted, strict=True)
        )
    if isinstance(wanted, dict):
        keys = {key: key for key in got}
        return len(got) == len(wanted) and all(
            key in keys
            and same(keys[key], key, strict=strict)
            and same(got[key], value, strict=strict, tolerance=tolerance)
            for key, value in wanted.items()
        )
    if isinstance(wanted, set | frozenset):
        members = {member: member for member in got}
        return len(got) == len(wanted) and all(
            member in members and same(members[member], member, strict=strict) for member in wanted
        )
    return bool(got == wanted)


def same_text(got: str, wanted: str) -> bool:
    """Equal line by line, but for white space at the end of lines and empty lines at the end."""
    return _lines(got) == _lines(wanted)


def _near(got: float, wanted: float, tolerance: float) -> bool:
    if got == wanted or (_nan(got) and _nan(wanted)):
        return True
    if not tolerance or not (_finite(got) and _finite(wanted)):
        return False
    # Fractions neither round nor overflow: 10**400 is an int that no float can be compared with by subtraction.
    return abs(Fraction(got) - Fraction(wanted)) <= Fraction(tolerance)


def _nan(value: float) -> bool:
    return isinstance(value, float) and isnan(value)


def _finite(value: float) -> bool:
    return isinstance(value, int) or isfinite(value)


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
