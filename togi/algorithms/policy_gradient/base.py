"""What the policy-gradient pages share: surrogate, KL, entropy bonus, averaging, metrics. Knows no baseline, no critic.

Axis legend: B samples, T positions of a sample, S trajectories of a step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from togi import losses
from togi.advantages import Array, entropy_coefficient, kl_coefficient
from togi.algorithms.policy_gradient.composition import check_composition, check_updates
from togi.algorithms.policy_gradient.corrections import Correction, Truncated, Uncorrected
from togi.algorithms.policy_gradient.surrogates import PPOClip, Surrogate
from togi.algorithms.policy_gradient.surrogates.surrogate import recorded
from togi.algorithms.policy_gradient.token_choices import AllTokens, TokenChoice
from togi.batch import Attempts, trajectories
from togi.protocols import Algorithm
from togi.types import LOGP, Batch, Estimator, Level, Loss, Mean, Memory, Need, Output, Outputs, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Regularised(Algorithm):
    """A surrogate with optional KL penalty and entropy bonus; where advantages come from is left open.

    ``kl`` is the penalty's coefficient; 0 leaves it out, and with it the reference model. What it pulls towards is
    decided by estimator and place. With d = log pi - log ref, the expected gradient of each choice is:

    ===========  ==========  ==============================================================================
    estimator    place       expected gradient
    ===========  ==========  ==============================================================================
    k1 = d       "reward"    that of KL(pi || ref); a token is also charged for the KL of what follows it
    k2 = d²/2    "loss"      that of KL(pi || ref), on-policy
    k3_ratio     "loss"      that of KL(pi || ref), also for tokens of an older policy (k3 times pi / pi_old)
    k3           "loss"      that of KL(ref || pi), the other direction: GRPO's published choice
    k1           "loss"      0: regularises nothing, refused
    k2, k3, ...  "reward"    that of no KL at all, refused
    ===========  ==========  ==============================================================================

    With ``kl_target`` (nats a sequence) ``kl`` only starts the coefficient, which then follows the KL over some
    ``kl_horizon`` attempts. ``entropy_bonus`` is subtracted times the entropy, under the same average as the loss; with
    ``entropy_target`` (nats a token) it only starts that coefficient, which then goes up or down by ``entropy_step`` a
    step, and acts while the entropy is at the target or below.

    The loss of a token is its ``surrogate``'s, times the ``correction``'s weight. ``old_policy`` is what a ratio
    divides by: the ``trainer``'s policy when the step began, or the ``sampler``'s that drew the token. ``tokens``
    chooses which of the step's tokens are learned from, and ``left_most`` leaves out the bad tokens of answers that the
    policy has left, by more than so many nats a token.
    """

    surrogate: Surrogate = field(default=PPOClip())
    correction: Correction = field(default=Uncorrected())
    tokens: TokenChoice = field(default=AllTokens())
    old_policy: Literal["trainer", "sampler"] = "trainer"
    left_most: float | None = None
    kl: float = 0.0
    kl_estimator: Estimator = "k3"
    kl_place: Literal["loss", "reward"] = "loss"
    kl_target: float | None = None
    kl_horizon: int = 10_000
    entropy_bonus: float = 0.0
    entropy_target: float | None = None
    entropy_step: float = 0.005

    per_token: ClassVar[bool] = True
    """Whether the tokens of one sample may have different advantages."""

    def __post_init__(self) -> None:
        if self.kl < 0:
            raise ValueError(f"kl rewards drifting away when it is below 0, got {self.kl}; 0 leaves the penalty out")
        if self.kl and (self.kl_estimator, self.kl_place) == ("k1", "loss"):
            raise ValueError(
                'k1 in the loss has an expected gradient of 0: set kl_place = "reward", '
                'or kl_estimator = "k2" or "k3_ratio"'
            )
        if self.kl and self.kl_place == "reward" and self.kl_estimator != "k1":
            raise ValueError(
                f"{self.kl_estimator} in the reward follows the gradient of no KL: "
                'set kl_estimator = "k1", or kl_place = "loss"'
            )
        self._check_coefficients()
        check_composition(
            self.surrogate, self.correction, self.tokens, old_policy=self.old_policy, per_token=self.per_token
        )

    def for_another_program(self) -> Self:
        """As it learns what another program draws: with truncated importance sampling, unless it corrects for whoever
        draws already."""
        if self.old_policy == "sampler" or not isinstance(self.correction, Uncorrected):
            return self
        level: Level = "sequence" if self.surrogate.one_action else "token"
        return replace(self, correction=Truncated(weight_level=level))

    def _check_coefficients(self) -> None:
        """Refuse coefficients that cannot be steered."""
        for name in ("kl_target", "entropy_target", "left_most"):
            if vars(self)[name] is not None and vars(self)[name] <= 0:
                raise ValueError(f"{name} must be above 0, got {vars(self)[name]}; leave it out to do without")
        if self.kl_horizon < 1:
            raise ValueError(f"kl_horizon counts attempts and must be at least 1, got {self.kl_horizon}")
        if self.kl_target is not None and not self.kl:
            raise ValueError(
                "kl_target steers a KL penalty from the coefficient kl on: set kl above 0, or leave it out"
            )
        if self.entropy_step <= 0:
            raise ValueError(f"entropy_step must be above 0, got {self.entropy_step}")

    def check_updates(self, updates: int) -> None:
        check_updates(self.surrogate, updates)
        if updates == 1 and self.tokens.several_updates:
            raise ValueError(
                "it holds tokens near the policy that began the step, which nothing has left at a step's only update: "
                "set minibatches = 4"
            )

    @property
    def needs(self) -> frozenset[Need]:
        needs = set(self.tokens.needs)
        if self.entropy_target is not None:
            needs.add("old_entropy")
        if self.kl:
            needs |= {"ref_logp"} if self.kl_place == "loss" else {"ref_logp", "old_logp"}
        return frozenset(needs)

    @property
    def outputs(self) -> frozenset[Output]:
        return frozenset({"logp", "entropy"}) if self._bonus else LOGP

    @property
    def _bonus(self) -> bool:
        return bool(self.entropy_bonus) or self.entropy_target is not None

    @property
    def _always(self) -> bool:
        """Whether tokens of advantage 0 have a gradient."""
        return self._bonus or bool(self.kl and self.kl_place == "loss") or not self.surrogate.rests

    def policy_loss(self, logp_BT: Tensor, batch: Batch) -> Loss:
        """What the advantages say."""
        return learned(self.surrogate, logp_BT, batch, self.old(logp_BT, batch), self._factor(logp_BT, batch))

    def old(self, logp_BT: Tensor, batch: Batch) -> Tensor:
        """What a ratio divides by."""
        return drawn(logp_BT, batch) if self.old_policy == "sampler" else before_update(logp_BT, batch)

    def _factor(self, logp_BT: Tensor, batch: Batch) -> Tensor | None:
        """What multiplies the loss of a token, [B, T] or [B, 1], because another policy drew it."""
        if self.left_most is None and isinstance(self.correction, Uncorrected):
            return None
        drawn_BT, mask_BT = drawn(logp_BT, batch), batch.mask_BT
        factor = self.correction.weight(before_update(logp_BT, batch).detach(), drawn_BT, mask_BT)
        if self.left_most is None:
            return factor
        near_BT = losses.still_near(logp_BT, drawn_BT, batch.advantage_BT, mask_BT, most=self.left_most)
        near_BT = near_BT.amin(1, keepdim=True) if self.surrogate.one_action else near_BT
        return near_BT if factor is None else near_BT * factor

    def penalty(self, sample: Sample) -> Array:
        """``kl`` k1 for each trained token [n], of the policy that sampled; 0 when no KL stands in the reward."""
        if not (self.kl and self.kl_place == "reward"):
            return np.zeros(int(sample.mask.sum()))
        assert sample.old_logp is not None
        return self._charge(sample)

    def _charge(self, sample: Sample) -> Array:
        assert sample.ref_logp is not None
        own = sample.logp if sample.old_logp is None else sample.old_logp
        return self.kl * (own[sample.mask].astype(np.float64) - sample.ref_logp[sample.mask])

    def steered(self, memory: Memory) -> Self:
        """The algorithm with the KL coefficient of this step, which ``memory`` holds where it changes."""
        return self if self.kl_target is None else replace(self, kl=memory.get("kl_coef", self.kl))

    def steer(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """The samples of a step with its coefficients, where these change; ``memory`` gets those of the next step.

        To be called of the algorithm ``steered``. Recorded answers say nothing of how far the policy is.
        """
        done, own = list(samples), [sample for sample in samples if not sample.recorded]
        if self.kl_target is not None and own:
            # Every trajectory counts once, however many samples it became.
            count = len({(sample.group, sample.trajectory) for sample in own})
            divergence = sum(self._charge(sample).sum() for sample in own) / self.kl / count
            moved = kl_coefficient(self.kl, divergence, target=self.kl_target, attempts=count, horizon=self.kl_horizon)
            memory["kl_coef"] = moved
            done = [replace(sample, kl_coef=self.kl) for sample in done]
        if self.entropy_target is not None:
            entropy = _mean_entropy(samples)
            before, target = memory.get("entropy_coef", self.entropy_bonus), self.entropy_target
            memory["entropy_coef"] = entropy_coefficient(before, entropy, target=target, step=self.entropy_step)
            done = [replace(sample, entropy_coef=before if entropy <= target else 0.0) for sample in done]
        return done

    def token_rewards(self, samples: Sequence[Sample], attempts: Attempts, score_S: Array) -> list[Array]:
        """What each trained token of each sample earned [n]: its dense reward less its penalty, and at the last trained
        token of a trajectory the trajectory's score."""
        reward_bn = [-self.penalty(sample) for sample in samples]
        for reward_n, sample in zip(reward_bn, samples, strict=True):
            if sample.dense is not None:
                reward_n += sample.dense[sample.mask]
        # Of a trajectory's samples, which are consecutive parts of one episode, the last one with a trained token.
        for row, b in {int(row): b for b, row in enumerate(attempts.index) if len(reward_bn[b])}.items():
            reward_bn[b][-1] += score_S[row]
        return reward_bn

    def penalised(self, samples: Sequence[Sample], attempts: Attempts) -> Array:
        """Each trajectory's reward less the sum of its penalties [S]."""
        totals = [self.penalty(sample).sum() for sample in samples]
        return attempts.reward_S - np.bincount(attempts.index, totals, minlength=len(attempts.reward_S))

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        logp_BT, mask_BT = out.logp_BT, batch.mask_BT
        found = self.policy_loss(logp_BT, batch)
        value, metrics = found.value, dict(found.metrics)
        if batch.hold_BT is not None:
            left_BT = losses.k1(logp_BT, before_update(logp_BT, batch), mask_BT).abs() * batch.hold_BT
            value = value + losses.weighted_sum(left_BT, batch.weight_B, mask_BT)
        if self.kl:
            assert batch.ref_logp_BT is not None
            metrics["kl"] = mean(losses.k3(logp_BT, batch.ref_logp_BT, mask_BT), mask_BT)
            if self.kl_place == "loss":
                kl, old_BT = _given(self.kl, (each.kl_coef for each in batch.samples)), before_update(logp_BT, batch)
                kl_BT = losses.kl(logp_BT, batch.ref_logp_BT, mask_BT, estimator=self.kl_estimator, old_logp=old_BT)
                value = value + kl * losses.weighted_sum(kl_BT, batch.weight_B, mask_BT)
        if self._bonus:
            assert out.entropy_BT is not None
            metrics["entropy"] = mean(out.entropy_BT, mask_BT)
            bonus = _given(self.entropy_bonus, (each.entropy_coef for each in batch.samples))
            value = value - bonus * losses.weighted_sum(out.entropy_BT, batch.weight_B, mask_BT)
        return Loss(value=value, metrics=metrics)


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Regularised):
    """One advantage an attempt, or one a token, from rewards alone.

    ``drop_truncated`` leaves attempts that ran out of room out of the loss and of its denominator, not out of their
    group's baseline (DAPO's overlong filtering).
    """

    drop_truncated: bool = False

    @abstractmethod
    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        """One array a sample, of shape [] or [T]."""

    @abstractmethod
    def weights(self, length_S: NDArray[np.int64]) -> Array:
        """Trained tokens of each trajectory -> the weight of its samples in the loss [S]."""

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Advantages and weights. Rewards are counted once a trajectory, however many samples it became.

        A sample whose advantages are all 0 gets weight 0 when nothing else acts on it in the loss: it has no gradient,
        and whoever sees the weight may spare its forward pass. It still counts in the averages.
        """
        if not samples:
            return []
        attempts, now = trajectories(samples), self.steered(memory)
        kept_S = ~(attempts.truncated_S & self.drop_truncated)
        weight_B = self.weights(np.where(kept_S, attempts.length_S, 0))[attempts.index].tolist()
        credited = []
        for sample, advantage, weight in zip(samples, now.advantages(samples, attempts), weight_B, strict=True):
            advantage_T = np.where(sample.mask, advantage, 0.0).astype(np.float32)
            one = len(np.unique(advantage_T[sample.mask])) <= 1
            assert one or not self.surrogate.one_advantage, "per_token says that a sample has one advantage"
            credited.append(replace(sample, advantage=advantage_T, weight=weight))
        credited = now.steer(now.tokens.choose(credited), memory)
        return [each if self._always or _signals(each) else replace(each, weight=0.0) for each in credited]


def _given(usual: float, given: Iterable[float | None]) -> float:
    """A step's coefficient, which its samples carry where it changes."""
    return next((each for each in given if each is not None), usual)


