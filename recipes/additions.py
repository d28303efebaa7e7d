"""Sums in several steps, one step a line: the task of the process recipe.

``problem`` makes one problem: what is asked, the answer, and a worked solution.
"""

from __future__ import annotations

import random

CHANGES = 3


def problem(rng: random.Random) -> dict[str, str]:
    """A start and three changes by numbers below twenty: sums, and a few differences, which are harder."""
    total = rng.randint(15, 40)
    asked, steps = [f"Start with {total}."], []
    for _ in range(CHANGES):
        amount = rng.randint(3, 19)
        plus = rng.random() < 0.8 or total <= amount
        after = total + amount if plus else total - amount
        asked.append(f"{'Add' if plus else 'Subtract'} {amount}.")
        steps.append(f"{total} {'+' if plus else '-'} {amount} = {after}")
        total = after
    solution = "\n".join([*steps, f"The answer is {total}"])
    return {"prompt": f"{' '.join(asked)} What is the result?", "answer": str(total), "completion": solution}
