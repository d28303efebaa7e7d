"""How many digits the numbers of a LaTeX formula can come to, so that no tower or factorial is worked out that no
machine holds; it understands no formula, and its bound is generous.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

TOKEN = re.compile(r"\d[\d.,]*|\\[a-zA-Z]+|\S")
OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")
SIZES = (r"\left", r"\right", r"\big", r"\Big", r"\bigg", r"\Bigg")
CHOOSING = (r"\binom", r"\dbinom", r"\tbinom")
LETTER = 0.45  # digits of e; other names are taken for no more
LARGEST = 9.0  # digits of an exponent; beyond, a power is as good as infinite


def digits(formula: str) -> float:
    """About the digits of the product of all numbers, names and powers; infinite where they are too many to count."""
    reader = _Reader([each for each in TOKEN.findall(formula) if each not in SIZES])
    total = 0.0
    while reader.at < len(reader.tokens):
        total += reader.product()
    return total


def _power(base: float, exponent: float) -> float:
    """The digits of a power, from those of its two parts; a factorial has no more than n to the n."""
    if not base:
        return 0.0
    return base * 10**exponent if exponent <= LARGEST else math.inf


@dataclass
class _Reader:
    tokens: list[str]
    at: int = 0

    def product(self) -> float:
        """Up to the bracket that closes what is read, and past it."""
        total = 0.0
        while self.at < len(self.tokens) and self.tokens[self.at] not in CLOSING:
            total += self._tower()
        self.at += 1
        return total

    def _tower(self) -> float:
        """One part with its factorials, and the exponents above it."""
        parts = [self._part()]
        while self._next() == "^":
            self.at += 1
            parts.append(self._part())
        height = parts.pop()
        while parts:
            height = _power(parts.pop(), height)
        return height

    def _part(self) -> float:
        while self._next() in ("-", "+"):
            self.at += 1
        token = self._next()
        self.at += 1
        if token[:1].isdigit():
            number = re.sub("[.,]", "", token)  # 0.5 to the n has n decimals
            size = math.log10(1 + int(number)) if len(number) <= LARGEST else float(len(number))
        elif token in OPENING:
            size = self.product()
        elif token.startswith("\\") and len(token) > 1:
            size = self._command(token)
        else:
            size = LETTER if token.isalpha() else 0.0
        while self._next() == "!":
            self.at += 1
            size = _power(size, size)
        return size

    def _command(self, name: str) -> float:
        """What stands in the braces that follow a command; n over k has no more digits than 2^n, nor than n^k."""
        groups = []
        while self._next() == "{":
            self.at += 1
            groups.append(self.product())
        if name in CHOOSING and len(groups) == 2:
            return min(_power(LETTER, groups[0]), _power(*groups))
        return sum(groups)

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""
