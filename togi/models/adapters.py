"""Puts low-rank adapters on a model, or refuses those that would do nothing or never merge. It reads no files."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from togi.models.four_bits import FourBitLinear, no_kernels_of_the_hub
from togi.models.lora_and_optimiser import Lora
from togi.models.read_weights import quiet
from togi.models.weight_files import ModelError

# What targets call the layers of an expert.
_EXPERT_LAYERS = frozenset({"gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3", "experts"})


def add_adapter(model: PreTrainedModel, lora: Lora, base: str) -> PreTrainedModel:
    peft = peft_library()
    layers, parameters = _targets(model, lora, base)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=layers,
        target_parameters=parameters,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    # peft would otherwise record the cache folder, a path of this machine, as the base.
    model.name_or_path = base
    tied, before = _tied(model), _said(model)
    with quiet():
        try:
            adapted: PreTrainedModel = peft.get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(f"adapters cannot be put on {base}: {error}") from error
    _check_idle(adapted.eval(), before, base)
    wrapped = ((name, getattr(module, "base_layer", None)) for name, module in adapted.named_modules())
    changed = [name for name, layer in wrapped if any(layer is one for one in tied)]
    if changed:
        raise ModelError(
            f"{base} reads and writes words with one matrix, and an adapter on {changed[0].rpartition('.')[2]} would "
            "change only one of the two: leave it out of model.lora.targets (none at all takes every linear layer but "
            "the vocabulary projection)"
        )
    return adapted


def _said(model: nn.Module) -> Tensor:
    """Logits of a few tokens."""
    ids_1T = torch.arange(1, 5, device=next(model.parameters()).device)[None]
    with torch.no_grad():
        logits_1TV: Tensor = model(input_ids=ids_1T, use_cache=False).logits
    return logits_1TV


def _check_idle(adapted: nn.Module, before: Tensor, base: str) -> None:
    """Refuse adapters that a model never asks, because it reads the weights under them by itself, and a model that says
    something else once it has adapters, which do nothing before they are trained: no merged weights would give what was
    learned."""
    layers = {name: module for name, module in adapted.named_modules() if hasattr(module, "lora_A")}
    asked = set[str]()
    hooks = [module.register_forward_pre_hook(lambda *_, name=name: asked.add(name)) for name, module in layers.items()]
    try:
        same = torch.allclose(_said(adapted), before, rtol=0.02, atol=1e-3)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        same = False
    finally:
        for hook in hooks:
            hook.remove()
    advice = "name other layers in model.lora.targets, such as those of attention (q_proj, k_proj, v_proj, o_proj)"
    if not same:
        raise ModelError(f"{base} does not compute with adapters as it does without, on the layers chosen: {advice}")
    # By their endings: of several experts, few tokens ask some.
    if dead := sorted(set(_endings(layers.keys())) - set(_endings(asked))):
        raise ModelError(f"{base} reads the weights of {', '.join(dead)} by itself, past any adapter: {advice}")


def _targets(model: PreTrainedModel, lora: Lora, base: str) -> tuple[str | list[str], list[str] | None]:
    """The layers and the parameters that get an adapter, as peft takes them.

    A layer's experts are one parameter [experts, in, out], no linear layers. peft takes the names that layers of
    experts have for these parameters wherever they stand, so linear layers of such names (in dense layers, shared
    experts) are adapted as parameters too.
    """
    experts = {
        f"{owner}.{name}"
        for owner, module in model.named_modules()
        if not isinstance(module, nn.Conv1d)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3
    }
    if not experts:
        return (lora.targets if lora.targets == "all-linear" else list(lora.targets)), None
    if lora.targets != "all-linear":
        named = sorted(_EXPERT_LAYERS.intersection(target.rpartition(".")[2] for target in lora.targets))
        if named:
            raise ModelError(
                f"model.lora.targets names {', '.join(named)}, but {base} keeps a layer's experts in one parameter, "
                "and some would go without an adapter: leave model.lora.targets out, which adapts them all, or name "
                "attention layers only"
            )
        return list(lora.targets), None
    linear = {
        name
        for name, module in model.named_modules()
        if type(module) in (nn.Linear, FourBitLinear) and module is not model.get_output_embeddings()
    }
    alike = {name for name in linear if name.rpartition(".")[2] in _EXPERT_LAYERS}
    return _endings(linear - alike), _endings(experts | {f"{name}.weight" for name in alike})


def _endings(names: Set[str]) -> list[str]:
    """Names without the layer that they are in."""
    return sorted({re.sub(r".*\.\d+\.", "", name) for name in names})


def _tied(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """Embedding and vocabulary projection of a model in which they are one matrix."""
    read, written = model.get_input_embeddings(), model.get_output_embeddings()
    return (read, written) if written is not None and read.weight is written.weight else ()


def adapter_base(model: PreTrainedModel) -> str:
    """What a model with adapters names as its base."""
    config: Any = model.peft_config["default"]
    return str(config.base_model_name_or_path)


def peft_library() -> Any:
    try:
        with no_kernels_of_the_hub():
            import peft
    except ModuleNotFoundError as error:
        raise ModelError("adapters need peft: pip install -c constraints.txt -e '.[lora]'") from error
    return peft
