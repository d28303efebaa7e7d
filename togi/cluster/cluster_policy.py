"""A policy whose weights learn at a cluster: the loss and its derivative by log-probabilities are computed here.

A cluster tells the log-probabilities of tokens, and takes a weight for each of them. Where a loss reads nothing else of
the model, its gradient is the sum over tokens of (d loss / d log-probability) times that of the log-probability: just
that of a cross-entropy with those weights. So every such algorithm learns there exactly as it does here, whatever
losses the cluster knows. It knows no rewards and no algorithm, and not how a cluster is reached.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from togi.batch import collate
from togi.cluster.stage_weights import StageWeights, note
from togi.cluster.verbs import Cluster, Drawer, Learner, Numbers
from togi.cluster.what_it_tells import ANNOTATES, TELLS
from togi.models.lora_and_optimiser import Optimiser
from togi.models.policy import PATIENCE, NonFinite
from togi.models.step_sums import Tally, Watched
from togi.models.weight_files import ModelError
from togi.protocols import Algorithm, Compare
from togi.types import LOGP, Batch, Need, Output, Outputs, Sample

_STATE = "policy.json"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a stage's policy starts from: weights kept at the cluster, or (None) fresh adapters on what it calls
    ``base``."""

    base: str
    state: str | None
    rank: int
    seed: int


