"""How the next skill is chosen: by words, by chances, by both, or by what the model writes. Pure; the last skill of
every array is the one that ends the plan."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from togi.agents.saycan.skills import Array

Arm = Literal["product", "llm", "affordance", "oracle", "generated"]
ARMS: dict[Arm, str] = {
    "product": "words times chances",
    "llm": "words alone",
    "affordance": "chances alone",
    "oracle": "words, and what is possible",
    "generated": "written, then filtered by chances",
}
LIKELY = 0.5
"""A skill that the model wrote is done where its chance is at least this."""


def choose(
    arm: Arm, words: ArrayLike, chances: ArrayLike, possible: ArrayLike, written: Sequence[str], skills: Sequence[str]
) -> int:
    """The place of the chosen skill; of equal ones the first. Only the oracle looks at ``possible``, only the one that
    generates at ``written``."""
    if arm == "generated":
        return _first_likely(written, np.asarray(chances, np.float64), skills)
    return int(np.argmax(worth(arm, words, chances, possible)))


def worth(arm: Arm, words: ArrayLike, chances: ArrayLike, possible: ArrayLike) -> Array:
    """What an arm makes of each skill, as log-worths; the largest is chosen."""
    log_words, log_chances = np.asarray(words, np.float64), np.log(np.asarray(chances, np.float64))
    if arm == "llm":
        return log_words
    if arm == "affordance":
        return log_chances
    if arm == "oracle":  # as surely as can be known; what ends a plan has the same chance as with the product
        log_chances = np.append(np.zeros(len(log_words) - 1), log_chances[-1])
        return np.where(np.asarray(possible, bool), log_words + log_chances, -np.inf)
    return log_words + log_chances


def shares(log_worth: ArrayLike) -> Array:
    """Log-worths as shares that add up to 1, for a reader."""
    logs = np.asarray(log_worth, np.float64)
    each = np.exp(logs - logs.max())
    part: Array = each / each.sum()
    return part


def _first_likely(written: Sequence[str], chances: Array, skills: Sequence[str]) -> int:
    """The first line that can be done; where there is none, the plan ends."""
    for line in written:
        found = nearest(line, skills)
        if found is not None and chances[found] >= LIKELY:
            return found
    return len(skills) - 1


def nearest(line: str, skills: Sequence[str]) -> int | None:
    """The skill that has most words in common with a line, and fewest others; None where it has none."""
    said = _words(line)
    alike = [2 * (said & _words(skill)).total() / max(1, said.total() + _words(skill).total()) for skill in skills]
    best = int(np.argmax(alike))
    return best if alike[best] > 0 else None


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.casefold()))
