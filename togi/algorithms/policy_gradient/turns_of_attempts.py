"""The turns that a step's samples are made of: which trained tokens each has, what it earned, and the state that it was
taken in. Knows no baseline.

Axis legend: K turns of a whole step, in the order of its samples; n trained tokens of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array
from togi.batch import Attempts
from togi.types import Sample


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Arrays are [K]. ``sample_K`` says which sample a turn stands in, ``trajectory_K`` the row of its trajectory and
    ``place_K`` how many turns of that come before it; ``length_K`` counts trained tokens, ``reward_K`` is what these
    earned. ``state_K`` numbers the states of a task: turns in the same one have been told the same anew."""

    sample_K: NDArray[np.int64]
    trajectory_K: NDArray[np.int64]
    place_K: NDArray[np.int64]
    length_K: NDArray[np.int64]
    state_K: NDArray[np.int64]
    reward_K: Array

    def by_trajectory(self) -> Mapping[int, NDArray[np.int64]]:
        """The turns of each trajectory, in their order."""
        return {int(row): np.flatnonzero(self.trajectory_K == row) for row in np.unique(self.trajectory_K)}

    def of_tokens(self, value_K: Array, samples: int) -> list[Array]:
        """One value a turn at each of its trained tokens, for each sample [n]."""
        return [np.repeat(value_K[self.sample_K == b], self.length_K[self.sample_K == b]) for b in range(samples)]


def turns_of(samples: Sequence[Sample], attempts: Attempts, reward_bn: Sequence[Array]) -> Turns:
    """The turns of the samples, whose trained tokens earned ``reward_bn``."""
    found = [(b, *part) for b, sample in enumerate(samples) for part in parts(sample)]
    sample_K = np.array([b for b, _, _ in found], np.int64)
    trajectory_K = attempts.index[sample_K]
    length_K = np.array([length for _, length, _ in found], np.int64)
    seen: dict[tuple[int, str | bytes], int] = {}
    state_K = [seen.setdefault((samples[b].group, state), len(seen)) for b, _, state in found]
    before: dict[int, int] = {}
    place_K = []
    for row in trajectory_K.tolist():
        place_K.append(before.get(row, 0))
        before[row] = place_K[-1] + 1
    turn_N = np.repeat(np.arange(len(length_K)), length_K)
    return Turns(
        sample_K=sample_K,
        trajectory_K=trajectory_K,
        place_K=np.array(place_K, np.int64),
        length_K=length_K,
        state_K=np.array(state_K, np.int64),
        reward_K=np.bincount(turn_N, np.concatenate(reward_bn), minlength=len(length_K)).astype(np.float64),
    )


def parts(sample: Sample) -> Iterator[tuple[int, str | bytes]]:
    """For each turn of a sample how many trained tokens it has, and the state that it was taken in: the environment's
    name for it, else the ids between the turn before and it, which are what the model was told anew.

    Turns are told apart by the tokens between them, which the policy did not write.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sample.mask.astype(np.int8), [0]])))
    end = 0
    for number, (start, stop) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        named = sample.state_keys[number] if number < len(sample.state_keys) else ""
        yield int(stop - start), named or sample.ids[end:start].tobytes()
        end = int(stop)


def last_of_turns(sample: Sample) -> NDArray[np.bool_]:
    """Which of a sample's trained tokens is the last one of its turn [n]."""
    last_n = np.zeros(int(sample.mask.sum()), bool)
    last_n[np.cumsum([length for length, _ in parts(sample)], dtype=np.int64) - 1] = True
    return last_n


def held_over_turns(value_n: Array, sample: Sample) -> Array:
    """At each trained token of a sample the value at the first token of its turn [n]."""
    length_K = np.array([length for length, _ in parts(sample)], np.int64)
    return np.repeat(value_n[np.cumsum(length_K) - length_K], length_K)
