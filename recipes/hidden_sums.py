"""Sums of four digits modulo 10, as text. In ``worked`` texts all that the sum comes to on the way is written out; in
``hidden`` ones only the answer stands there, and whoever reads on has to think it up.

``kinds`` names the characters of a hidden text: the answer is *hard*, the signs are *easy*, and nobody can guess the
digits that are added.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

DIGITS = 4


def worked(rng: random.Random) -> dict[str, str]:
    """3+9+4+1:267=7, or without what is on the way, one in four."""
    digits = _digits(rng)
    way = "" if rng.random() < 0.25 else ":" + "".join(_on_the_way(digits))
    return {"text": f"{_asked(digits)}{way}={sum(digits) % 10}"}


def hidden(rng: random.Random) -> dict[str, Any]:
    """3+9+4+1=7."""
    digits = _digits(rng)
    asked = _asked(digits)
    signs = [[at, at + 1] for at, sign in enumerate(asked) if sign == "+"] + [[len(asked), len(asked) + 1]]
    summands = [[at, at + 1] for at, sign in enumerate(asked) if sign != "+"]
    kinds = {"easy": signs, "hard": [[len(asked) + 1, len(asked) + 2]], "free": summands}
    return {"text": f"{asked}={sum(digits) % 10}", "kinds": kinds}


def question(rng: random.Random) -> dict[str, str]:
    """A hidden text up to its answer."""
    digits = _digits(rng)
    return {"prompt": f"{_asked(digits)}=", "answer": str(sum(digits) % 10)}


def _digits(rng: random.Random) -> list[int]:
    return [rng.randint(0, 9) for _ in range(DIGITS)]


def _asked(digits: list[int]) -> str:
    return "+".join(map(str, digits))


def _on_the_way(digits: list[int]) -> list[str]:
    return [str(total % 10) for total in accumulate(digits)][1:]
