"""How far the weights that learn are from those that sampled: noise where they are the same, staleness where they are
older. Knows no algorithm and no loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from togi.types import Batch

Array = NDArray[np.float64]


FAR = math.log(2)
"""Nats by which a token's two log-probabilities are far apart: one of its probabilities is twice the other. Truncated
importance sampling cuts there."""


class Disagreement(ValueError):
    """Sampler and trainer say other things of tokens that were drawn with the very weights that are to learn."""


class Drift:
    """Log-probabilities of one update's tokens, the trainer's less the sampler's.

    Of attempts that the present weights drew (``Sample.age`` 0) the two should agree, and what they differ by is told.
    Of attempts that older weights drew it is told apart, since it holds what was learned meanwhile. Of all attempts it
    is told how many are left in effect when each counts by how much likelier it is by now.
    """

    def __init__(self) -> None:
        self._apart: list[Array] = []
        self._stale: list[Array] = []
        self._token: list[Array] = []
        self._attempt: dict[tuple[int, int], float] = {}

    def add(self, logp_BT: Tensor, batch: Batch) -> None:
        """``logp_BT`` are of the weights as they are now. Recorded text was not sampled and does not count."""
        sampled_BT = _numbers(batch.logp_BT)
        now_BT = _numbers(logp_BT) - sampled_BT
        # Later updates of a step move on from the weights that sampled.
        begun_BT = now_BT if batch.old_logp_BT is None else _numbers(batch.old_logp_BT) - sampled_BT
        for sample, now_T, begun_T in zip(batch.samples, now_BT, begun_BT, strict=True):
            if not sample.logp.any():
                continue
            mask_T = np.flatnonzero(sample.mask)
            now_n = now_T[mask_T]
            self._token.append(now_n)
            attempt = (sample.group, sample.trajectory)
            self._attempt[attempt] = self._attempt.get(attempt, 0.0) + float(now_n.sum())
            if sample.age:
                self._stale.append(np.abs(now_n))
            else:
                self._apart.append(np.abs(begun_T[mask_T]))

    def told(self) -> dict[str, Array]:
        """All of it, for another process."""
        places = np.array(list(self._attempt), dtype=np.float64).reshape(-1, 2)
        sums = np.array(list(self._attempt.values()))
        return {
            "apart": _joined(self._apart),
            "stale": _joined(self._stale),
            "token": _joined(self._token),
            "attempt": np.concatenate((places, sums[:, None]), axis=1),
        }

    def hear(self, told: Mapping[str, Array]) -> None:
        """What another process has ``told`` of its own tokens."""
        self._apart.append(told["apart"])
        self._stale.append(told["stale"])
        self._token.append(told["token"])
        for group, trajectory, total in told["attempt"].tolist():
            attempt = (int(group), int(trajectory))
            self._attempt[attempt] = self._attempt.get(attempt, 0.0) + total

    def check(self, limit: float) -> None:
        """Raises Disagreement where what was just drawn is further apart than ``limit``, in nats a token."""
        apart_N = _joined(self._apart)
        # Not a comparison with ">", which nan would pass.
        if apart_N.size and not apart_N.mean() <= limit:
            raise Disagreement(
                f"sampler and trainer do not agree: log-probabilities of tokens that these same weights have just "
                f"drawn differ by {apart_N.mean():.3g} nats on average ({np.quantile(apart_N, 0.99):.3g} in one of 100 "
                f"tokens), where {limit:g} is allowed. Nothing was learned from them, since such gradients mislead. "
                'Set dtype = "float32" under [model] to see whether rounding does it; where it is known to be harmless '
                "raise mismatch_limit under [engine]"
            )

    def means(self) -> dict[str, float]:
        told: dict[str, float] = {}
        apart_N = _joined(self._apart)
        if apart_N.size:
            told["sampling/sampling_logp_difference/mean"] = float(apart_N.mean())
            told["sampling/sampling_logp_difference/p99"] = float(np.quantile(apart_N, 0.99))
            told["sampling/sampling_logp_difference/max"] = float(apart_N.max())
            told["sampling/sampling_logp_difference/far"] = float((apart_N > FAR).mean())
        stale_N = _joined(self._stale)
        if stale_N.size:
            told["sampling/stale_logp_difference/mean"] = float(stale_N.mean())
            told["sampling/stale_logp_difference/p99"] = float(np.quantile(stale_N, 0.99))
            told["sampling/stale_logp_difference/far"] = float((stale_N > FAR).mean())
        token_N = _joined(self._token)
        if token_N.size:
            told["sampling/effective_sample_size/tokens"] = effective_share(token_N)
            told["sampling/effective_sample_size/attempts"] = effective_share(np.array(list(self._attempt.values())))
        return told


def effective_share(log_weight_N: Array) -> float:
    """Kish's effective sample size of weights w as a share of their number: (sum w)^2 / (N sum w^2)."""
    weight_N = np.exp(log_weight_N - log_weight_N.max())
    return float(weight_N.sum() ** 2 / (len(weight_N) * (weight_N**2).sum()))


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0)


def _numbers(x_BT: Tensor) -> Array:
    numbers: Array = x_BT.detach().double().cpu().numpy()
    return numbers
