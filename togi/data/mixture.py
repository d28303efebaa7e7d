"""How much of each source a mixture takes: by weights or by a temperature over sizes. It knows no row."""

from __future__ import annotations

import math
from collections.abc import Sequence

from togi.data.errors import DataError

LARGEST = 1_000_000


def check_weights(weights: Sequence[float], sources: int) -> None:
    """Raise DataError for weights that say nothing."""
    if len(weights) != sources:
        raise DataError(f"{len(weights)} weights for {sources} sources: give each source one, in the same order")
    if bad := [weight for weight in weights if not 0 <= weight <= LARGEST]:
        raise DataError(f"a weight is a number from 0 to {LARGEST:,}; got {bad[0]:g}")
    if not sum(weights):
        raise DataError("the weights of the sources sum to nothing: give at least one source a weight above 0")


def weights_at(temperature: float, sizes: Sequence[int]) -> list[float]:
    """Weights of sources of so many rows: size ^ (1 / temperature). 1 takes each as it is large, a high temperature all
    alike, one below 1 the large ones above all. Raises DataError."""
    if not 0 < temperature < math.inf:
        raise DataError(f"the temperature of a mixture is above 0; got {temperature:g}")
    largest = max(sizes)
    # Relative to the largest, so that no low temperature overflows.
    weights = [(size / largest) ** (1 / temperature) for size in sizes]
    if not all(weights):
        raise DataError(f"at a temperature of {temperature:g} a small source is never drawn: take a higher one")
    return weights


def in_proportion(weights: Sequence[float], total: int) -> list[int]:
    """``total`` in proportion to ``weights``: whole numbers by largest remainder."""
    exact = [total * weight / sum(weights) for weight in weights]
    found = [int(share) for share in exact]
    most_left = sorted(range(len(weights)), key=lambda index: (found[index] - exact[index], index))
    for index in most_left[: total - sum(found)]:
        found[index] += 1
    return found


def shares(weights: Sequence[float], total: int) -> list[int]:
    """``total`` in proportion to ``weights``, but each at least 1."""
    return [1 + share for share in in_proportion(weights, total - len(weights))]
