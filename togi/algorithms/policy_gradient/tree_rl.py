"""TreeRL (https://arxiv.org/abs/2506.11902): attempts fork where the policy was least sure, and branches are compared.

A token is credited with how much better its branch turned out than the task at all, and than the branch that it grew
from. A branch is learned in each of its leaves, so that its credit is divided by the root of their number: it counts
more than one leaf, and less than all of them.

By default the released code credits sums over leaves that are centred among themselves, divided by their number, and
takes the mean off again over all tokens; here it is the paper's formula. There the KL stands in the reward; in the loss
k2 has the same gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from togi.advantages import Array
from togi.algorithms.policy_gradient.branches_of_attempts import Branches
from togi.algorithms.policy_gradient.branching import Branching
from togi.branch_credit import treerl
from togi.protocols import Sampler
from togi.samplers import EntropyTree


@dataclass(frozen=True, kw_only=True)
class TreeRL(Branching):
    """Defaults are the paper's tree of 30 leaves, and the released script's KL."""

    sampler: Sampler = field(default=EntropyTree())
    kl: float = 0.004

    def of_branches(self, branches: Branches) -> Array:
        return treerl(branches.value_K, branches.before_K, branches.root_K, branches.leaves_K)
