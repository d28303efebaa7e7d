"""The weights that are trained, and one optimiser step over any number of samples.

It knows memory, precision and optimisation; it does not know rewards, losses or whose algorithm it serves. With
bfloat16 arithmetic the module holds the bfloat16 weights that are also sampled from, while float32 master weights,
gradients and moments live here. Where several processes learn together, each has a policy that does the same at the
same time, with its share of the weights and of the samples.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from togi.batch import collate
from togi.models.after_thoughts import ThinkingModel
from togi.models.allocator import keep_freed_memory
from togi.models.arithmetic_rate import Probe, probe_bf16
from togi.models.divided import Divided, shares
from togi.models.divided_files import load_divided, named, save_divided
from togi.models.lora_and_optimiser import Optimiser
from togi.models.microbatch import divided, microbatches
from togi.models.optimiser import WEIGHTS, Trained, clip, load_trained, save_trained
from togi.models.packing import PROJECTED, SCALARS, PackedModel, pretrained
from togi.models.ranks import ALONE, Ranks
from togi.models.sample_bytes import packed_samples, unpacked_samples
from togi.models.save_model import save_model
from togi.models.scalar_heads import ScalarHead, ScalarModel, save_head
from togi.models.shares import share
from togi.models.step_sums import Tally, Watched
from togi.models.thought_head import ThoughtHead, save_thoughts
from togi.protocols import Algorithm, Compare
from togi.types import LOGP, Batch, FloatArray, Heads, Need, Output, Outputs, Sample, Unit

__all__ = ["LocalPolicy", "NonFinite", "Optimiser", "Probe", "probe_bf16"]

Reference = Literal["none", "copy", "adapter_base"]
PATIENCE = 3  # steps without a finite loss and gradient, one after the other
_REFERENCE = "reference"


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
    parameter has to require a gradient: it is only asked. ``ranks`` are the processes that learn it together; the first
    of them keeps ``model`` whole, for whoever samples from it, and a copy of it is divided.
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
        ranks: Ranks = ALONE,
    ) -> None:
        keep_freed_memory()
        self.step = 0
        self.model = model.eval()
        self.optimiser = optimiser
        self.compute = compute
        self._bad_steps = 0
        self._mismatch_limit = mismatch_limit
        self._reference_kind = reference
        self._ranks = ranks
        self._divided: list[Divided] = []
        if trains and not any(p.requires_grad for p in model.parameters()):
            raise ValueError("no parameter of this model requires a gradient: nothing would be trained")
        if reference == "adapter_base" and not _has_adapter(model):
            raise ValueError("reference 'adapter_base' needs a model with an adapter: use 'copy' for full fine-tuning")
        if critic is not None and heads != "own":
            raise ValueError(f"a critic was given, but heads are {heads!r}: 'own' uses it")
        self._head = _head(model) if heads == "shared" else None
        self._critic = (critic or _critic(model)).eval() if heads == "own" else None
        implicit = _copied(model).eval() if heads == "implicit" else None
        self.thoughts = thoughts
        # What is divided cannot be copied any more.
        frozen = _frozen(model) if reference == "copy" and ranks.count > 1 else None
        self._learner = learner = _copied(model) if ranks.count > 1 and ranks.rank == 0 else model
        self._policy, self._packed = self._learned("", learner, lambda: PackedModel(learner, self._head))
        self._parts = [self._policy, *self._scalar_parts()]
        self._packed_implicit: PackedModel | None = None
        if implicit is not None:
            part, self._packed_implicit = self._learned("implicit", implicit, lambda: PackedModel(implicit))
            self._parts.append(part)
        self._parts += self._thought_parts()
        if learner is not model:
            _narrow(model, compute)
        # The frozen copy, for whoever samples from it; None where the reference is the model without its adapter.
        self.reference = frozen or (_frozen(model) if reference == "copy" else None)
        self._reference = PackedModel(self.reference) if self.reference is not None else None
        if frozen is not None and self._reference is not None:
            self._divided.append(Divided(frozen, self._reference, compute, ranks.count))
        self._renewed = False
        self._thinking = ThinkingModel(self._packed, thoughts) if thoughts is not None else None
        self._teacher = PackedModel(teacher.eval()) if teacher is not None else None
        for part in self._parts:
            part.accumulate()

    @property
    def packed(self) -> PackedModel:
        """The policy as it is now, for whoever draws from it what no engine does."""
        return self._packed

    def _learned(
        self, prefix: str, module: nn.Module, packed: Callable[[], PackedModel]
    ) -> tuple[Trained, PackedModel]:
        """The trained parameters of a module, and its view; divided, where several processes learn."""
        if self._ranks.count == 1:
            part = Trained(_named(prefix, module), self.optimiser, self.compute)
            _narrow(module, self.compute)
            return part, packed()
        view = packed()
        each = Divided(module, view, self.compute, self._ranks.count)
        self._divided.append(each)
        weights = {_name(prefix, name): p for name, p in each.weights.items()}
        return Trained(shares(weights), self.optimiser, each.wide, weights), view

    def _scalar_parts(self) -> list[Trained]:
        """The head, in full width, and the layers under it where they are its own."""
        head = self._head or (self._critic.head if self._critic else None)
        if head is None:
            return []
        wide = torch.promote_types(self.compute, torch.float32)
        parts = [Trained(_named("scalar_head", head.to(wide)), self.optimiser, wide)]
        if critic := self._critic:
            with torch.no_grad():
                head.bias.sub_(critic.shift)
            critic.shift = 0.0
            parts.append(self._learned("critic", critic.backbone, lambda: critic.packed)[0])
        return parts

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
        if not needs or not samples:
            return done
        self._ranks.lead("annotate", samples, needs=sorted(needs))
        asked: set[Output] = {"logp"} if "old_logp" in needs else set()
        if "old_entropy" in needs:
            asked.add("entropy")
        if "old_value" in needs:
            asked |= SCALARS
        if "implicit_logp" in needs:
            asked.add("implicit")
        own, parts, spare = self._share(samples)
        with torch.no_grad(), self._ranks.side_by_side():
            for part in [*parts, *[[0]] * spare]:
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
        for each in self._divided:
            each.rest()
        return done if self._ranks.count == 1 else self._told_of(done, own)

    def _share(self, samples: Sequence[Sample], unit: Unit = "sample") -> tuple[list[int], list[list[int]], int]:
        """Which samples are this process's, its micro-batches of them, and how many passes it has to add to these,
        since layers that are divided are computed with by all at once."""
        own = divided(samples, self._ranks.count)[self._ranks.rank]
        budget = self.optimiser.tokens_per_microbatch
        parts = [[own[i] for i in part] for part in microbatches([samples[i] for i in own], budget, unit)]
        return own, parts, self._ranks.most(len(parts)) - len(parts)

    def _told_of(self, done: Sequence[Sample], own: Sequence[int]) -> list[Sample]:
        """All samples, each as the process has annotated it whose own it is."""
        joint = list(done)
        for said in self._ranks.gather(packed_samples([done[i] for i in own], {"own": list(own)})):
            told, words = unpacked_samples(said)
            for i, sample in zip(words["own"], told, strict=True):
                joint[i] = sample
        return joint

    @torch.no_grad()
    def renew_reference(self) -> None:
        """Make the policy as it is now the reference, of which this policy has a copy."""
        assert self.reference is not None, "a reference that is no copy cannot be renewed"
        self._ranks.lead("renew_reference")
        for name, p in self._reference_weights().items():
            share(p).copy_(self._policy.working[name])
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
        self._ranks.lead("learn", samples)
        rate = self.optimiser.rate(self.step)
        tally = Tally()
        with self._ranks.side_by_side():
            self._pass_over(samples, algorithm, tally)
        tally = tally.join(self._ranks)
        if math.isfinite(tally.loss):
            tally.drift.check(self._mismatch_limit)
        for part in self._parts:
            part.join(self._ranks)
        norms = self._clip() if math.isfinite(tally.loss) else {"grad_norm": math.nan}
        finite = math.isfinite(tally.loss) and all(math.isfinite(norm) for norm in norms.values())
        if finite:
            self._update(rate)
        for each in self._parts:
            each.clear()
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps == PATIENCE:
            raise NonFinite(
                f"loss {tally.loss} and gradient norm {norms['grad_norm']} in {PATIENCE} steps one after the other: "
                "lower the learning rate, or look at the rewards and log-probabilities of these samples"
            )
        return {
            "loss": tally.loss,
            "learning_rate": rate,
            "skipped_steps": 0.0 if finite else 1.0,
            **norms,
            **tally.means(),
        }

    def _pass_over(self, samples: Sequence[Sample], algorithm: Algorithm, tally: Tally) -> None:
        """Gradients of this process's samples, in micro-batches, counted."""
        _, parts, spare = self._share(samples, algorithm.unit)
        passes = len(parts) + spare
        for number in range(passes):
            self._ranks.note(f"learn, pass {number + 1} of {passes}")
            for each in self._divided:
                each.pass_of(last=number == passes - 1)
            if number < len(parts):
                value = self._value([samples[i] for i in parts[number]], algorithm, tally)
            else:
                value = _nothing_of(algorithm.forward(self.outputs, collate(samples[:1])))
            # Samples of zero weight only, or a loss that reads nothing of the model, carry no graph.
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]

    def _value(self, samples: Sequence[Sample], algorithm: Algorithm, tally: Tally) -> Tensor:
        """The loss of a micro-batch, counted."""
        batch = collate(samples)
        watched = Watched(self.outputs)
        out = algorithm.forward(watched, batch)
        loss = algorithm.loss(out, batch)
        tally.add(loss.metrics, float(loss.value.detach()), watched.last, batch)
        # Layers that are divided are computed with by all at once, also where a loss reads nothing of them.
        return loss.value + _nothing_of(out) if self._divided else loss.value

    def _without_adapter(self) -> AbstractContextManager[Any]:
        if self._reference_kind != "adapter_base":
            return nullcontext()
        context: AbstractContextManager[Any] = self._learner.disable_adapter()  # type: ignore[operator]
        return context

    def _clip(self) -> dict[str, float]:
        """Norms before clipping. Layers of the critic's own share no gradient with the policy's, so neither a norm; nor
        do those of the implicit model, whose norm has the critic's name."""
        if self._critic is None and self._packed_implicit is None:
            return {"grad_norm": clip(self._parts, self.optimiser.clip_norm, self._ranks)}
        return {
            "grad_norm": clip([self._policy], self.optimiser.clip_norm, self._ranks),
            "critic_grad_norm": clip(self._parts[1:], self.optimiser.clip_norm, self._ranks),
        }

    def _update(self, rate: float) -> None:
        self._policy.update(rate)
        for part in self._parts[1:]:
            part.update(self.optimiser.critic_rate(self.step))
        self.step += 1
        self._put_together()

    @torch.no_grad()
    def _put_together(self) -> None:
        """Have the model whole as it is now, where it is kept whole beside what is divided."""
        if not self._divided:
            return
        kept = dict(self.model.named_parameters()) if self._learner is not self.model else {}
        for name, p in self._policy.whole():
            if name in kept:
                kept[name].copy_(p)

    def save(self, path: Path) -> None:
        """Write master weights, moments and counters into the folder ``path``, exactly."""
        path.mkdir(parents=True, exist_ok=True)
        self._ranks.lead("save", path=str(path.resolve()))
        kept = {f"{_REFERENCE}/{name}": p for name, p in self._reference_weights().items()} if self._renewed else {}
        if self._ranks.count == 1:
            save_trained(self._parts, path)
            if kept:
                save_file({name: p.contiguous() for name, p in kept.items()}, path / f"{_REFERENCE}.safetensors")
        else:
            save_divided(named(self._parts) | kept, path, self._ranks.rank)
            self._ranks.gather(b"")  # all files are there
        state = {
            "step": self.step,
            "bad_steps": self._bad_steps,
            "renewed": self._renewed,
            "optimiser": asdict(self.optimiser),
        }
        if self._ranks.rank == 0:
            (path / "policy.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        """Take up exactly where ``save`` was, by however many processes; a reference that was not renewed stays what it
        was made from."""
        self._ranks.lead("load", path=str(path.resolve()))
        state = json.loads((path / "policy.json").read_text(encoding="utf-8"))
        self.step, self._bad_steps, self._renewed = state["step"], state["bad_steps"], state["renewed"]
        kept = {f"{_REFERENCE}/{name}": p for name, p in self._reference_weights().items()} if self._renewed else {}
        if self._ranks.count == 1 and (path / WEIGHTS).exists():
            load_trained(self._parts, path)
            held = load_file(path / f"{_REFERENCE}.safetensors") if kept else {}
            with torch.no_grad():
                for name, p in kept.items():
                    p.copy_(held[name])
        else:
            load_divided(named(self._parts) | kept, path)
            for part in self._parts:
                part.to_working()
        self._put_together()

    def save_heads(self, folder: Path, *, shift: float = 0.0) -> None:
        """Write the head on the policy's own layers beside them, which makes a reward model of the folder whose scores
        are lessened by ``shift``; nothing without one. A critic of its own is in the checkpoints only."""
        if self._head is not None:
            save_head(self._head, folder, shift=shift)

    def save_model(self, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
        """Write the weights for others to load, beside them the thought head, which makes a model that thinks."""
        with self.full_precision() as model:
            save_model(model, tokenizer, folder)
        if self.thoughts is not None:
            save_thoughts(self.thoughts, folder)

    @property
    def saved_bytes(self) -> int:
        """About what ``save`` writes: weights and two moments."""
        return sum(part.saved_bytes for part in self._parts)

    @contextmanager
    def full_precision(self) -> Iterator[nn.Module]:
        """The module with its master weights in place of the rounded ones it computes with, for saving."""
        self._ranks.lead("full_precision")
        wide = {name: p.data for name, p in self._policy.whole()} if self._ranks.rank == 0 else {}
        if self._ranks.rank:
            for _ in self._policy.whole():  # all give their shares, and the first keeps the whole
                pass
        weights = {name: p for name, p in self.model.named_parameters() if name in wide}
        rounded = {name: p.data for name, p in weights.items()}
        for name, p in weights.items():
            p.data = wide[name]
        try:
            yield self.model
        finally:
            for name, p in weights.items():
                p.data = rounded[name]


def _nothing_of(out: Outputs) -> Tensor:
    """0, made of all that was said."""
    said = [getattr(out, each.name) for each in fields(Outputs)]
    nothing: Tensor = sum((x.flatten()[:0].sum() for x in said if x is not None), torch.zeros(()))
    return nothing


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


def _narrow(module: nn.Module, compute: torch.dtype) -> None:
    """Give a module's parameters the type of the arithmetic, in place."""
    for p in module.parameters():
        if p.is_floating_point():
            p.data = p.data.to(compute)


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {_name(prefix, name): p for name, p in module.named_parameters() if p.requires_grad}


def _name(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


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
