"""TreePO (https://arxiv.org/abs/2508.17445): a tree of segments, whose leaves are compared with their relatives.

A leaf is compared with the other leaves of each branch that it grew from, and credited with the mean of that: with its
nearest relatives for what its last tokens did, with all for its first. All its tokens get that one advantage.

A segment that did not branch adds no comparison of its own; the released code counts its leaves once more. Groups that
are all right or all wrong are not drawn again (the paper takes DAPO's dynamic sampling): they say nothing, and have no
part in the whitening.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from togi.advantages import Array
from togi.algorithms.policy_gradient.branches_of_attempts import Branches
from togi.algorithms.policy_gradient.branching import Branching
from togi.algorithms.policy_gradient.surrogates import PPOClip, Surrogate
from togi.branch_credit import treepo
from togi.protocols import Sampler
from togi.samplers import SegmentTree


@dataclass(frozen=True, kw_only=True)
class TreePO(Branching):
    """``weighting`` of the comparisons: "equal", as in the published runs, or by their number of "leaves"."""

    sampler: Sampler = field(default=SegmentTree())
    surrogate: Surrogate = field(default=PPOClip(clip_high=0.28))
    whiten: bool = True
    weighting: Literal["equal", "leaves"] = "equal"

    per_token: ClassVar[bool] = False

    def of_branches(self, branches: Branches) -> Array:
        advantage_K = np.zeros(len(branches.value_K))
        for b in np.unique(branches.sample_K).tolist():
            own = branches.of_sample(b)
            reward, before, leaves = branches.value_K[own[-1]], branches.before_K[own], branches.leaves_before_K[own]
            advantage_K[own] = treepo(float(reward), before, leaves, by_size=self.weighting == "leaves")
        return advantage_K
