"""Surrogates: how the policy now, the one before and advantages become a loss of each token.

A surrogate is a part of an algorithm, as its sampler is: any credit goes with any surrogate that does not refuse it. It
knows no sampler, no credit, no KL and no average. ``SURROGATES`` has the names. Torch is imported where it calculates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from togi import losses
from togi.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Surrogate(ABC):
    """The loss of each token; fields are its hyperparameters, and settings of the algorithm that has it.

    ``one_action``: a whole sample is one action, so that there is one loss and one number in every metric for it.
    """

    one_action: ClassVar[bool] = False

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
class PPOClip(Surrogate):
    """PPO's clip of the ratio pi / pi_old to [1 - ``clip_low``, 1 + ``clip_high``], token by token
    (https://arxiv.org/abs/1707.06347, equation 7). With one update a step the ratio is 1 and nothing is clipped."""

    clip_low: float = 0.2
    clip_high: float = 0.2

    def __post_init__(self) -> None:
        if not (0 < self.clip_low <= 1 and self.clip_high > 0):
            raise ValueError(
                f"the clip range is [1 - clip_low, 1 + clip_high] with 0 < clip_low <= 1 and clip_high > 0, "
                f"got clip_low={self.clip_low}, clip_high={self.clip_high}"
            )

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        low, high = self.clip_low, self.clip_high
        return losses.ppo_clip(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, low=low, high=high)

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        low, high = self.clip_low, self.clip_high
        return losses.clip_fraction(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class SequenceClip(PPOClip):
    """The same clip, of the ratio of whole answers (RLOO, https://arxiv.org/abs/2402.14740): the sum of its tokens'
    log-ratios, so that long answers leave the range sooner."""

    one_action: ClassVar[bool] = True

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        low, high = self.clip_low, self.clip_high
        return losses.sequence_ratio_clip(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, low=low, high=high)[
            :, None
        ]

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        mask_BT = batch.mask_BT
        # One column a sequence: its summed log-probabilities and its advantage.
        summed = [x.where(mask_BT, 0.0).sum(dim=1, keepdim=True) for x in (logp_BT, old_BT, batch.advantage_BT)]
        return losses.clip_fraction(*summed, self.trained(batch), low=self.clip_low, high=self.clip_high)


SURROGATES: Mapping[str, Surrogate] = {
    "ppo_clip": PPOClip(),
    "sequence_clip": SequenceClip(),
}
"""Surrogates by name, each of a class of its own."""
