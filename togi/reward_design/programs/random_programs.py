"""Reward programs that chance writes: what a search finds without a model. Each sums one to three simple parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from togi.reward_design.training.episodes import Episode

PROGRAM = """def compute_reward(obs, action, next_obs, info):
    parts = {{
{parts}
    }}
    return sum(parts.values()), parts
"""


def random_programs(played: Sequence[Episode], count: int, seed: int) -> list[str]:
    """``count`` programs. Each part is scaled so that it varies by about 1 in ``played``, so none hides the others."""
    rng = np.random.default_rng([seed, 0x72616E64])
    before = np.concatenate([episode.observations[:-1] for episode in played])
    after = np.concatenate([episode.observations[1:] for episode in played])
    values = {
        **{f"next_obs[{i}]": after[:, i] for i in range(after.shape[1])},
        **{f"abs(next_obs[{i}])": np.abs(after[:, i]) for i in range(after.shape[1])},
        **{f"next_obs[{i}] - obs[{i}]": after[:, i] - before[:, i] for i in range(after.shape[1])},
        **{f"next_obs[{i}] ** 2 - obs[{i}] ** 2": after[:, i] ** 2 - before[:, i] ** 2 for i in range(after.shape[1])},
    }
    return sums_by_chance(PROGRAM, values, count, rng)


def sums_by_chance(program: str, values: Mapping[str, ArrayLike], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` times ``program`` with one to three of the parts that ``values`` names by their text, each scaled so
    that its values vary by about 1; those that never vary are left out."""
    usable = {
        text: spread for text, value in values.items() if (spread := float(np.std(np.asarray(value, np.float64)))) > 0
    }
    made = []
    for _ in range(count):
        texts = rng.choice(sorted(usable), size=min(len(usable), int(rng.integers(1, 4))), replace=False)
        lines = [
            f'        "part_{number}": {rng.normal() / usable[text]:.4g} * ({text}),'
            for number, text in enumerate(map(str, texts), start=1)
        ]
        made.append(program.format(parts="\n".join(lines)))
    return made
