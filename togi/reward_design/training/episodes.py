"""What an agent did and saw in one episode: what a fitness is given, and what rewards are later paid on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """``observations`` [T + 1, …] with the first and the last, ``actions`` and ``rewards`` (the environment's own) [T].

    ``terminated`` is whether the environment ended it before the limit of steps; ``infos`` is what it said of
    each step.
    """

    observations: Array
    actions: npt.NDArray[Any]
    rewards: Array
    terminated: bool
    infos: tuple[Mapping[str, Any], ...]

    @property
    def length(self) -> int:
        return len(self.actions)


def told(info: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """What a program may read of an environment's ``info``: the numbers that were named, 0 where one is missing."""
    return {
        name: float(value) if isinstance(value := info.get(name, 0.0), int | float | np.number) else 0.0
        for name in names
    }
