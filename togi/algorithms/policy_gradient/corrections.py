"""Corrections for tokens that the trainer's policy did not draw: sampler and trainer are apart where the sampler had
older weights, or computes otherwise. ``CORRECTIONS`` has their names. They know no surrogate and no advantage.

The weight of a token is how much likelier the policy that began the step makes it than the one that drew it. It
multiplies the token's loss; averages stay those of all tokens, so that what is left out makes nothing else heavier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.types import Level

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Correction(ABC):
    """Weights from log-probabilities; fields are settings of the algorithm that has it.

    ``weight_level`` is whose weight it is: of each ``token``; of the whole ``sequence``, the product over its tokens,
    which is unbiased and far off for long answers; or ``geometric``, their mean, which length does not move.
    """

    weight_level: Level = "token"

    @abstractmethod
    def weight(self, old_BT: Tensor, drawn_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
        """[B, T] or [B, 1], without gradient; None weighs nothing."""


@dataclass(frozen=True, kw_only=True)
class Uncorrected(Correction):
    """Sampler and trainer are taken to be one policy."""

    def weight(self, old_BT: Tensor, drawn_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Truncated(Correction):
    """Truncated importance sampling: no weight is above ``weight_most``."""

    weight_most: float = 2.0

    def __post_init__(self) -> None:
        if self.weight_most < 1:
            raise ValueError(f"weight_most must be 1 or more, the weight where both agree, got {self.weight_most}")

    def weight(self, old_BT: Tensor, drawn_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
        return losses.drawn_weight(old_BT, drawn_BT, mask_BT, level=self.weight_level).clamp(max=self.weight_most)


@dataclass(frozen=True, kw_only=True)
class Masked(Correction):
    """Masked importance sampling: what has a weight outside [``weight_least``, ``weight_most``] is not learned from.
    Defaults are IcePop's (https://arxiv.org/abs/2510.18855)."""

    weight_least: float = 0.5
    weight_most: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight_least <= 1 <= self.weight_most:
            raise ValueError(
                f"weights from weight_least to weight_most are learned from: they must hold 1 and begin at 0 or above, "
                f"got {self.weight_least} and {self.weight_most}"
            )

    def weight(self, old_BT: Tensor, drawn_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
        weight = losses.drawn_weight(old_BT, drawn_BT, mask_BT, level=self.weight_level)
        return losses.within(weight, self.weight_least, self.weight_most)


CORRECTIONS: Mapping[str, Correction] = {"none": Uncorrected(), "truncate": Truncated(), "mask": Masked()}
"""Corrections by name, each of a class of its own."""
