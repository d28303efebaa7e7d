"""Sums of four digits modulo 5, as text. In ``worked`` texts what the sum comes to on the way stands in brackets before
the answer; in ``hidden`` ones only the answer stands there, and whoever reads on has to think it up.

``kinds`` names the characters of a hidden text: the answer is *hard*, the signs are *easy*, and the digits that are
added are *free*: nobody can guess them. One sum in seven is in no text, and only asked about.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

DIGITS, MODULUS, KEPT = 4, 5, 7


def worked(rng: random.Random) -> dict[str, str]:
    """3+4+1+2=(3230)0, or without what is on the way, one in four."""
    digits = _digits(rng)
    way = "" if rng.random() < 0.25 else "(" + "".join(_on_the_way(digits)) + ")"
    return {"text": f"{_asked(digits)}{way}{_answer(digits)}"}


def hidden(rng: random.Random) -> dict[str, Any]:
    """3+4+1+2=0."""
    digits = _digits(rng)
    asked = _asked(digits)
    places: dict[str, list[list[int]]] = {"easy": [], "free": [], "hard": [[len(asked), len(asked) + 1]]}
    for at, sign in enumerate(asked):
        places["free" if sign.isdigit() else "easy"].append([at, at + 1])
    return {"text": f"{asked}{_answer(digits)}", "kinds": places}


def question(rng: random.Random) -> dict[str, str]:
    """A hidden text up to its answer, of a sum that is in no text."""
    digits = _digits(rng, asked=True)
    return {"prompt": _asked(digits), "answer": _answer(digits)}


def _digits(rng: random.Random, *, asked: bool = False) -> list[int]:
    while True:
        digits = [rng.randrange(MODULUS) for _ in range(DIGITS)]
        number = sum(digit * MODULUS**place for place, digit in enumerate(digits))
        if (number % KEPT == 0) == asked:
            return digits


def _asked(digits: list[int]) -> str:
    return "+".join(map(str, digits)) + "="


def _answer(digits: list[int]) -> str:
    return str(sum(digits) % MODULUS)


def _on_the_way(digits: list[int]) -> list[str]:
    return [str(total % MODULUS) for total in accumulate(digits)]
