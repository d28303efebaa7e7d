"""RAE, role-conditioned advantage estimation (SPIRAL, https://arxiv.org/abs/2506.24119): for one policy in every role.

Roles are not equally good: whoever moves first may win more often, however well both play. So an attempt is compared
with what its role has earned so far, a running mean for each role. It is used before it is updated: no attempt
stands in its own baseline. Where a run plays several games, their roles need names of their own.

The attempts of a step are all compared with the means from before it, and are all alike in those after it, so that
their order has no say. With one attempt of each role this is the published rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import FLAT, Array, Average, running_means, sequence_sum
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.composition import check_average
from togi.batch import Attempts, trajectories
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Memory, Sample


@dataclass(frozen=True, kw_only=True)
class RAE(PolicyGradient):
    """The reward less its role's running mean, which keeps ``decay`` of itself at each attempt; with 1 it stays 0, and
    there is no baseline at all. ``memory`` has the means, as ``rae/ROLE``."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Groups(1))
    average: Average = sequence_sum
    decay: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.surrogate, self.average)
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay must be between 0 and 1, got {self.decay}; 1 does without a baseline")

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        if not samples:
            return []
        compared = [replace(sample, baseline=memory.get(f"rae/{_role(sample)}", 0.0)) for sample in samples]
        memory.update(self._means(samples, memory))
        return super().credit(compared, memory)

    def _means(self, samples: Sequence[Sample], memory: Memory) -> dict[str, float]:
        attempts = trajectories(samples)
        roles = dict(zip(attempts.index.tolist(), map(_role, samples), strict=True))
        role_S = [roles[row] for row in range(len(attempts.reward_S))]
        before = {role: memory.get(f"rae/{role}", 0.0) for role in role_S}
        after = running_means(self.penalised(samples, attempts), role_S, before, decay=self.decay)
        return {f"rae/{role}": mean for role, mean in after.items()}

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        baseline_B = np.array([sample.baseline or 0.0 for sample in samples])
        advantage_B = self.penalised(samples, attempts)[attempts.index] - baseline_B
        return list(np.where(np.abs(advantage_B) < FLAT, 0.0, advantage_B))

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)


def _role(sample: Sample) -> str:
    return sample.role or "baseline"
