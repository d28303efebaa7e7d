"""Sums of several digits, for a model small enough to learn them from nothing in a minute: the task of the sums recipe.

``problem`` makes one: what is asked, the answer, and a worked solution in one of three ways: without steps, with them,
or going through them twice, which takes more room than there is for a long sum. So answers to one sum differ in length
and some are cut off, and a model has to find out which way suits it.
"""

from __future__ import annotations

import random
from itertools import accumulate, pairwise

FEWEST, MOST = 3, 7
WAYS = ("no steps", "once", "twice")


def problem(rng: random.Random) -> dict[str, str]:
    """One sum: 4+5+2 is worked out as 4+5=9+2=11, and > stands before the answer."""
    digits = [rng.randint(1, 5) for _ in range(rng.randint(FEWEST, MOST))]
    way = rng.choice(WAYS)
    worked, total = steps(digits), str(sum(digits))
    written = {"no steps": "", "once": worked, "twice": f"{worked} {worked}"}[way]
    return {"prompt": "+".join(map(str, digits)) + ":", "answer": total, "completion": f"{written}>{total}"}


def of_length(rng: random.Random, digits: int) -> dict[str, str]:
    """A sum of so many digits, worked out once: what the levels recipe is made of."""
    drawn = [rng.randint(1, 5) for _ in range(digits)]
    return {
        "prompt": "+".join(map(str, drawn)) + ":",
        "answer": str(sum(drawn)),
        "completion": f"{steps(drawn)}>{sum(drawn)}",
    }


def stepwise(rng: random.Random) -> dict[str, str]:
    """A sum whose steps stand apart: 4+5+2 is worked out as 4+5=9 9+2=11, and > stands before the answer."""
    digits = [rng.randint(1, 5) for _ in range(rng.randint(FEWEST, MOST))]
    totals = list(accumulate(digits))
    worked = " ".join(f"{a}+{b - a}={b}" for a, b in pairwise(totals))
    return {
        "prompt": "+".join(map(str, digits)) + ":",
        "answer": str(totals[-1]),
        "completion": f"{worked}>{totals[-1]}",
    }


def question(rng: random.Random) -> dict[str, str]:
    """A sum whose answer nobody wrote down; its worked solution shows how one is written."""
    row = problem(rng)
    return {"prompt": row["prompt"], "completion": row["completion"]}


def steps(digits: list[int]) -> str:
    """The sum with what it comes to after each digit."""
    return str(digits[0]) + "".join(f"+{b - a}={b}" for a, b in pairwise(accumulate(digits)))
