"""BCO (https://arxiv.org/abs/2404.04656): a binary classifier of single answers whose logit is the implied reward.

The logit is shifted by the middle between the mean reward of desirable answers and that of the others, so that neither
class is pushed only because there is more of it. Both means are exponential moving averages over steps, of the policy
as it was when the step began; a class that was never seen has none, and the shift is then 0.

Left out: the density-ratio weights for undesirable answers whose prompts are of another kind (UDM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.single_answers import Single, log_ratio
from togi.types import Memory, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BCO(Single):
    """Binary cross-entropy. ``decay`` is what a moving mean keeps of itself each step; 0 reads the step alone."""

    beta: float = 0.01
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {self.decay}")

    def reference_point(self, samples: Sequence[Sample], memory: Memory) -> float:
        sums: dict[tuple[int, int], float] = {}
        worth: dict[tuple[int, int], float] = {}
        for sample in samples:
            if sample.mask.any():
                key = (sample.group, sample.trajectory)
                sums[key] = sums.get(key, 0.0) + self.beta * log_ratio(sample)
                worth[key] = sample.reward
        good, bad = ([sums[k] for k in sums if self.desirable(worth[k]) == wanted] for wanted in (True, False))
        memory.update(self._moved(memory, good, bad))
        return memory["bco_delta"]

    def losses(self, h: Tensor, desirable: Tensor, point: Tensor) -> Tensor:
        return losses.bco(h, desirable, point, beta=self.beta)

    def _moved(self, memory: Memory, good: Sequence[float], bad: Sequence[float]) -> dict[str, float]:
        """The moving means after the step, of the classes that were seen, and the middle between them."""
        moved: dict[str, float] = {"bco_delta": 0.0}
        if good:
            moved["bco_desirable"] = self._mean(memory.get("bco_desirable"), good)
        if bad:
            moved["bco_undesirable"] = self._mean(memory.get("bco_undesirable"), bad)
        known = memory | moved
        if "bco_desirable" in known and "bco_undesirable" in known:
            moved["bco_delta"] = (known["bco_desirable"] + known["bco_undesirable"]) / 2
        return moved

    def _mean(self, kept: float | None, new: Sequence[float]) -> float:
        now = fmean(new)
        return now if kept is None else self.decay * kept + (1 - self.decay) * now
