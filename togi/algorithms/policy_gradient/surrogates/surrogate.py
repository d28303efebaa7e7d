"""What a surrogate is. It knows no sampler, no credit, no KL and no average."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from togi.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Surrogate(ABC):
    """The loss of each token; fields are its hyperparameters, and settings of the algorithm that has it.

    ``one_action``: a whole sample is one action, so that there is one loss and one number in every metric for it.
    ``one_advantage``: all tokens of a sample must have the same one. ``on_policy``: it is right only for the policy
    that began the step, so for one update. ``rests``: a token of advantage 0 has no gradient.
    """

    one_action: ClassVar[bool] = False
    one_advantage: ClassVar[bool] = False
    on_policy: ClassVar[bool] = False
    rests: ClassVar[bool] = True

    @abstractmethod
    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        """What is minimised, 0 where nothing is trained: [B, T], or [B, 1] of one action."""

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Where the lower and the upper bound of a ratio act, as 0 and 1, without gradient; None without bounds."""
        return None

    def trained(self, batch: Batch) -> Tensor:
        """What counts of the loss: [B, T], or [B, 1] of one action."""
        return batch.mask_BT.any(dim=1, keepdim=True) if self.one_action else batch.mask_BT


@dataclass(frozen=True, kw_only=True)
class Clipped(Surrogate):
    """A ratio that is clipped to [1 - ``clip_low``, 1 + ``clip_high``]. Which one is left open. With one update a step
    it is 1 and nothing is clipped."""

    clip_low: float = 0.2
    clip_high: float = 0.2

    def __post_init__(self) -> None:
        if not (0 < self.clip_low <= 1 and self.clip_high > 0):
            raise ValueError(
                f"the clip range is [1 - clip_low, 1 + clip_high] with 0 < clip_low <= 1 and clip_high > 0, "
                f"got clip_low={self.clip_low}, clip_high={self.clip_high}"
            )


def recorded(batch: Batch) -> Tensor:
    """Which samples were not drawn by the policy [B, 1]."""
    import torch

    return torch.tensor([[sample.recorded] for sample in batch.samples], device=batch.mask_BT.device)


def above_0(**fields: float) -> None:
    """Raise ValueError for the first that is not."""
    for name, value in fields.items():
        if value <= 0:
            raise ValueError(f"{name} must be above 0, got {value}")
