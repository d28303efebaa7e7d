"""Reward programs for answers that chance writes: what a search finds without a model. Each sums one to three simple
parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from togi.reward_design.programs.random_programs import sums_by_chance

PROGRAM = """def score(task, completion):
    question = task.prompt[-1].content
    parts = {{
{parts}
    }}
    return sum(parts.values()), parts
"""
COMMONEST = 12  # characters that are counted


def random_texts(tried: Sequence[tuple[str, str]], count: int, seed: int) -> list[str]:
    """``count`` programs. Each part is scaled so that it varies by about 1 over ``tried``, questions with answers, so
    none hides the others."""
    rng = np.random.default_rng([seed, 0x74657874])
    return sums_by_chance(PROGRAM, _parts(tried), count, rng)


def _parts(tried: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    """What a part may count of an answer, as it is written, with its values over ``tried``."""
    characters = Counter(character for _, answer in tried for character in answer)
    return {
        "len(completion)": [len(answer) for _, answer in tried],
        "len(completion.split())": [len(answer.split()) for _, answer in tried],
        "len(set(completion))": [len(set(answer)) for _, answer in tried],
        "len(set(completion) & set(question))": [len(set(answer) & set(question)) for question, answer in tried],
        "abs(len(completion) - len(question))": [abs(len(answer) - len(question)) for question, answer in tried],
        **{
            f"completion.count({character!r})": [answer.count(character) for _, answer in tried]
            for character, _ in characters.most_common(COMMONEST)
        },
        **{
            f"completion.endswith({character!r})": [answer.endswith(character) for _, answer in tried]
            for character, _ in characters.most_common(COMMONEST)
        },
    }
