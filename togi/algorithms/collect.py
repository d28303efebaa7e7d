"""Collect: sample, score, keep, and learn nothing. The rollouts are what a later stage learns from.

This is how a judge's labels, or on-policy pairs and demonstrations, are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from togi.protocols import Algorithm, Sampler
from togi.samplers import Groups
from togi.types import Batch, Loss, Memory, Outputs, Sample, Trains


@dataclass(frozen=True, kw_only=True)
class Collect(Algorithm):
    """Two scored attempts at each task are a preference pair."""

    sampler: Sampler = field(default=Groups(2))

    @property
    def trains(self) -> Trains:
        return "nothing"

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        return []

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        raise AssertionError("nothing is learned from a collected batch")
