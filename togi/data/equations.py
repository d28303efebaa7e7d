"""The equations that a worked solution goes through, in their order; it knows no task and no model."""

from __future__ import annotations

import re
from itertools import pairwise

_WRITTEN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "$": None, ",": None})
# Numbers and signs around at least one "=", spaces between them left out: 4+5=9+2=11 are 4+5=9+2 and 9+2=11.
_CHAIN = re.compile(r"[0-9.+\-*/()%^]+(?:=[0-9.+\-*/()%^]+)+")


def equations(text: str) -> tuple[str, ...]:
    """``3 + 4 = 7 apples, 7 * 2 = $14.`` has 3+4=7 and 7*2=14. Spaces, thousands commas and how a sign is written make
    no difference. Two solutions with the same equations are the same reasoning in other words (RFT,
    https://arxiv.org/abs/2308.01825)."""
    # A space between two numbers stays: what stands on its two sides is not one number.
    joined = re.sub(r"(?<![0-9.])[ \t]+|[ \t]+(?![0-9.])", "", text.translate(_WRITTEN))
    found = []
    for chain in _CHAIN.findall(joined):
        sides = [side.strip(".") for side in chain.split("=")]
        found += [f"{left}={right}" for left, right in pairwise(sides) if left and right]
    return tuple(found)
