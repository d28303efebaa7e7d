"""Sums of one optimiser step: its loss, its metrics, and how far sampler and trainer are apart. Knows no algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from togi.protocols import Model
from togi.types import LOGP, Batch, Mean, Output, Outputs


class Watched:
    """The model, remembering the log-probabilities it gave last, so that the mismatch with the sampler is free."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.last: Outputs | None = None

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        out = self._model(batch, outputs)
        if "logp" in outputs:
            self.last = out
        return out


class Tally:
    """Sums of a step: the loss, the algorithm's metrics, and how far the sampler's log-probs are from the trainer's."""

    def __init__(self) -> None:
        self.loss = 0.0
        self._sums: dict[str, Mean] = {}
        self._apart = Mean(total=0.0, count=0.0)
        self._largest = 0.0

    def add(self, metrics: Mapping[str, Mean], loss: float, out: Outputs | None, batch: Batch) -> None:
        self.loss += loss
        for name, mean in metrics.items():
            self._sums[name] = _sum(self._sums.get(name), mean)
        # Recorded text was not sampled: its log-probabilities are all 0.
        sampled_BT = batch.mask_BT & (batch.logp_BT != 0).any(-1, keepdim=True)
        if out is None or not bool(sampled_BT.any()):
            return
        # Under the weights that sampled: later updates of the same step move on from them.
        own_BT = out.logp_BT.detach() if batch.old_logp_BT is None else batch.old_logp_BT
        apart = (own_BT - batch.logp_BT).abs()[sampled_BT]
        self._apart = _sum(self._apart, Mean(total=float(apart.sum()), count=float(apart.numel())))
        self._largest = max(self._largest, float(apart.max()))

    def means(self) -> dict[str, float]:
        means = {name: mean.total / mean.count for name, mean in self._sums.items() if mean.count}
        if self._apart.count:
            means["sampling/sampling_logp_difference/mean"] = self._apart.total / self._apart.count
            means["sampling/sampling_logp_difference/max"] = self._largest
        return means


def _sum(a: Mean | None, b: Mean) -> Mean:
    return b if a is None else Mean(total=a.total + b.total, count=a.count + b.count)
