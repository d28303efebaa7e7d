"""Averages by name, as recipes and algorithms hold them; their arithmetic is in ``togi/advantages.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, constant_length, sequence_mean, sequence_sum, token_mean


@dataclass(frozen=True)
class ConstantLength:
    """The average of Dr. GRPO: every token weighs 1 / (B ``max_length``), the most tokens an attempt may have."""

    max_length: int

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(
                f"max_length must be at least 1 (the most tokens an attempt may have), got {self.max_length}"
            )

    def __call__(self, length_S: NDArray[np.int64]) -> Array:
        return constant_length(length_S, self.max_length)


AVERAGES: Mapping[str, Callable[[int], Average]] = {
    "token_mean": lambda max_length: token_mean,
    "sequence_mean": lambda max_length: sequence_mean,
    "sequence_sum": lambda max_length: sequence_sum,
    "constant_length": ConstantLength,
}
"""Averages by name; each is made from the most tokens an attempt may have, which only ``constant_length`` looks at."""
