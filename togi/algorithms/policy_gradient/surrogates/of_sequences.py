"""Surrogates in which a whole answer has one ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from togi import losses
from togi.algorithms.policy_gradient.surrogates.surrogate import Clipped, Surrogate, above_0
from togi.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SequenceClip(Clipped):
    """PPO's clip of the ratio of whole answers (RLOO, https://arxiv.org/abs/2402.14740): the sum of its tokens'
    log-ratios, so that long answers leave the range sooner."""

    one_action: ClassVar[bool] = True
    one_advantage: ClassVar[bool] = True

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        return losses.sequence_ratio_clip(*given, low=self.clip_low, high=self.clip_high)[:, None]

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        mask_BT = batch.mask_BT
        # One column a sequence: its summed log-probabilities and its advantage.
        logp_B1, old_B1, adv_B1 = (
            x.where(mask_BT, 0.0).sum(dim=1, keepdim=True) for x in (logp_BT, old_BT, batch.advantage_BT)
        )
        low, high = self.clip_low, self.clip_high
        return losses.clip_fraction(logp_B1, old_B1, adv_B1, self.trained(batch), low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class GSPOClip(Clipped):
    """PPO's clip of the geometric mean of an answer's ratios (GSPO, https://arxiv.org/abs/2507.18071), in the form that
    takes an advantage a token as well (GSPO-token). Such means stay near 1: the paper's range is some thousandths of
    PPO's, and whole answers leave it."""

    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        given = logp_BT, old_BT, batch.advantage_BT, batch.mask_BT
        return losses.gspo(*given, low=self.clip_low, high=self.clip_high)

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        mean_B1 = losses.geometric_ratio(logp_BT.detach(), old_BT, batch.mask_BT)
        given = mean_B1.expand_as(logp_BT), mean_B1.new_zeros(logp_BT.shape), batch.advantage_BT, batch.mask_BT
        return losses.clip_fraction(*given, low=self.clip_low, high=self.clip_high)


@dataclass(frozen=True, kw_only=True)
class GMPOClip(Surrogate):
    """The geometric mean of an answer's ratios, each clipped to e^±``log_clip`` first (GMPO,
    https://arxiv.org/abs/2507.20673)."""

    one_advantage: ClassVar[bool] = True
    log_clip: float = 0.4

    def __post_init__(self) -> None:
        above_0(log_clip=self.log_clip)

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        return losses.gmpo(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, clip=self.log_clip)

    def bounded(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        range_ = {"low": -math.expm1(-self.log_clip), "high": math.expm1(self.log_clip)}
        return losses.clip_fraction(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, **range_)


@dataclass(frozen=True, kw_only=True)
class TOPRTaper(Surrogate):
    """Good answers are learned as they stand, bad ones as far as the policy still gives them
    (https://arxiv.org/abs/2503.14286): their ratio, at most 1, weighs them. The advantage's sign tells them apart."""

    one_advantage: ClassVar[bool] = True

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        return losses.topr(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT)


@dataclass(frozen=True, kw_only=True)
class VESPOWeight(Surrogate):
    """The ratio W of a whole answer weighs it by W^k e^(lambda (1 - W)) (https://arxiv.org/abs/2602.10693), which is
    largest a little below 1: ``good_power`` and ``good_tilt`` are k and lambda of good answers."""

    good_power: float = 2.0
    good_tilt: float = 3.0
    bad_power: float = 3.0
    bad_tilt: float = 2.0

    def __post_init__(self) -> None:
        above_0(**{name: vars(self)[name] for name in ("good_power", "good_tilt", "bad_power", "bad_tilt")})

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        good, bad = (self.good_power, self.good_tilt), (self.bad_power, self.bad_tilt)
        return losses.vespo(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, good=good, bad=bad)


@dataclass(frozen=True, kw_only=True)
class MirrorDescent(Surrogate):
    """The policy gradient of whole answers, and ``tau`` / 2 times the square of how far the policy has gone from the
    one that began the step (Kimi k1.5, https://arxiv.org/abs/2501.12599), which acts from the second update on."""

    one_action: ClassVar[bool] = True
    one_advantage: ClassVar[bool] = True
    rests: ClassVar[bool] = False
    tau: float = 0.1

    def __post_init__(self) -> None:
        above_0(tau=self.tau)

    def loss(self, logp_BT: Tensor, old_BT: Tensor, batch: Batch) -> Tensor:
        return losses.mirror_descent(logp_BT, old_BT, batch.advantage_BT, batch.mask_BT, tau=self.tau)[:, None]
