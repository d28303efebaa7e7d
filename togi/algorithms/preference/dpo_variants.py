"""Losses on pairs that put something else in DPO's place, each a formula of its own.

Left out of each is named in its class. All read the reference model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.base import Pairwise
from togi.algorithms.preference.compared_answers import Answers
from togi.types import Divergence

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RobustDPO(Pairwise):
    """Robust DPO (https://arxiv.org/abs/2403.00409): DPO corrected for labels of which the share ``flip`` is wrong.

    On average over flipped labels it is DPO on the true ones. Not bounded below: a pair that is far apart is pushed
    further. Beta as in the paper's appendix.
    """

    beta: float = 0.01
    flip: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.flip < 0.5:
            raise ValueError(f"flip is the share of wrong labels, at least 0 and below 0.5, got {self.flip}")

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.robust_dpo(chosen.log_ratio, rejected.log_ratio, beta=self.beta, flip=self.flip)


@dataclass(frozen=True, kw_only=True)
class DPOP(Pairwise):
    """DPO-Positive (https://arxiv.org/abs/2402.13228): DPO with a ``penalty`` where the chosen answer became less
    likely than under the reference. For pairs that differ in few tokens, which DPO makes less likely together."""

    beta: float = 0.3
    penalty: float = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty < 0:
            raise ValueError(f"penalty rewards less likely chosen answers when it is below 0, got {self.penalty}")

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.dpop(chosen.log_ratio, rejected.log_ratio, beta=self.beta, penalty=self.penalty)


@dataclass(frozen=True, kw_only=True)
class APOZero(Pairwise):
    """APO-zero (https://arxiv.org/abs/2408.06266): chosen answers up and rejected ones down, each by itself.

    For chosen answers better than the policy's own. Left out: the paper's way of making pairs (CLAIR).
    """

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.apo_zero(chosen.log_ratio, rejected.log_ratio, beta=self.beta)


@dataclass(frozen=True, kw_only=True)
class APODown(Pairwise):
    """APO-down (https://arxiv.org/abs/2408.06266): both answers down, the rejected one more.

    For chosen answers that are worse than the policy's own.
    """

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.apo_down(chosen.log_ratio, rejected.log_ratio, beta=self.beta)


@dataclass(frozen=True, kw_only=True)
class FDPO(Pairwise):
    """f-DPO (https://arxiv.org/abs/2309.16240): DPO that stays near the reference by another ``divergence``.

    ``reverse_kl`` is DPO; ``js`` and ``forward_kl`` keep more of the reference's diversity; ``alpha`` lies between the
    two KLs, by the field of that name in the paper's writing. Forward KL's exponents are cut at e^20, where an answer
    has no gradient any more.
    """

    divergence: Divergence = "js"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between reverse KL (0) and forward KL (1), got {self.alpha}")

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        h_w, h_l = chosen.log_ratio, rejected.log_ratio
        return losses.f_dpo(h_w, h_l, beta=self.beta, divergence=self.divergence, alpha=self.alpha)


@dataclass(frozen=True, kw_only=True)
class LDDPO(Pairwise):
    """Length-desensitised DPO (https://arxiv.org/abs/2409.06411): the tokens of the longer answer beyond the length of
    the shorter one count ``alpha`` times. 1 is DPO, 0 compares the common length alone."""

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is the weight of tokens beyond the common length, from 0 to 1, got {self.alpha}")

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        import torch

        common_P = torch.minimum(chosen.length, rejected.length)
        h_w, h_l = (
            losses.length_desensitised(each.log_ratio_AN, each.mask_AN, common_P, alpha=self.alpha)
            for each in (chosen, rejected)
        )
        return losses.dpo(h_w, h_l, beta=self.beta)
