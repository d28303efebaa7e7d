"""Choices of tokens: which of a whole step's tokens are learned from, decided once, before its first update.

Such a choice compares the tokens of a step with each other, so it is made where credit is given and never in a loss:
micro-batches, minibatches and the order of samples cannot change it. A token that is not chosen gets advantage 0 and
still counts in the average. ``TOKEN_CHOICES`` has their names. They know no surrogate and no sampler.

Axis legend: N trained tokens of a step, T positions of a sample.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array
from togi.types import FloatArray, Need, Sample


@dataclass(frozen=True, kw_only=True)
class TokenChoice(ABC):
    """Fields are settings of the algorithm that has it. ``several_updates``: what it does acts from the second update
    of a step on; ``drops``: it leaves tokens out."""

    several_updates: ClassVar[bool] = False
    drops: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    @abstractmethod
    def choose(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with what was decided of their tokens; of those with weight 0 nothing is."""


@dataclass(frozen=True, kw_only=True)
class AllTokens(TokenChoice):
    """Every token is learned from."""

    drops: ClassVar[bool] = False

    def choose(self, samples: Sequence[Sample]) -> list[Sample]:
        return list(samples)


@dataclass(frozen=True, kw_only=True)
class HighEntropy(TokenChoice):
    """The ``share`` of tokens at which the policy was least sure (https://arxiv.org/abs/2506.01939): there its ways
    fork. Entropies are read before the first update, which takes a forward pass more."""

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"old_entropy"})

    def choose(self, samples: Sequence[Sample]) -> list[Sample]:
        entropy_N = _joined(samples, [_entropy(sample) for sample in samples])
        least = np.quantile(entropy_N, 1 - self.share) if entropy_N.size else 0.0
        return _without(samples, entropy_N < least)


@dataclass(frozen=True, kw_only=True)
class SecondMoment(TokenChoice):
    """M2PO (https://arxiv.org/abs/2510.01161): tokens whose log-ratio of trainer and sampler is largest are left out,
    until the mean square of the others is below ``moment_most``. For answers of older weights; with fresh ones nothing
    is left out."""

    moment_most: float = 0.04

    def __post_init__(self) -> None:
        if self.moment_most <= 0:
            raise ValueError(f"moment_most must be above 0 (0.04 in the paper), got {self.moment_most}")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"old_logp"})

    def choose(self, samples: Sequence[Sample]) -> list[Sample]:
        apart_N = _joined(samples, [_apart(sample) for sample in samples])
        return _without(samples, ~within_second_moment(apart_N, self.moment_most))


@dataclass(frozen=True, kw_only=True)
class ClipCov(TokenChoice):
    """Clip-Cov (https://arxiv.org/abs/2505.22617): of the tokens whose covariance of advantage and log-probability lies
    between ``cov_low`` and ``cov_high``, a few are left out at random, ``cov_share`` of all tokens. These are the ones
    that make entropy fall fastest. Covariances are those before the first update."""

    cov_share: float = 2e-4
    cov_low: float = 1.0
    cov_high: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.cov_share <= 1:
            raise ValueError(f"cov_share must be above 0 and at most 1, got {self.cov_share}")
        if self.cov_low >= self.cov_high:
            raise ValueError(f"cov_low must be below cov_high, got {self.cov_low} and {self.cov_high}")

    def choose(self, samples: Sequence[Sample]) -> list[Sample]:
        cov_N = _covariances(samples)
        candidates = np.flatnonzero((cov_N > self.cov_low) & (cov_N < self.cov_high))
        count = min(len(candidates), max(1, int(self.cov_share * len(cov_N))))
        # Drawn in an order of the step's own, and by its content, so that how samples are sorted has no say.
        places = _places(samples)[candidates]
        candidates = candidates[np.lexsort(places.T[::-1])]
        dice = np.random.default_rng(zlib.crc32(b"".join(sorted(sample.ids.tobytes() for sample in samples))))
        left_N = np.zeros(len(cov_N), bool)
        left_N[dice.choice(candidates, count, replace=False)] = True
        return _without(samples, left_N)


