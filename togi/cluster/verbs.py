"""What is asked of a cluster: the verbs of Tinker, in Togi's nouns. It knows no network, no algorithm and no run.

Arrays are aligned as everywhere: position t of a sequence speaks about its token t, and the first is always 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from togi.models.lora_and_optimiser import Optimiser
from togi.types import Ids, Sampling

IdArray: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.floating[Any]]


class ClusterError(ValueError):
    """The cluster did not do what it was asked for: what that was, what it said, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A completion; ``ended`` says why it ended, in the cluster's words."""

    ids: Ids
    logp: tuple[float, ...]
    ended: str


class Drawer(Protocol):
    """Weights that draw, and stay what they are."""

    def draw(
        self, ids: Ids, attempts: int, *, seed: int, limit: int, sampling: Sampling, ends: Sequence[int]
    ) -> Future[list[Drawn]]:
        """So many completions of at most ``limit`` tokens after ``ids``, up to one of ``ends``. Their
        log-probabilities are those of the distribution at temperature 1 wherever that is asked for."""
        ...


class Learner(Protocol):
    """Weights that learn: adapters on a base that stays, the gradient gathered since the last update, and moments."""

    def logps(self, rows: Sequence[IdArray]) -> list[Numbers]:
        """The log-probability of each token after those before it, at temperature 1."""
        ...

    def backward(self, rows: Sequence[IdArray], weights: Sequence[Numbers]) -> None:
        """Add the gradient of -sum(weight * log-probability) over all tokens."""
        ...

    def update(self, rate: float, optimiser: Optimiser) -> None:
        """One step of AdamW by the gradient gathered, which is clipped, and is 0 afterwards."""
        ...

    def save(self, name: str) -> str:
        """Keep weights and moments; gives what they are called there."""
        ...

    def save_to_draw(self, name: str) -> str:
        """Keep the weights to draw from; gives what they are called there."""
        ...

    def drawer(self) -> Drawer:
        """The weights as they are now, to draw from until the session ends."""
        ...


class Cluster(Protocol):
    """Where weights are. Every method, and those of what it gives, raises ClusterError."""

    def new(self, *, rank: int, seed: int) -> Learner:
        """Fresh adapters on the base: together they are the base."""
        ...

    def from_state(self, name: str, *, moments: bool) -> Learner:
        """What was kept by ``Learner.save``, with its moments or without."""
        ...

    def drawer(self, name: str | None) -> Drawer:
        """What was kept by ``Learner.save_to_draw``; None is the base."""
        ...
