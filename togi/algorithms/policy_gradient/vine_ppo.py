"""VinePPO (https://arxiv.org/abs/2410.01679): PPO whose critic is what becomes of an answer when it is gone on from.

A reasoning step is credited with what it did to the chance of a right answer: the mean reward of continuations after it
less that of continuations before it, or what the answer earned after its last step. Each of its tokens gets that.
The estimates have no bias, and cost tokens: see ``values/tokens``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from togi.advantages import Array
from togi.algorithms.policy_gradient.branches_of_attempts import Branches
from togi.algorithms.policy_gradient.branching import Branching
from togi.branch_credit import gain
from togi.protocols import Sampler
from togi.samplers import ValuedSteps


@dataclass(frozen=True, kw_only=True)
class VinePPO(Branching):
    """Defaults are the paper's: 8 attempts, 9 continuations, KL 1e-4. Its KL is charged token by token; in the loss k2
    has the same gradient."""

    sampler: Sampler = field(default=ValuedSteps())
    kl: float = 1e-4
    whiten: bool = True

    def of_branches(self, branches: Branches) -> Array:
        return gain(branches.value_K, branches.before_K)