class ClusterPolicy:
    """A policy at a cluster. It is asked for nothing before the policy is needed.

    ``mismatch_limit`` is how far the log-probabilities of what was just sampled may be from its own, in nats a token.
    The reference is what the policy starts from.
    """

    reference = None  # nobody can draw from it here
    thoughts = None
    saved_bytes = 0

    def __init__(
        self, cluster: Cluster, start: Start, optimiser: Optimiser, *, mismatch_limit: float = math.inf
    ) -> None:
        self.step = 0
        self.changes = 0
        """How often the weights have become others."""
        self.optimiser = optimiser
        self._still = True  # moments are 0, so that without a gradient an update changes nothing
        self._cluster, self._start, self._mismatch_limit = cluster, start, mismatch_limit
        self._bad_steps = 0
        self._learner: Learner | None = None
        self._reference: Learner | None = None

    def annotate(self, samples: Sequence[Sample], needs: frozenset[Need]) -> list[Sample]:
        """The samples with ``old_logp`` and ``ref_logp``, where asked for, in their order."""
        assert needs <= ANNOTATES, "recipes refuse what a cluster cannot tell"
        done = list(samples)
        if "old_logp" in needs:
            rows = self._logps(self._opened(), samples)
            done = [replace(each, old_logp=row.astype(np.float32)) for each, row in zip(done, rows, strict=True)]
        if "ref_logp" in needs:
            self._reference = self._reference or self._begun()
            rows = self._logps(self._reference, samples)
            done = [replace(each, ref_logp=row.astype(np.float32)) for each, row in zip(done, rows, strict=True)]
        return done

    def learn(self, samples: Sequence[Sample], algorithm: Algorithm) -> Mapping[str, float]:
        """One optimiser step over the samples; gives the step's metrics, without the gradient's norm, which the cluster
        keeps.

        A loss or derivative that is not finite leaves weights and moments as they were (``skipped_steps`` is 1). Raises
        NonFinite at the third such step in a row, Disagreement, with weights as they were, where sampler and trainer do
        not agree, and ClusterError.
        """
        if not samples:
            raise ValueError("no sample to learn from: every group was dropped or failed to be scored")
        rate, learner, tally = self.optimiser.rate(self.step), self._opened(), Tally()
        batch = collate(samples)
        logp_BT = _padded(self._logps(learner, samples), batch).requires_grad_()
        watched = Watched(_Told(logp_BT))
        loss = algorithm.loss(algorithm.forward(watched, batch), batch)
        tally.add(loss.metrics, float(loss.value.detach()), watched.last, batch)
        by_logp_BT = torch.zeros_like(logp_BT)
        if math.isfinite(tally.loss):
            if loss.value.requires_grad:  # samples of zero weight only carry no graph
                (by_logp_BT,) = torch.autograd.grad(loss.value, logp_BT)
            tally.drift.check(self._mismatch_limit)
        finite = math.isfinite(tally.loss) and bool(torch.isfinite(by_logp_BT).all())
        if finite:
            rows = [-by_logp_BT[row, : len(sample.ids)].numpy() for row, sample in enumerate(samples)]
            self._pass_back(learner, samples, rows)
            learner.update(rate, self.optimiser)
            self.step += 1
            self._still = self._still and not by_logp_BT.any() and not self.optimiser.weight_decay
            self.changes += not self._still
        self._count(finite, tally.loss)
        return {
            "loss": tally.loss,
            "learning_rate": rate,
            "skipped_steps": 0.0 if finite else 1.0,
            **tally.means(),
        }

    def _count(self, finite: bool, loss: float) -> None:
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps == PATIENCE:
            raise NonFinite(
                f"loss {loss}, or its derivative by log-probabilities, is no number in {PATIENCE} steps one after the "
                "other: lower the learning rate, or look at the rewards and log-probabilities of these samples"
            )

    def drawer(self) -> Drawer:
        """The weights as they are now, to draw from."""
        return self._opened().drawer()

    def logps(self, ids: Sequence[int]) -> Numbers:
        """What the weights say of a text as they are now, as they learn."""
        [row] = self._opened().logps([np.asarray(ids, np.int64)])
        return row

    def renew_reference(self) -> None:
        raise AssertionError("recipes refuse a reference that changes where adapters learn")

    def save(self, path: Path) -> None:
        """Keep weights and moments at the cluster, under a new name, and write that name and the counters into the
        folder ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        state = self._learner.save(self._name()) if self._learner else None  # it is still what it starts from
        kept = {"step": self.step, "bad_steps": self._bad_steps, "state": state}
        (path / _STATE).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        """Take up exactly where ``save`` was."""
        try:
            kept = json.loads((path / _STATE).read_text(encoding="utf-8"))
            step, bad_steps, state = int(kept["step"]), int(kept["bad_steps"]), kept["state"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelError(f"{path / _STATE} names no weights at a cluster ({error}): bring the file back") from error
        self._learner = self._cluster.from_state(state, moments=True) if state else None
        self.step, self._bad_steps = step, bad_steps
        self._still = False  # as far as is known here
        self.changes += 1

    def save_model(self, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
        """Keep the weights at the cluster, and note in the folder ``path`` what they are called there."""
        learner, name = self._opened(), self._name()
        kept = StageWeights(base=self._start.base, state=learner.save(name), drawn=learner.save_to_draw(name))
        note(kept, path)

    def _name(self) -> str:
        return f"togi-{secrets.token_hex(4)}-{self.step}"  # no name is ever used twice

    def _opened(self) -> Learner:
        self._learner = self._learner or self._begun()
        return self._learner

    def _begun(self) -> Learner:
        """The weights that the policy starts from, with fresh moments."""
        start = self._start
        if start.state is None:
            return self._cluster.new(rank=start.rank, seed=start.seed)
        return self._cluster.from_state(start.state, moments=False)

    def _logps(self, learner: Learner, samples: Sequence[Sample]) -> list[Numbers]:
        """Of each sample the log-probabilities of its trained tokens, 0 elsewhere."""
        if warm := [sample.temperature for sample in samples if sample.temperature != 1]:
            raise ValueError(
                f"a cluster tells log-probabilities at temperature 1, and these were sampled at {warm[0]:g}: set "
                "sampling.temperature = 1"
            )
        rows: list[Numbers] = [np.zeros(len(sample.ids)) for sample in samples]
        if asked := _trained(samples):
            told = learner.logps([samples[i].ids for i in asked])
            for i, logp in zip(asked, told, strict=True):
                rows[i] = np.where(samples[i].mask, logp, 0)
        return rows

    def _pass_back(self, learner: Learner, samples: Sequence[Sample], weights: Sequence[Numbers]) -> None:
        if asked := _trained(samples):
            learner.backward([samples[i].ids for i in asked], [weights[i] for i in asked])


class _Told:
    """The model as an algorithm calls it: log-probabilities that were told, to be derived by."""

    def __init__(self, logp_BT: Tensor) -> None:
        self._logp_BT = logp_BT

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP, compare: Compare | None = None) -> Outputs:
        assert outputs <= TELLS, "recipes refuse what a cluster cannot tell"
        return Outputs(logp_BT=torch.where(batch.mask_BT, self._logp_BT, 0))


def _trained(samples: Sequence[Sample]) -> list[int]:
    """The samples with a token to learn: nothing is asked of others."""
    return [i for i, sample in enumerate(samples) if sample.mask[1:].any()]


def _padded(rows: Sequence[Numbers], batch: Batch) -> Tensor:
    logp_BT = torch.zeros(batch.mask_BT.shape, dtype=torch.from_numpy(rows[0]).dtype)
    for row, each in enumerate(rows):
        logp_BT[row, : len(each)] = torch.from_numpy(each)
    return logp_BT
