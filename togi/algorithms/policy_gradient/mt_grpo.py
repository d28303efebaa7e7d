"""MT-GRPO (https://arxiv.org/abs/2505.11821): a turn is credited with what it earned, and with how the attempt ended.

What the environment paid a turn is standardised among the siblings' turns at the same place, what the last turn was
paid among the siblings' last ones. The paper has two turns, a tool call and an answer; here there may be any number.
The environment pays turns, so that the reward has to be ``turns()``, or to hold it.

Left out: a weight between the two, which is the environment's own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, reward_to_go
from togi.algorithms.policy_gradient.base import spread
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.turns_of_attempts import Turns, turns_of
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Sample


@dataclass(frozen=True, kw_only=True)
class MTGRPO(GRPO):
    """``combine`` "added" gives a turn its own standardised reward plus that of the end (the paper's first form);
    "to_go" standardises the sum of what it and all turns after it earned (its second one)."""

    per_token: ClassVar[bool] = True
    sampler: Sampler = field(default=Groups(8))
    kl: float = 0.0
    combine: Literal["added", "to_go"] = "added"

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        turns = turns_of(samples, attempts, self.token_rewards(samples, attempts, attempts.reward_S))
        advantage_K = self._added(turns, attempts) if self.combine == "added" else self._to_go(turns, attempts)
        return [
            spread(advantage_n, sample.mask)
            for advantage_n, sample in zip(turns.of_tokens(advantage_K, len(samples)), samples, strict=True)
        ]

    def _added(self, turns: Turns, attempts: Attempts) -> Array:
        own = turns.by_trajectory()
        last_K = np.zeros(len(turns.reward_K), bool)
        last_K[[each[-1] for each in own.values()]] = True
        advantage_K = np.zeros(len(turns.reward_K))
        earlier = np.flatnonzero(~last_K)
        advantage_K[earlier] = self.baseline(turns.reward_K[earlier], _places(turns, attempts)[earlier])
        rows = np.array(list(own), np.int64)
        ends = self.baseline(turns.reward_K[[own[row][-1] for row in rows.tolist()]], attempts.group_S[rows])
        for row, end in zip(rows.tolist(), ends.tolist(), strict=True):
            advantage_K[own[row]] += end
        return advantage_K

    def _to_go(self, turns: Turns, attempts: Attempts) -> Array:
        ahead_K = np.zeros(len(turns.reward_K))
        for own in turns.by_trajectory().values():
            ahead_K[own] = reward_to_go(turns.reward_K[own], 1.0)
        return self.baseline(ahead_K, _places(turns, attempts))


def _places(turns: Turns, attempts: Attempts) -> NDArray[np.int64]:
    """A number for each place within each group [K]."""
    pairs = np.stack([attempts.group_S[turns.trajectory_K], turns.place_K], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
