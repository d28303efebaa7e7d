"""SPO, segment policy optimisation (https://arxiv.org/abs/2505.23564): segments of answers are credited with what they
did to the value.

In ``spo`` (SPO-chain) segments end at tokens that were hard to foresee, and values come from continuations there. In
``spo_tree`` (SPO-tree) a tree has a fixed number of branches on each level, and a branch is worth the mean of its own.
A segment is learned once, however many leaves have it, and of it only the tokens that the policy was unsure of: the
others hardly decided anything.

Left out: the division by the spread of a branch's siblings (an option of the released code), and the filling of a batch
with other segments in place of those without an advantage. Another algorithm is called SPO as well (single-stream
policy optimisation, https://arxiv.org/abs/2509.13232).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array
from togi.algorithms.policy_gradient.branches_of_attempts import Branches, branches_of
from togi.algorithms.policy_gradient.branching import Branching
from togi.batch import trajectories
from togi.branch_credit import gain
from togi.protocols import Sampler
from togi.samplers import LevelTree, ValuedSegments
from togi.types import Memory, Sample


@dataclass(frozen=True, kw_only=True)
class SPO(Branching):
    """Only tokens that were drawn with a probability below ``learn_below`` are learned (1 learns all that were not
    certain)."""

    sampler: Sampler = field(default=ValuedSegments())
    kl: float = 1e-4
    learn_below: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.learn_below <= 1:
            raise ValueError(f"learn_below is a probability above 0, got {self.learn_below}; 1 leaves nothing out")

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Of each segment the tokens that the policy was unsure of, in the first of its leaves."""
        if not samples:
            return []
        branches = branches_of(samples, trajectories(samples))
        first_bT = branches.of_tokens(branches.new_K, samples)
        return super().credit([self._learned(*each) for each in zip(samples, first_bT, strict=True)], memory)

    def _learned(self, sample: Sample, first_T: NDArray[np.bool_]) -> Sample:
        unsure_T = sample.logp < math.log(self.learn_below) if not sample.recorded else True
        return replace(sample, mask=sample.mask & first_T & unsure_T)

    def of_branches(self, branches: Branches) -> Array:
        return gain(branches.value_K, branches.before_K)


SPO_TREE = SPO(sampler=LevelTree())
