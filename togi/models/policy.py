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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from togi.batch import collate
from togi.models.after_thoughts import ThinkingModel
from togi.models.allocator import keep_freed_memory
from togi.models.arithmetic_rate import Probe, probe_bf16
from togi.models.lora_and_optimiser import Optimiser
from togi.models.microbatch import microbatches
from togi.models.optimiser import Trained, clip, load_trained, save_trained
from togi.models.packing import PROJECTED, SCALARS, PackedModel, pretrained
from togi.models.scalar_heads import ScalarHead, ScalarModel, save_head
from togi.models.step_sums import Tally, Watched
from togi.models.thought_head import ThoughtHead, save_thoughts
from togi.protocols import Algorithm, Compare
from togi.types import LOGP, Batch, FloatArray, Heads, Need, Output, Outputs, Sample

__all__ = ["LocalPolicy", "NonFinite", "Optimiser", "Probe", "probe_bf16"]

Reference = Literal["none", "copy", "adapter_base"]
_PATIENCE = 3
_REFERENCE = "reference.safetensors"


class NonFinite(ValueError):
    """Loss or gradient was not finite in three steps one after the other."""


class LocalPolicy:
    """A policy in this process.

    ``compute`` is the type of the arithmetic: the module's parameters take it, in place. Parameters without
    ``requires_grad`` stay as they are given (adapters). ``reference`` says whose ``ref_logp`` samples are annotated
    with: a frozen ``copy`` of the weights as they are now, or the module without its adapter. ``heads`` says where
    values and scores are read: from a scalar head on the policy's own layers (``shared``), or from a second model of
    its own (``own``), which is ``critic``, taken over with its parameters and trained, or starts from a copy of the
    policy's layers. A head starts at 0 and stays in float32. With ``implicit`` a copy of the whole policy is learned
    beside it instead, whose log-probabilities are read. ``mismatch_limit`` is how far the log-probabilities of what was
    just sampled may be from its own, in nats a token. ``thoughts`` is the head of a policy that learns to think, taken
    over with its parameters and trained. ``teacher`` is a model that reads the same token ids and is not trained: whose
    ``teacher_logp`` samples are annotated with, and whom the policy is compared with. Unless it ``trains``, no
    parameter has to require a gradient: it is only asked.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: Optimiser,
        *,
        compute: torch.dtype,
        reference: Reference = "none",
        heads: Heads = "none",
        critic: ScalarModel | None = None,
        mismatch_limit: float = math.inf,
        thoughts: ThoughtHead | None = None,
        teacher: nn.Module | None = None,
        trains: bool = True,
    ) -> None:
        keep_freed_memory()
        self.step = 0
        self.model = model.eval()
        self.optimiser = optimiser
        self.compute = compute
        self._bad_steps = 0
        self._mismatch_limit = mismatch_limit
        self._reference_kind = reference
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if trains and not trained:
            raise ValueError("no parameter of this model requires a gradient: nothing would be trained")
        if reference == "adapter_base" and not _has_adapter(model):
            raise ValueError("reference 'adapter_base' needs a model with an adapter: use 'copy' for full fine-tuning")
        if critic is not None and heads != "own":
            raise ValueError(f"a critic was given, but heads are {heads!r}: 'own' uses it")
        self._policy = Trained(trained, optimiser, compute)
        self._head = _head(model) if heads == "shared" else None
        self._critic = (critic or _critic(model)).eval() if heads == "own" else None
        self._implicit = _copied(model).eval() if heads == "implicit" else None
        self.thoughts = thoughts
        self._parts = [self._policy, *self._scalar_parts(), *self._implicit_parts(), *self._thought_parts()]
        beside = (self._critic.backbone if self._critic else None, self._implicit)
        for module in (model, *(each for each in beside if each is not None)):
            for p in module.parameters():
                if p.is_floating_point():
                    p.data = p.data.to(compute)
        # The frozen copy, for whoever samples from it; None where the reference is the model without its adapter.
        self.reference = _frozen(model) if reference == "copy" else None
        self._reference = PackedModel(self.reference) if self.reference is not None else None
        self._renewed = False
        self._packed = PackedModel(model, self._head)
        self._packed_implicit = PackedModel(self._implicit) if self._implicit is not None else None
        self._thinking = ThinkingModel(self._packed, thoughts) if thoughts is not None else None
        self._teacher = PackedModel(teacher.eval()) if teacher is not None else None
        for part in self._parts:
            part.accumulate()

    @property
    def packed(self) -> PackedModel:
        """The policy as it is now, for whoever draws from it what no engine does."""
        return self._packed

    def _scalar_parts(self) -> list[Trained]:
        """The head, in full width, and the layers under it where they are its own."""
        head = self._head or (self._critic.head if self._critic else None)
        if head is None:
            return []
        wide = torch.promote_types(self.compute, torch.float32)
        parts = [Trained(_named("scalar_head", head.to(wide)), self.optimiser, wide)]
        if self._critic:
            with torch.no_grad():
                head.bias.sub_(self._critic.shift)
            self._critic.shift = 0.0
            parts.append(Trained(_named("critic", self._critic.backbone), self.optimiser, self.compute))
        return parts

    def _implicit_parts(self) -> list[Trained]:
        if self._implicit is None:
            return []
        return [Trained(_named("implicit", self._implicit), self.optimiser, self.compute)]

    def _thought_parts(self) -> list[Trained]:
        if self.thoughts is None:
            return []
        wide = torch.promote_types(self.compute, torch.float32)
        return [Trained(_named("thoughts", self.thoughts.to(wide)), self.optimiser, wide)]

    def outputs(self, batch: Batch, outputs: frozenset[Output] = LOGP, compare: Compare | None = None) -> Outputs:
        """The policy as it is now, and what is learned beside it, differentiable."""
        if "after_thoughts" in outputs:
            if self._thinking is None:
                raise ValueError(
                    "this algorithm reads what is said after thoughts: build the policy with a thought head"
                )
            return self._thinking(batch)
        if "compared" in outputs:
            return self._compared(batch, outputs, compare)
        if "implicit" not in outputs:
            return self._own(batch, outputs)
        if self._packed_implicit is None:
            raise ValueError("this algorithm reads implicit rewards: build the policy with heads 'implicit'")
        rest = outputs - {"implicit"}
        own = self._own(batch, rest) if rest else Outputs(logp_BT=torch.zeros(batch.mask_BT.shape))
        return replace(own, implicit_BT=self._packed_implicit(batch).logp_BT)

    def _taught_by(self) -> PackedModel:
        if self._teacher is None:
            raise ValueError("this algorithm learns from a teacher: give the policy one")
        return self._teacher

    def _compared(self, batch: Batch, outputs: frozenset[Output], compare: Compare | None) -> Outputs:
        teacher = self._taught_by()
        if not (self._packed.packs and teacher.packs):
            which = "the model" if teacher.packs else "its teacher"
            raise ValueError(
                f"whole distributions are read from hidden states, and {which} does more to its logits than is known: "
                "take on_policy_distillation, which reads the log-probabilities of single tokens"
            )
        return self._packed(batch, outputs, compare, teacher)

    def _own(self, batch: Batch, outputs: frozenset[Output]) -> Outputs:
        """The policy and its critic."""
        if self._critic is None or not outputs & SCALARS:
            return self._packed(batch, outputs)
        said = self._critic.packed(batch, outputs & SCALARS)
        if not outputs & PROJECTED:
            return said
        out = self._packed(batch, outputs & PROJECTED)
        return replace(out, value_BT=said.value_BT, score_B=said.score_B)

    def annotate(self, samples: Sequence[Sample], needs: frozenset[Need]) -> list[Sample]:
        """The samples with ``old_logp``, ``entropy`` (for ``old_entropy``), ``ref_logp``, ``implicit_logp``,
        ``teacher_logp``, and ``value`` with ``end_value`` (for ``old_value``), where asked for, in their order; no
        gradient."""
        done = list(samples)
        if "ref_logp" in needs and self._reference_kind == "none":
            raise ValueError("this algorithm needs a reference model: choose reference 'copy' or 'adapter_base'")
        asked: set[Output] = {"logp"} if "old_logp" in needs else set()
        if "old_entropy" in needs:
            asked.add("entropy")
        if "old_value" in needs:
            asked |= SCALARS
        if "implicit_logp" in needs:
            asked.add("implicit")
        with torch.no_grad():
            for part in microbatches(samples, self.optimiser.tokens_per_microbatch) if needs else []:
                batch = collate([samples[i] for i in part])
                out = self.outputs(batch, frozenset(asked)) if asked else None
                for row, i in enumerate(part):
                    if out is not None:
                        done[i] = _told(done[i], out, row, needs)
                if "teacher_logp" in needs:
                    logp_BT = self._taught_by()(batch).logp_BT
                    for row, i in enumerate(part):
                        done[i] = replace(done[i], teacher_logp=_row(logp_BT, row, done[i]))
                if "ref_logp" in needs:
                    with self._without_adapter():
                        logp_BT = (self._reference or self._packed)(batch).logp_BT
                    for row, i in enumerate(part):
                        done[i] = replace(done[i], ref_logp=_row(logp_BT, row, done[i]))
        return done

    @torch.no_grad()
    def renew_reference(self) -> None:
        """Make the policy as it is now the reference, of which this policy has a copy."""
        assert self.reference is not None, "a reference that is no copy cannot be renewed"
        for name, p in self._reference_weights().items():
            p.copy_(self._policy.working[name])
        self._renewed = True

    def _reference_weights(self) -> dict[str, nn.Parameter]:
        """What the reference has of its own; what nobody trains it shares with the policy."""
        assert self.reference is not None
        return {name: p for name, p in self.reference.named_parameters() if name in self._policy.working}

    def learn(self, samples: Sequence[Sample], algorithm: Algorithm) -> Mapping[str, float]:
        """One optimiser step over the samples; gives the step's metrics.

        A loss or gradient that is not finite leaves weights and moments as they were (``skipped_steps`` is 1).
        Raises NonFinite at the third such step in a row, and Disagreement, with weights as they were, where sampler and
        trainer do not agree.
        """
        if not samples:
            raise ValueError("no sample to learn from: every group was dropped or failed to be scored")
        rate = self.optimiser.rate(self.step)
        tally = Tally()
        for part in microbatches(samples, self.optimiser.tokens_per_microbatch, algorithm.unit):
            batch = collate([samples[i] for i in part])
            watched = Watched(self.outputs)
            loss = algorithm.loss(algorithm.forward(watched, batch), batch)
            tally.add(loss.metrics, float(loss.value.detach()), watched.last, batch)
            if not math.isfinite(tally.loss):
                break
            # Samples of zero weight only, or a loss that reads nothing of the model, carry no graph.
            if loss.value.requires_grad:
                loss.value.backward()  # type: ignore[no-untyped-call]
        if math.isfinite(tally.loss):
            tally.drift.check(self._mismatch_limit)
        norms = self._clip() if math.isfinite(tally.loss) else {"grad_norm": math.nan}
        finite = math.isfinite(tally.loss) and all(math.isfinite(norm) for norm in norms.values())
        if finite:
            self._update(rate)
        for each in self._parts:
            each.clear()
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps == _PATIENCE:
            raise NonFinite(
                f"loss {tally.loss} and gradient norm {norms['grad_norm']} in {_PATIENCE} steps one after the other: "
                "lower the learning rate, or look at the rewards and log-probabilities of these samples"
            )
        return {
            "loss": tally.loss,
            "learning_rate": rate,
            "skipped_steps": 0.0 if finite else 1.0,
            **norms,
            **tally.means(),
        }

    def _without_adapter(self) -> AbstractContextManager[Any]:
        if self._reference_kind != "adapter_base":
            return nullcontext()
        context: AbstractContextManager[Any] = self.model.disable_adapter()  # type: ignore[operator]
        return context

    def _clip(self) -> dict[str, float]:
        """Norms before clipping. Layers of the critic's own share no gradient with the policy's, so neither a norm; nor
        do those of the implicit model, whose norm has the critic's name."""
        if self._critic is None and self._implicit is None:
            return {"grad_norm": clip(self._parts, self.optimiser.clip_norm)}
        return {
            "grad_norm": clip([self._policy], self.optimiser.clip_norm),
            "critic_grad_norm": clip(self._parts[1:], self.optimiser.clip_norm),
        }

    def _update(self, rate: float) -> None:
        self._policy.update(rate)
        for part in self._parts[1:]:
            part.update(self.optimiser.critic_rate(self.step))
        self.step += 1

    def save(self, path: Path) -> None:
        """Write master weights, moments and counters into the folder ``path``, exactly."""
        path.mkdir(parents=True, exist_ok=True)
        save_trained(self._parts, path)
        if self._renewed:
            save_file({name: p.contiguous() for name, p in self._reference_weights().items()}, path / _REFERENCE)
        state = {"step": self.step, "bad_steps": self._bad_steps, "optimiser": asdict(self.optimiser)}
        (path / "policy.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        """Take up exactly where ``save`` was; a reference that was not renewed stays what it was made from."""
        load_trained(self._parts, path)
        if (path / _REFERENCE).exists():
            kept, self._renewed = load_file(path / _REFERENCE), True
            with torch.no_grad():
                for name, p in self._reference_weights().items():
                    p.copy_(kept[name])
        state = json.loads((path / "policy.json").read_text(encoding="utf-8"))
        self.step, self._bad_steps = state["step"], state["bad_steps"]

    def save_heads(self, folder: Path, *, shift: float = 0.0) -> None:
        """Write the head on the policy's own layers beside them, which makes a reward model of the folder whose scores
        are lessened by ``shift``; nothing without one. A critic of its own is in the checkpoints only."""
        if self._head is not None:
            save_head(self._head, folder, shift=shift)

    def save_thoughts(self, folder: Path) -> None:
        """Write the thought head beside the weights, which makes a model of the folder that thinks; nothing without
        one."""
        if self.thoughts is not None:
            save_thoughts(self.thoughts, folder)

    @property
    def saved_bytes(self) -> int:
        """About what ``save`` writes: weights and two moments."""
        return sum(3 * p.numel() * p.element_size() for part in self._parts for p in part.master.values())

    @contextmanager
    def full_precision(self) -> Iterator[nn.Module]:
        """The module with its master weights in place of the rounded ones it computes with, for saving."""
        rounded = {name: p.data for name, p in self._policy.working.items()}
        for name, p in self._policy.working.items():
            p.data = self._policy.master[name].data
        try:
            yield self.model
        finally:
            for name, p in self._policy.working.items():
                p.data = rounded[name]


def _told(sample: Sample, out: Outputs, row: int, needs: frozenset[Need]) -> Sample:
    if "old_logp" in needs:
        sample = replace(sample, old_logp=_row(out.logp_BT, row, sample))
    if "old_entropy" in needs:
        assert out.entropy_BT is not None
        sample = replace(sample, entropy=_row(out.entropy_BT, row, sample))
    if "implicit_logp" in needs:
        assert out.implicit_BT is not None
        sample = replace(sample, implicit_logp=_row(out.implicit_BT, row, sample))
    if "old_value" in needs:
        assert out.value_BT is not None
        assert out.score_B is not None
        sample = replace(sample, value=_row(out.value_BT, row, sample), end_value=float(out.score_B[row]))
    return sample


def _row(x_BT: Tensor, row: int, sample: Sample) -> FloatArray:
    values: FloatArray = x_BT[row, : len(sample.ids)].to(torch.float32).cpu().numpy()
    return values


def _critic(model: nn.Module) -> ScalarModel:
    """A copy of the layers with a head; what is not trained is not copied."""
    return ScalarModel(_copied(pretrained(model).get_decoder()), _head(model))


def _frozen(model: nn.Module) -> nn.Module:
    frozen = _copied(model)
    for p in frozen.parameters():
        p.requires_grad_(False)
    return frozen


def _copied(module: nn.Module) -> nn.Module:
    """A copy that shares the parameters which nobody trains, such as those under an adapter."""
    return copy.deepcopy(module, {id(p): p for p in module.parameters() if not p.requires_grad})


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": p for name, p in module.named_parameters() if p.requires_grad}


def _head(model: nn.Module) -> ScalarHead:
    """A head that fits the model's hidden states, where the model is."""
    own = pretrained(model)
    return ScalarHead(int(own.config.get_text_config().hidden_size)).to(own.device)


def _has_adapter(model: nn.Module) -> bool:
    try:
        from peft import PeftModel
    except ImportError:
        return False
    return isinstance(model, PeftModel)
