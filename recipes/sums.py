"""Sums of several digits, for a model small enough to learn them from nothing in a minute: the task of the sums recipe.

``problem`` makes one: what is asked, the answer, and a worked solution in one of three ways. Some leave the steps out,
which a model this small gets wrong; most go through them once, and some twice, which takes more room than there is for
a long sum. So answers to one sum differ in length, some are cut off, and there is something to learn besides adding.
"""

from __future__ import annotations

import random
from itertools import accumulate, pairwise

FEWEST, MOST = 3, 7
WAYS = {"no steps": 1, "once": 2, "twice": 1}


def problem(rng: random.Random) -> dict[str, str]:
    """One sum: 4+7+2 is worked out as 4+7=11+2=13, and > stands before the answer."""
    digits = [rng.randint(1, 9) for _ in range(rng.randint(FEWEST, MOST))]
    way = rng.choices(list(WAYS), list(WAYS.values()))[0]
    worked, total = steps(digits), str(sum(digits))
    written = {"no steps": "", "once": worked, "twice": f"{worked} {worked}"}[way]
    return {"prompt": "+".join(map(str, digits)) + ":", "answer": total, "completion": f"{written}>{total}"}


def steps(digits: list[int]) -> str:
    """The sum with what it comes to after each digit."""
    return str(digits[0]) + "".join(f"+{b - a}={b}" for a, b in pairwise(accumulate(digits)))
