"""Calculations in a text, each read as its result where it is right: "6 · 7 = 42" says 42; it knows no grader."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from togi.graders.lexemes import Lexeme, value

SIGNS = {"+": "+", "-": "-", "*": "*", "·": "*", "⋅": "*", "×": "*", "x": "*", r"\times": "*", r"\cdot": "*"}
SIGNS |= {"/": "/", "÷": "/", ":": "/", r"\div": "/"}
MOST = 50  # numbers of one calculation


def with_results(found: Sequence[Lexeme]) -> list[Lexeme]:
    """The same lexemes, with one number for each calculation whose sides are equal, and one of them that number."""
    read: list[Lexeme] = []
    at = 0
    while at < len(found):
        end = _end(found, at)
        chain = found[at:end]
        if _right(chain):
            result = chain[-1] if chain[-2].text == "=" else chain[0]
            read.append(result._replace(start=chain[0].start, end=chain[-1].end, fresh=chain[0].fresh))
        else:
            read += chain
        at = end
    return read


def _end(found: Sequence[Lexeme], at: int) -> int:
    """Where a chain of numbers with signs between them ends."""
    end = at + 1
    while found[at].kind == "number" and end + 1 < len(found) and found[end + 1].kind == "number":
        if found[end].text not in SIGNS and found[end].text != "=":
            break
        end += 2
    return end


def _right(chain: Sequence[Lexeme]) -> bool:
    if not 3 <= len(chain) <= 2 * MOST or "=" not in (chain[1].text, chain[-2].text):
        return False
    sides: list[list[Lexeme]] = [[]]
    for each in chain:
        if each.text == "=":
            sides.append([])
        else:
            sides[-1].append(each)
    values = [_result(side) for side in sides]
    worked = any(len(side) > 1 or "/" in side[0].text for side in sides)
    return worked and values[0] is not None and len(set(values)) == 1


def _result(side: Sequence[Lexeme]) -> Fraction | None:
    """What one side comes to; None where a number cannot be read, or is divided by zero."""
    numbers = [value(each.text) for each in side[::2]]
    total, factor, sign = Fraction(0), numbers[0], "+"
    for mark, number in zip((SIGNS[each.text] for each in side[1::2]), numbers[1:], strict=True):
        if number is None or factor is None or (mark == "/" and not number):
            return None
        if mark == "*":
            factor *= number
        elif mark == "/":
            factor /= number
        else:
            total += factor if sign == "+" else -factor
            factor, sign = number, mark
    return None if factor is None else total + (factor if sign == "+" else -factor)
