"""A calculator: whole numbers, fractions and decimals, exact as long as they stay short. It runs in a worker."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

LONGEST = 500  # characters of an expression
DIGITS = 200  # of a number on the way
DECIMALS = 10
SIGNS = {"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "^": "**"}
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
ACTIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda one, other: Fraction(one // other),
    ast.Mod: operator.mod,
}


def calculator(expression: str) -> str:
    """Computes an arithmetic expression.

    Args:
        expression: Numbers with + - * / // % ** and brackets, such as (17 + 4) * 2.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"the expression has more than {LONGEST} characters")
    for sign, plain in SIGNS.items():
        expression = expression.replace(sign, plain)
    expression = THOUSANDS.sub(lambda number: number[0].replace(",", ""), expression)
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} is no arithmetic expression") from error
    return shown(_value(tree.body))


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=bool() | str() | bytes() | complex() | None):
            pass
        case ast.Constant(value=int() as number):
            return _short(Fraction(number))
        case ast.Constant(value=float() as number):
            return Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ACTIONS:
            one, other = _value(left), _value(right)
            if not other and isinstance(op, ast.Div | ast.FloorDiv | ast.Mod):
                raise ValueError("division by zero")
            return _short(ACTIONS[type(op)](one, other))
    raise ValueError(f"{ast.unparse(node)!r} is not arithmetic: only numbers, + - * / // % ** and brackets are")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ValueError("only whole exponents can be computed")
    size = max(abs(base.numerator), base.denominator)
    if len(str(size)) * abs(exponent.numerator) > DIGITS and size > 1:
        raise ValueError(f"the result would have more than {DIGITS} digits")
    if not base and exponent < 0:
        raise ValueError("division by zero")
    return Fraction(base**exponent.numerator)


def _short(number: Fraction) -> Fraction:
    if max(abs(number.numerator), number.denominator).bit_length() > DIGITS * 3.33:
        raise ValueError(f"a number with more than {DIGITS} digits came up")
    return number


def shown(number: Fraction) -> str:
    """A whole number, or a decimal with at most ten places."""
    if number.denominator == 1:
        return str(number.numerator)
    scaled = round(number * 10**DECIMALS)
    sign, digits = "-" * (scaled < 0), str(abs(scaled)).rjust(DECIMALS + 1, "0")
    return f"{sign}{digits[:-DECIMALS]}.{digits[-DECIMALS:]}".rstrip("0").rstrip(".")
