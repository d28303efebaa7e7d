"""The weights that are trained, and one optimiser step over any number of samples.

It knows memory, precision and optimisation; it does not know rewards, losses or whose algorithm it serves. With
bfloat16 arithmetic the module holds the bfloat16 weights that are also sampled from, while float32 master weights,
gradients and moments live here.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from togi.batch import collate
from togi.models.allocator import keep_freed_memory
from togi.models.microbatch import microbatches
from togi.models.packing import PackedModel
from togi.models.probe import Probe, probe_bf16
from togi.types import LOGP, Algorithm, Batch, FloatArray, Mean, Need, Output, Outputs, Sample

__all__ = ["LocalPolicy", "NonFinite", "Optimiser", "Probe", "probe_bf16"]

Reference = Literal["none", "copy", "adapter_base"]
_PATIENCE = 3


class NonFinite(ValueError):
    """Loss or gradient was not finite in three steps one after the other."""


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a warm-up, a schedule and clipping by the global norm.

    ``total_steps`` counts updates and is only read by the schedules that end. ``weight_decay`` acts on matrices, not
    on norms and biases. ``tokens_per_microbatch`` counts distinct tokens and bounds memory, never the result.
    """

    learning_rate: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    total_steps: int = 0
    clip_norm: float = 1.0
    tokens_per_microbatch: int = 600

    def rate(self, step: int) -> float:
        """Learning rate of the update that follows ``step`` updates: linear to full, then down to 0 at the end."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * left


class LocalPolicy:
    """A policy in this process.

    ``compute`` is the type of the arithmetic: the module's parameters take it, in place. Parameters without
    ``requires_grad`` stay as they are given (adapters). ``reference`` says whose ``ref_logp`` samples are annotated
    with: a frozen ``copy`` of the weights as they are now, or the module without its adapter.
    """

    def __init__(
        self, model: nn.Module, optimiser: Optimiser, *, compute: torch.dtype, reference: Reference = "none"
    ) -> None:
        keep_freed_memory()
        self.step = 0
        self.model = model.eval()
        self.optimiser = optimiser
        self.compute = compute
        self._bad_steps = 0
        self._reference_kind = reference
        self._packed = PackedModel(model)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise ValueError("no parameter of this model requires a gradient: nothing would be trained")
        if reference == "adapter_base" and not _has_adapter(model):
            raise ValueError("reference 'adapter_base' needs a model with an adapter: use 'copy' for full fine-tuning")
        self._working = trained
        self._master = {name: _master(p, compute) for name, p in trained.items()}
        for p in model.parameters():
            p.data = p.data.to(compute)
        self._reference = PackedModel(_frozen(model)) if reference == "copy" else None
        if self._apart:
            for name, p in trained.items():
                p.register_post_accumulate_grad_hook(_Accumulate(self._master[name]))  # type: ignore[no-untyped-call]
        decayed = [p for p in self._master.values() if p.ndim >= 2]
        kept = [p for p in self._master.values() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": optimiser.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=optimiser.rate(0), betas=optimiser.betas, fused=True
        )

    @property
    def _apart(self) -> bool:
        """Whether master weights are other tensors than the module's."""
        return self.compute not in (torch.float32, torch.float64)

    def outputs(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        """The policy as it is now, differentiable."""
        return self._packed(batch, outputs)

    def annotate(self, samples: Sequence[Sample], needs: frozenset[Need]) -> list[Sample]:
        """The samples with ``old_logp`` and ``ref_logp`` where asked for, in their order; no gradient."""
        done = list(samples)
        if "ref_logp" in needs and self._reference_kind == "none":
            raise ValueError("this algorithm needs a reference model: choose reference 'copy' or 'adapter_base'")
        if not needs & {"old_logp", "ref_logp"}:
            return done
        with torch.no_grad():
            for part in microbatches(samples, self.optimiser.tokens_per_microbatch):
                batch = collate([samples[i] for i in part])
                if "old_logp" in needs:
                    for i, row in zip(part, _rows(self._packed(batch)), strict=True):
                        done[i] = replace(done[i], old_logp=row[: len(done[i].ids)])
                if "ref_logp" in needs:
                    with self._without_adapter():
                        out = (self._reference or self._packed)(batch)
                    for i, row in zip(part, _rows(out), strict=True):
                        done[i] = replace(done[i], ref_logp=row[: len(done[i].ids)])
        return done

    def learn(self, samples: Sequence[Sample], algorithm: Algorithm) -> Mapping[str, float]:
        """One optimiser step over the samples; gives the step's metrics.

        A loss or gradient that is not finite leaves weights and moments as they were (``skipped_steps`` is 1).
        Raises NonFinite at the third such step in a row.
        """
        if not samples:
            raise ValueError("no sample to learn from: every group was dropped or failed to be scored")
        rate = self.optimiser.rate(self.step)
        tally = _Tally()
        for part in microbatches(samples, self.optimiser.tokens_per_microbatch, algorithm.unit):
            batch = collate([samples[i] for i in part])
            watched = _Watched(self._packed)
            loss = algorithm.loss(algorithm.forward(watched, batch), batch)
            tally.add(loss.metrics, float(loss.value.detach()), watched.last, batch)
            if not math.isfinite(tally.loss):
                break
            # Samples of zero weight only, or a loss that reads nothing of the model, carry no graph.
            if loss.value.requires_grad:
                loss.value.backward()  # type: ignore[no-untyped-call]
        norm = float(self._clip()) if math.isfinite(tally.loss) else math.nan
        finite = math.isfinite(tally.loss) and math.isfinite(norm)
        if finite:
            self._update(rate)
        self._clear()
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps == _PATIENCE:
            raise NonFinite(
                f"loss {tally.loss} and gradient norm {norm} in {_PATIENCE} steps one after the other: "
                "lower the learning rate, or look at the rewards and log-probabilities of these samples"
            )
        return {
            "loss": tally.loss,
            "grad_norm": norm,
            "learning_rate": rate,
            "skipped_steps": 0.0 if finite else 1.0,
            **tally.means(),
        }

    def _without_adapter(self) -> AbstractContextManager[Any]:
        if self._reference_kind != "adapter_base":
            return nullcontext()
        context: AbstractContextManager[Any] = self.model.disable_adapter()  # type: ignore[operator]
        return context

    def _clip(self) -> Tensor:
        grads = [p.grad for p in self._master.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if bool(torch.isfinite(norm)):
            torch.nn.utils.clip_grads_with_norm_(list(self._master.values()), self.optimiser.clip_norm, norm)
        return norm

    @torch.no_grad()
    def _update(self, rate: float) -> None:
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self.step += 1
        if self._apart:
            self._copy_to_working()

    @torch.no_grad()
    def _copy_to_working(self) -> None:
        torch._foreach_copy_(list(self._working.values()), list(self._master.values()))

    def _clear(self) -> None:
        for p in (*self._master.values(), *self._working.values()):
            p.grad = None

    def save(self, path: Path) -> None:
        """Write master weights, moments and counters into the folder ``path``, exactly."""
        path.mkdir(parents=True, exist_ok=True)
        save_file({name: p.detach().contiguous() for name, p in self._master.items()}, path / "policy.safetensors")
        moments = {}
        for name, p in self._master.items():
            for key, value in self._adam.state.get(p, {}).items():
                moments[f"{key}/{name}"] = value
        save_file(moments, path / "optimiser.safetensors")
        state = {"step": self.step, "bad_steps": self._bad_steps, "optimiser": asdict(self.optimiser)}
        (path / "policy.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Take up exactly where ``save`` was; the reference copy stays what it was made from."""
        weights = load_file(path / "policy.safetensors")
        if weights.keys() != self._master.keys():
            different = sorted(weights.keys() ^ self._master.keys())
            raise ValueError(f"{path} holds other parameters than this model, for example {different[0]}")
        for name, p in self._master.items():
            p.copy_(weights[name])
        if self._apart:
            self._copy_to_working()
        self._adam.state.clear()
        for key, value in load_file(path / "optimiser.safetensors").items():
            kind, name = key.split("/", 1)
            self._adam.state[self._master[name]][kind] = value
        state = json.loads((path / "policy.json").read_text(encoding="utf-8"))
        self.step, self._bad_steps = state["step"], state["bad_steps"]

    @property
    def saved_bytes(self) -> int:
        """About what ``save`` writes: weights and two moments."""
        return sum(3 * p.numel() * p.element_size() for p in self._master.values())

    @contextmanager
    def full_precision(self) -> Iterator[nn.Module]:
        """The module with its master weights in place of the rounded ones it computes with, for saving."""
        rounded = {name: p.data for name, p in self._working.items()}
        for name, p in self._working.items():
            p.data = self._master[name].data
        try:
            yield self.model
        finally:
            for name, p in self._working.items():
                p.data = rounded[name]


class _Accumulate:
    """Adds a finished bfloat16 gradient to the float32 one and frees it at once.

    The float32 buffer outlives the step: fresh memory costs more than the addition.
    """

    def __init__(self, master: Tensor) -> None:
        self._master = master
        self._buffer: Tensor | None = None

    def __call__(self, working: Tensor) -> None:
        assert working.grad is not None
        if self._buffer is None:
            self._buffer = torch.empty_like(self._master)
        if self._master.grad is None:
            self._master.grad = self._buffer.copy_(working.grad)
        else:
            self._buffer.add_(working.grad)
        working.grad = None


class _Watched:
    """The model, remembering what it said last, so that the mismatch with the sampler is measured for free."""

    def __init__(self, model: PackedModel) -> None:
        self._model = model
        self.last: Outputs | None = None

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        self.last = self._model(batch, outputs)
        return self.last


class _Tally:
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


def _master(p: nn.Parameter, compute: torch.dtype) -> Tensor:
    """Float32 weights beside the computed ones, or the parameter itself where it is computed in full width."""
    if compute in (torch.float32, torch.float64):
        return p
    return p.detach().to(torch.float32)


def _has_adapter(model: nn.Module) -> bool:
    try:
        from peft import PeftModel
    except ImportError:
        return False
    return isinstance(model, PeftModel)


def _frozen(model: nn.Module) -> nn.Module:
    frozen = copy.deepcopy(model)
    for p in frozen.parameters():
        p.requires_grad_(False)
    return frozen


def _rows(out: Outputs) -> FloatArray:
    rows: FloatArray = out.logp_BT.to(torch.float32).cpu().numpy()
    return rows
