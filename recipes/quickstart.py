"""Small word problems with worked solutions: the task of the quickstart recipe, and an example of a task of your own.

``problem`` makes one problem: what is asked, the answer, and a worked solution in the form the recipe wants. Togi
calls it with its own random generator until it has enough problems that differ, and keeps held-out problems apart.
"""

from __future__ import annotations

import random

NAMES = ["Ana", "Ben", "Chloe", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kim", "Liam", "Mona"]
THINGS = ["apples", "books", "coins", "cards", "eggs", "marbles", "pens", "shells", "stamps", "stickers"]
GAINS = ["finds", "buys", "gets", "picks up"]
LOSSES = ["gives away", "loses", "sells", "uses"]


def problem(rng: random.Random) -> dict[str, str]:
    """One problem of two steps over whole numbers: start, change, change."""
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    total = rng.randint(3, 20)
    sentences = [f"{name} has {total} {things}."]
    steps = []
    for word in ("", "Then "):
        sentence, step, total = change(rng, name, total)
        sentences.append(word + sentence)
        steps.append(step)
    question = f"How many {things} does {name} have now?"
    solution = f"<think>{' '.join(steps)}</think>\n<answer>{total}</answer>"
    return {"prompt": " ".join([*sentences, question]), "answer": str(total), "completion": solution}


def change(rng: random.Random, name: str, total: int) -> tuple[str, str, int]:
    """A sentence that changes the total, the step that follows it, and the new total."""
    kind = rng.choice(["gain", "gain", "loss", "loss", "double"])
    if kind == "double" and total <= 15:
        return f"{name} doubles that.", f"{total} * 2 = {total * 2}.", total * 2
    amount = rng.randint(2, 12)
    if kind == "loss" and total > amount:
        return f"{name} {rng.choice(LOSSES)} {amount}.", f"{total} - {amount} = {total - amount}.", total - amount
    return f"{name} {rng.choice(GAINS)} {amount} more.", f"{total} + {amount} = {total + amount}.", total + amount


DIRECTIONS = (
    "Solve the problem. Show each step inside <think></think>, "
    "then give only the final number inside <answer></answer>."
)


def directed_problem(rng: random.Random) -> dict[str, object]:
    """The same with directions as a system message, for models that were taught without one."""
    row = problem(rng)
    messages = [{"role": "system", "content": DIRECTIONS}, {"role": "user", "content": row["prompt"]}]
    return {**row, "prompt": messages}