@dataclass(frozen=True, kw_only=True)
class KLCov(TokenChoice):
    """KL-Cov (https://arxiv.org/abs/2505.22617): the ``cov_share`` of tokens with the largest covariance of advantage
    and log-probability are charged ``hold`` |log pi - log pi_old|, so that they stay where they were when the step
    began."""

    several_updates: ClassVar[bool] = True
    drops: ClassVar[bool] = False
    cov_share: float = 2e-3
    hold: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.cov_share <= 1:
            raise ValueError(f"cov_share must be above 0 and at most 1, got {self.cov_share}")
        if self.hold <= 0:
            raise ValueError(f"hold must be above 0 (1 in the paper), got {self.hold}")

    def choose(self, samples: Sequence[Sample]) -> list[Sample]:
        cov_N = _covariances(samples)
        least = np.sort(cov_N)[-max(1, int(self.cov_share * len(cov_N))) :].min(initial=np.inf)
        held_N = np.where(cov_N >= least, self.hold, 0.0)
        return [
            replace(sample, hold=_spread(part, sample))
            for sample, part in zip(samples, _parts(samples, held_N), strict=True)
        ]


TOKEN_CHOICES: Mapping[str, TokenChoice] = {
    "all": AllTokens(),
    "high_entropy": HighEntropy(),
    "second_moment": SecondMoment(),
    "clip_cov": ClipCov(),
    "kl_cov": KLCov(),
}
"""Choices by name, each of a class of its own."""


def covariance(advantage_N: Array, logp_N: Array) -> Array:
    """What each token adds to the covariance of advantage and log-probability over a step (arXiv:2505.22617, eq. 9)."""
    if not advantage_N.size:
        return advantage_N
    return np.asarray((advantage_N - advantage_N.mean()) * (logp_N - logp_N.mean()))


def within_second_moment(log_ratio_N: Array, most: float) -> NDArray[np.bool_]:
    """Which tokens stay when those with the largest squares are left out until the mean of the others is below ``most``
    (arXiv:2510.01161). Equal squares go together, so that their order has no say."""
    square_N = log_ratio_N**2
    rising = np.sort(square_N)
    mean = np.cumsum(rising) / np.arange(1, len(rising) + 1)
    above = np.flatnonzero(mean >= most)
    return square_N < (rising[above[0]] if len(above) else np.inf)


def _covariances(samples: Sequence[Sample]) -> Array:
    """Of the policy that began the step; the sampler's log-probabilities are its own where nothing else is known."""
    return covariance(
        _joined(samples, [_advantage(sample) for sample in samples]),
        _joined(samples, [sample.logp if sample.old_logp is None else sample.old_logp for sample in samples]),
    )


def _apart(sample: Sample) -> FloatArray:
    assert sample.old_logp is not None
    # Recorded answers were not drawn by the sampler.
    return np.zeros_like(sample.logp) if sample.recorded else sample.old_logp - sample.logp


def _entropy(sample: Sample) -> FloatArray:
    assert sample.entropy is not None
    return sample.entropy


def _advantage(sample: Sample) -> FloatArray:
    assert sample.advantage is not None
    return sample.advantage


def _counted(sample: Sample) -> NDArray[np.bool_]:
    """The tokens that are learned from [T]."""
    return sample.mask & (sample.weight != 0)


def _joined(samples: Sequence[Sample], values: Sequence[FloatArray]) -> Array:
    """Values [T] of each sample at the step's trained tokens [N]."""
    parts = [each[_counted(sample)] for each, sample in zip(values, samples, strict=True)]
    return np.concatenate(parts).astype(np.float64)


def _parts(samples: Sequence[Sample], value_N: Array) -> list[Array]:
    """Values of the step's trained tokens, cut into those of each sample."""
    return np.split(value_N, np.cumsum([int(_counted(sample).sum()) for sample in samples])[:-1])


def _places(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """What tells the step's tokens apart: task, attempt, length of the sample and position [N, 4]."""
    return np.concatenate(
        [
            np.array([(each.group, each.trajectory, len(each.ids), t) for t in tokens], np.int64).reshape(-1, 4)
            for each in samples
            for tokens in [np.flatnonzero(_counted(each))]
        ]
    )


def _without(samples: Sequence[Sample], left_N: NDArray[np.bool_]) -> list[Sample]:
    """The samples with advantage 0 at the tokens that are left out."""
    parts = _parts(samples, left_N.astype(np.float64))
    return [
        replace(sample, advantage=_advantage(sample) * (1 - _spread(part, sample)))
        for sample, part in zip(samples, parts, strict=True)
    ]


def _spread(value_n: Array, sample: Sample) -> FloatArray:
    spread_T = np.zeros(len(sample.mask), np.float32)
    spread_T[_counted(sample)] = value_n
    return spread_T
