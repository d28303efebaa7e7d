"""Sums of two numbers of so many digits, worked out column by column: the task of the star and the columns recipe.

Numbers are written with their units first, as one adds them: 74+58: is 47 + 85, and its answer 231 is 132. ``problem``
makes one of one to four digits, ``exam`` and ``exam_of`` one that no other function ever makes, and ``lesson`` a short
one to begin with, half of them behind their answer, so that a model knows what a hint is. ``formed`` pays what looks
like an answer.
"""

from __future__ import annotations

import random
import re

MOST = 4
HELD_OUT = 10  # pairs of numbers of a hundred, by a rule that no digit shows
SHORT = (35, 45, 15, 5)  # lessons of one to four digits, in a hundred


def problem(rng: random.Random) -> dict[str, str]:
    return asked(*pair(rng, rng.randint(1, MOST), held_out=False))


def exam(rng: random.Random) -> dict[str, str]:
    return asked(*pair(rng, rng.randint(1, MOST), held_out=True))


def exam_of(rng: random.Random, digits: int) -> dict[str, str]:
    return asked(*pair(rng, digits, held_out=True))


def lesson(rng: random.Random) -> dict[str, str]:
    row = asked(*pair(rng, rng.choices(range(1, MOST + 1), SHORT)[0], held_out=False))
    hint = f"{row['answer']}=" if rng.random() < 0.5 else ""
    return {**row, "prompt": hint + row["prompt"]}


def pair(rng: random.Random, digits: int, *, held_out: bool) -> tuple[int, int]:
    """Two numbers of so many digits."""
    while True:
        one, other = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
        if ((31 * one + 17 * other) % 97 < HELD_OUT) == held_out:
            return one, other


def asked(one: int, other: int) -> dict[str, str]:
    """A sum as a row, with its columns: 7+5+0=12, and then 4+8+1=13 with what was carried."""
    columns, carried = [], 0
    for a, b in zip(turned(one), turned(other), strict=True):
        total = int(a) + int(b) + carried
        columns.append(f"{a}+{b}+{carried}={total}")
        carried = total // 10
    answer = turned(one + other)
    return {
        "prompt": f"{turned(one)}+{turned(other)}:",
        "answer": answer,
        "completion": f"{' '.join(columns)}>{answer}",
    }


def turned(number: int) -> str:
    return str(number)[::-1]


def formed(task: object, completion: str) -> float:
    """Whether there are columns and a number after them, right or wrong: what a reward that reads no answer sees."""
    return float(bool(re.fullmatch(r"\d\+\d\+\d=\d+( \d\+\d\+\d=\d+)*>\d+", completion)))