def _signals(sample: Sample) -> bool:
    assert sample.advantage is not None
    return bool(sample.advantage.any()) or bool(sample.hold is not None and sample.hold.any())


def _mean_entropy(samples: Sequence[Sample]) -> float:
    """Mean entropy of the step's trained tokens before its first update; 0 where there are none."""
    entropies = [sample.entropy[sample.mask] for sample in samples if sample.entropy is not None]
    entropy_N = np.concatenate(entropies).astype(np.float64)
    return float(entropy_N.mean()) if entropy_N.size else 0.0


def before_update(logp_BT: Tensor, batch: Batch) -> Tensor:
    """log pi_old. Before the first update pi_old is pi itself, so its log-probabilities are at hand."""
    return logp_BT if batch.old_logp_BT is None else batch.old_logp_BT


def drawn(logp_BT: Tensor, batch: Batch) -> Tensor:
    """Log-probabilities that the sampler drew with. Recorded answers were not drawn: they have the trainer's."""
    return before_update(logp_BT, batch).detach().where(recorded(batch), batch.logp_BT.to(logp_BT.dtype))


def learned(surrogate: Surrogate, logp_BT: Tensor, batch: Batch, old_BT: Tensor, factor: Tensor | None = None) -> Loss:
    """A surrogate's losses under the weights of their samples, and how much of them its bounds hold."""
    loss, trained = surrogate.loss(logp_BT, old_BT, batch), surrogate.trained(batch)
    bounded = surrogate.bounded(logp_BT, old_BT, batch)
    return Loss(
        value=losses.weighted_sum(loss if factor is None else loss * factor, batch.weight_B, trained),
        metrics=clip_metrics(*(mean(each, trained) for each in bounded)) if bounded else {},
    )


