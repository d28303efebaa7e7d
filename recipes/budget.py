"""Sums that are said again and again, as long as a stated budget allows: the task of the budget recipe.

``problem`` makes one: what is asked, the answer, and a worked solution that repeats its result a random number of
times, whatever budget is stated. So a model that only learned from these knows answers of all lengths and no budget.
"""

from __future__ import annotations

import random
from itertools import accumulate, pairwise

DIGITS = 4
SHORTEST, LONGEST = 20, 44  # characters of a worked solution, about


def problem(rng: random.Random) -> dict[str, str]:
    """One sum: 4+5+2+1 is worked out as 4+5=9+2=11+1=12, said again as =12=12, and > stands before the answer."""
    digits = [rng.randint(1, 5) for _ in range(DIGITS)]
    total = str(sum(digits))
    worked = str(digits[0]) + "".join(f"+{after - before}={after}" for before, after in pairwise(accumulate(digits)))
    room = rng.randint(SHORTEST, LONGEST) - len(f"{worked}>{total}")
    again = f"={total}" * max(0, round(room / len(f"={total}")))
    return {"prompt": "+".join(map(str, digits)), "answer": total, "completion": f"{worked}{again}>{total}"}
