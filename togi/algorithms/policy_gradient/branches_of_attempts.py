"""The branches that a step's samples are made of: which tokens each has, what it is worth, and who else has it. It
knows no formula.

A branch is the tokens between two places whose worth was found (``Sample.steps``); attempts that begin with the same
tokens up to its end share it. Axis legend: K branches of all samples, in their order: one that several samples share
stands there for each; T positions of a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, finite
from togi.batch import Attempts
from togi.types import Sample

T = TypeVar("T", np.float64, np.bool_)
_Name = tuple[int, bytes]
"""A group, and the tokens up to a branch's end."""


@dataclass(frozen=True, kw_only=True)
class Branches:
    """Arrays are [K]. ``sample_K`` says which sample a branch stands in and ``end_K`` at which position it ends;
    ``value_K`` is what it is worth, ``before_K`` what was there before it, and ``root_K`` what the task was at all;
    ``leaves_K`` and ``leaves_before_K`` say how many of the group's attempts have it, and had what was before it.
    ``new_K`` is true for the first sample that has the branch."""

    sample_K: NDArray[np.int64]
    end_K: NDArray[np.int64]
    value_K: Array
    before_K: Array
    root_K: Array
    leaves_K: NDArray[np.int64]
    leaves_before_K: NDArray[np.int64]
    new_K: NDArray[np.bool_]

    def of_sample(self, b: int) -> NDArray[np.int64]:
        """The branches of a sample, from the root on."""
        return np.flatnonzero(self.sample_K == b)

    def of_tokens(self, what_K: NDArray[T], samples: Sequence[Sample]) -> list[NDArray[T]]:
        """What is said of a branch at each position up to its end [T], for each sample; 0 behind the last."""
        found = []
        for b, sample in enumerate(samples):
            own = self.of_sample(b)
            what_T = np.zeros(len(sample.ids), what_K.dtype)
            lengths = np.diff(self.end_K[own], prepend=-1)
            what_T[: int(lengths.sum())] = np.repeat(what_K[own], lengths)
            found.append(what_T)
        return found


def branches_of(samples: Sequence[Sample], attempts: Attempts) -> Branches:
    """The branches of samples. One whose steps nobody valued is a single branch, worth its reward; a task whose root
    nobody valued is worth the mean of its attempts."""
    ends_b = [_ends(sample) for sample in samples]
    names = [[_name(sample, end) for end in ends] for sample, ends in zip(samples, ends_b, strict=True)]
    leaves = Counter(name for own in names for name in own)
    group_B = np.array([sample.group for sample in samples])
    mean_G = {int(g): float(attempts.reward_S[attempts.group_S == g].mean()) for g in np.unique(attempts.group_S)}
    seen: set[_Name] = set()
    rows = []
    for b, (sample, ends) in enumerate(zip(samples, ends_b, strict=True)):
        root = mean_G[sample.group] if sample.baseline is None else sample.baseline
        before, leaves_before = root, int((group_B == sample.group).sum())
        for end, name in zip(ends, names[b], strict=True):
            value = sample.reward if end == ends[-1] or sample.steps is None else float(sample.steps[end])
            rows.append((b, end, value, before, root, leaves[name], leaves_before, name not in seen))
            seen.add(name)
            before, leaves_before = value, leaves[name]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    sample_K, end_K, value_K, before_K, root_K, leaves_K, leaves_before_K, new_K = columns
    return Branches(
        sample_K=np.array(sample_K, np.int64),
        end_K=np.array(end_K, np.int64),
        value_K=finite(value_K),
        before_K=np.array(before_K, np.float64),
        root_K=np.array(root_K, np.float64),
        leaves_K=np.array(leaves_K, np.int64),
        leaves_before_K=np.array(leaves_before_K, np.int64),
        new_K=np.array(new_K, np.bool_),
    )


def _ends(sample: Sample) -> list[int]:
    if sample.steps is None:
        return [len(sample.ids) - 1]
    ends: list[int] = np.flatnonzero(~np.isnan(sample.steps)).tolist()
    return ends


def _name(sample: Sample, end: int) -> _Name:
    return sample.group, sample.ids[: end + 1].tobytes()