def along(reward_bn: Sequence[Array], attempts: Attempts, credit: Callable[[Array, list[int]], Array]) -> list[Array]:
    """``credit(rewards, samples)`` of each whole trajectory, cut into its samples again [n]: credit flows back through
    all parts of an episode, and over every token that the policy did not write."""
    parts_S: list[list[int]] = [[] for _ in attempts.reward_S]
    for b, row in enumerate(attempts.index):
        parts_S[row].append(b)
    credited_bn = list(reward_bn)
    for parts in parts_S:
        whole = credit(np.concatenate([reward_bn[b] for b in parts]), parts)
        cuts = np.cumsum([len(reward_bn[b]) for b in parts])[:-1]
        for b, part in zip(parts, np.split(whole, cuts), strict=True):
            credited_bn[b] = part
    return credited_bn


def spread(values_n: Array, mask_T: NDArray[np.bool_]) -> Array:
    """One value a trained token [n] at the tokens' positions [T]; 0 elsewhere."""
    spread_T = np.zeros(len(mask_T))
    spread_T[mask_T] = values_n
    return spread_T


def mean(x: Tensor, mask: Tensor) -> Mean:
    """The entries where the mask is true, as a metric."""
    import torch

    return Mean(total=float(torch.where(mask, x.detach(), 0.0).sum(dtype=torch.float64)), count=float(mask.sum()))


def clip_metrics(below: Mean, above: Mean) -> dict[str, Mean]:
    region = Mean(total=below.total + above.total, count=below.count)
    return {"clip_ratio/low_mean": below, "clip_ratio/high_mean": above, "clip_ratio/region_mean": region}
