"""Sums of one optimiser step: its loss, its metrics, and how far sampler and trainer are apart. Knows no algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from togi.models.ranks import Ranks
from togi.models.sample_bytes import packed, unpacked
from togi.models.sampler_drift import Drift
from togi.protocols import Compare, Model
from togi.types import LOGP, Batch, Mean, Output, Outputs


class Watched:
    """The model, remembering the log-probabilities it gave last, so that the mismatch with the sampler is free."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.last: Outputs | None = None

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP, compare: Compare | None = None) -> Outputs:
        out = self._model(batch, outputs, compare)
        if "logp" in outputs:
            self.last = out
        return out


class Tally:
    """Sums of a step: the loss, the algorithm's metrics, and how far the sampler's log-probs are from the trainer's."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.drift = Drift()
        self._sums: dict[str, Mean] = {}

    def add(self, metrics: Mapping[str, Mean], loss: float, out: Outputs | None, batch: Batch) -> None:
        self.loss += loss
        for name, mean in metrics.items():
            self._sums[name] = _sum(self._sums.get(name), mean)
        if out is not None:
            self.drift.add(out.logp_BT, batch)

    def join(self, ranks: Ranks) -> Tally:
        """The sums of all processes that learn together, the same in each of them."""
        if ranks.count == 1:
            return self
        means = {name: [mean.total, mean.count] for name, mean in self._sums.items()}
        joint = Tally()
        for said in ranks.gather(packed({"loss": self.loss, "means": means}, self.drift.told())):
            words, arrays = unpacked(said)
            joint.loss += words["loss"]
            for name, (total, count) in words["means"].items():
                joint._sums[name] = _sum(joint._sums.get(name), Mean(total=total, count=count))
            joint.drift.hear(arrays)
        return joint

    def means(self) -> dict[str, float]:
        return {name: mean.total / mean.count for name, mean in self._sums.items() if mean.count} | self.drift.means()


def _sum(a: Mean | None, b: Mean) -> Mean:
    return b if a is None else Mean(total=a.total + b.total, count=a.count + b.count)
