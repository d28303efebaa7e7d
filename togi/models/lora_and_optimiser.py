"""What a run chooses about its model: adapters, and how weights are updated. Plain nouns that load nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): ``W + alpha / rank * B A`` on the named layers.

    ``targets`` are module names, or ``all-linear``: every linear layer but the vocabulary projection. ``base`` says how
    the weights under them are kept: as they are, or ``nf4``, in 4 bits.
    """

    rank: int = 16
    alpha: float = 32
    dropout: float = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    base: Literal["full", "nf4"] = "full"


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a warm-up, a schedule and clipping by the global norm.

    ``total_steps`` counts updates and is only read by the schedules that end. ``weight_decay`` acts on matrices, not
    on norms and biases. ``tokens_per_microbatch`` counts distinct tokens and bounds memory, never the result.
    ``critic_learning_rate`` is that of a scalar head, and of the layers under it where it has its own, or of a thought
    head; None takes ``learning_rate``. A critic of its own is clipped by its own norm.
    """

    learning_rate: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    total_steps: int = 0
    clip_norm: float = 1.0
    tokens_per_microbatch: int = 600
    critic_learning_rate: float | None = None

    def rate(self, step: int) -> float:
        """Learning rate of the update that follows ``step`` updates: linear to full, then down to 0 at the end."""
        return self._scheduled(self.learning_rate, step)

    def critic_rate(self, step: int) -> float:
        """The same schedule up to ``critic_learning_rate``."""
        full = self.learning_rate if self.critic_learning_rate is None else self.critic_learning_rate
        return self._scheduled(full, step)

    def _scheduled(self, full: float, step: int) -> float:
        if step < self.warmup_steps:
            return full * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return full
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return full * left
