"""Surrogates in which each token has a ratio of its own, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from togi import losses
from togi.algorithms.policy_gradient.surrogates.surrogate import Clipped, Surrogate, above_0, recorded
from togi.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Likelihood(Surrogate):
    """``-A log pi``: REINFORCE, the policy gradient itself. Its value means nothing, only its gradient."""

    on_policy: ClassVar[bool] = True

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        return losses.policy_gradient(logp_BT, batch.advantage_BT, batch.mask_BT)


@dataclass(frozen=True, kw_only=True)
class Importance(Surrogate):
    """``-r A`` with the ratio r = pi / pi_old: for tokens of an older policy too, however far it has gone since."""

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        return losses.importance(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT)


@dataclass(frozen=True, kw_only=True)
class PPOClip(Clipped):
    """PPO's clip of the ratio pi / pi_old of each token (https://arxiv.org/abs/1707.06347, equation 7).

    With ``dual_clip`` (3 in https://arxiv.org/abs/1912.09729) the loss of a bad token is bounded too: its ratio counts
    as that at most.
    """

    dual_clip: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ValueError(f"dual_clip must be above 1 (3 in the paper), got {self.dual_clip}; leave it out for none")

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        if self.dual_clip is None:
            return losses.ppo_clip(*given, low=self.clip_low, high=self.clip_high)
        return losses.dual_clip(*given, low=self.clip_low, high=self.clip_high, cap=self.dual_clip)

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        return losses.clip_fraction(*given, low=self.clip_low, high=self.clip_high, cap=self.dual_clip or math.inf)


@dataclass(frozen=True, kw_only=True)
class CISPOWeight(Surrogate):
    """``-sg[r] A log pi`` with the ratio held in [``ratio_least``, ``ratio_most``]: a token beyond a bound is still
    learned from (MiniMax-M1, https://arxiv.org/abs/2506.13585). Both bounds are ratios themselves."""

    ratio_least: float = 0.0
    ratio_most: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio_least <= 1 <= self.ratio_most:
            raise ValueError(
                f"the ratio is held in [ratio_least, ratio_most], which must hold 1 and begin at 0 or above, got "
                f"ratio_least={self.ratio_least}, ratio_most={self.ratio_most}"
            )

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        return losses.cispo(*given, least=self.ratio_least, most=self.ratio_most)

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        r = losses.ratio(logp_BT.detach(), old_BT, batch.mask_BT)
        return (r < self.ratio_least).to(r.dtype), (r > self.ratio_most).to(r.dtype)


@dataclass(frozen=True, kw_only=True)
class SAPOGate(Surrogate):
    """A smooth gate in place of a clip (https://arxiv.org/abs/2511.20347): the gradient's weight is 1 at a ratio of 1
    and falls off to both sides, faster with a larger ``tau_good`` (A > 0) or ``tau_bad``."""

    tau_good: float = 1.0
    tau_bad: float = 1.05

    def __post_init__(self) -> None:
        above_0(tau_good=self.tau_good, tau_bad=self.tau_bad)

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        return losses.sapo(*given, good=self.tau_good, bad=self.tau_bad)


@dataclass(frozen=True, kw_only=True)
class DPPOMask(Surrogate):
    """A bound on how far a token's probability moves, not its ratio (DPPO-TV, https://arxiv.org/abs/2602.04879): up by
    ``rise``, down by ``fall`` at most. Rare tokens have room to grow, likely ones do not collapse."""

    fall: float = 0.15
    rise: float = 0.15

    def __post_init__(self) -> None:
        if not (0 < self.fall <= 1 and 0 < self.rise <= 1):
            raise ValueError(f"wanted 0 < fall <= 1 and 0 < rise <= 1, got fall={self.fall}, rise={self.rise}")

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        return losses.dppo_tv(*given, low=self.fall, high=self.rise)

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        below, above = losses.left_by_probability(*given, low=self.fall, high=self.rise)
        return below.to(logp_BT.dtype), above.to(logp_BT.dtype)


@dataclass(frozen=True, kw_only=True)
class AWRWeight(Surrogate):
    """Likelihood of every answer, weighed by e^(A / ``temper``), at most ``weight_cap``
    (https://arxiv.org/abs/1910.00177): right for answers of any policy, and none is made less likely."""

    rests: ClassVar[bool] = False
    temper: float = 0.05
    weight_cap: float = 20.0

    def __post_init__(self) -> None:
        above_0(temper=self.temper, weight_cap=self.weight_cap)

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        return losses.awr(logp_BT, batch.advantage_BT, batch.mask_BT, beta=self.temper, most=self.weight_cap)


@dataclass(frozen=True, kw_only=True)
class MixedPolicy(Surrogate):
    """``-r A`` for the policy's own answers, ``-A pi / (pi + gamma)`` for recorded ones in the same group (LUFFY,
    https://arxiv.org/abs/2504.14945), whose probability under whoever wrote them is not known."""

    shaping: float = 0.1

    def __post_init__(self) -> None:
        above_0(shaping=self.shaping)

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        own_BT = losses.importance(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT)
        others_BT = losses.shaped_imitation(logp_BT, batch.advantage_BT, batch.mask_BT, gamma=self.shaping)
        return others_BT.where(recorded(batch), own_BT)
