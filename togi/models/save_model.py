"""Writes models in the formats that transformers and peft load. It knows no run and no recipe.

Every folder appears whole or not at all: it is written under another name and renamed.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from uuid import uuid4

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from togi.models.adapters import adapter_base
from togi.models.bundled import BUNDLED
from togi.models.four_bits import BLOCK, KIND, FourBitLinear
from togi.models.load_model import BASE_FOLDER, CHAT_TEMPLATE, NARROW_BASE, load_model
from togi.models.read_weights import quiet
from togi.models.thought_head import save_thoughts
from togi.models.weight_files import ModelError

Form = Literal["safetensors", "adapter", "merged", "gguf"]
PROBES = ("The capital of France is", "def add(a, b):\n    return", "2 + 3 =", "Once upon a time")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What was written. ``difference`` is, for merged weights, the largest absolute difference between the logits of
    the written model and of base and adapter, over four short prompts. ``base`` is what an exported adapter names as
    its base; ``thinks`` says that a thought head was written beside the weights."""

    path: Path
    form: Form
    difference: float | None = None
    base: str | None = None
    thinks: bool = False


def export(
    source: str,
    path: Path,
    *,
    adapter: bool = False,
    dtype: torch.dtype = torch.float32,
    beside: Mapping[str, str] | None = None,
) -> Saved:
    """Write the model of any source that load_model reads to the new folder ``path``, for other tools to load.

    An adapter is merged into its base, which makes a whole model; with ``adapter`` it stays one, with its tokenizer,
    and names a base that peft and transformers find by themselves. ``beside`` are texts that are written with it, by
    the names of their files. Raises ModelError when the source has no adapter to keep, or ``path`` exists.
    """
    if path.exists():
        raise ModelError(f"{path} exists already: choose another folder, or remove it first")
    loaded = load_model(source)
    adapted = has_adapters(loaded.model)
    if adapter and not adapted:
        raise ModelError(f"{source} has no adapter to keep: export it as a whole, without --adapter")
    if adapter:
        saved = _export_adapter(loaded.model, loaded.tokenizer, path, dtype, beside or {})
    else:
        saved = save_model(loaded.model, loaded.tokenizer, path, merge=adapted, dtype=dtype, beside=beside)
    if loaded.thoughts is not None:
        save_thoughts(loaded.thoughts, path)
    return replace(saved, thinks=loaded.thoughts is not None)


def _export_adapter(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    dtype: torch.dtype,
    beside: Mapping[str, str],
) -> Saved:
    """An adapter folder, and in it the base's weights where only Togi knows how to get at them."""
    base = adapter_base(model)
    with appearing(path) as work, quiet():
        _save_adapter(model, work, dtype)
        tokenizer.save_pretrained(work)
        write_beside(work, beside)
        if base in BUNDLED or base.endswith(".gguf"):
            base = str((path / BASE_FOLDER).resolve())
            _save_whole(model, work / BASE_FOLDER, dtype, merge=False)
            tokenizer.save_pretrained(work / BASE_FOLDER)
            config = json.loads((work / "adapter_config.json").read_text(encoding="utf-8"))
            config["base_model_name_or_path"] = base
            (work / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return Saved(path=path, form="adapter", base=base)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    *,
    merge: bool = False,
    dtype: torch.dtype | None = None,
    beside: Mapping[str, str] | None = None,
) -> Saved:
    """Write a model to the folder ``path``, replacing a model that is there; the model itself is not changed.

    A model with adapters is written as an adapter folder, or with ``merge`` as whole weights. ``dtype`` is the type
    to write (default: the model's own). Raises ModelError when merged weights do not give the model's logits, or the
    disk is full.
    """
    if path.exists() and not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError(f"{path} exists and holds no model: choose another folder")
    adapted = has_adapters(model)
    with appearing(path) as work, quiet():
        if adapted and not merge:
            _save_adapter(model, work, dtype)
            if isinstance(tokenizer.chat_template, str):  # which a run may have changed
                (work / CHAT_TEMPLATE).write_text(tokenizer.chat_template, encoding="utf-8")
            saved = Saved(path=path, form="adapter")
        else:
            _save_whole(model, work, dtype or model.dtype, merge=True)
            tokenizer.save_pretrained(work)
            write_beside(work, beside or {})
            difference = _difference(model, tokenizer, work) if adapted else None
            saved = Saved(path=path, form="merged" if adapted else "safetensors", difference=difference)
    return saved


def save_base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Write a model to the new folder ``path`` as it is without its adapters, for programs that take those by
    themselves."""
    with appearing(path) as work, quiet():
        _save_whole(model, work, model.dtype, merge=False)
        tokenizer.save_pretrained(work)


def write_beside(work: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")


def has_adapters(model: nn.Module) -> bool:
    return not isinstance(model, PreTrainedModel)


def _save_adapter(model: PreTrainedModel, work: Path, dtype: torch.dtype | None) -> None:
    """Only adapter tensors; peft would otherwise look the base up on the hub, to see whether its vocabulary grew."""
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    cast = {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in tensors.items()}
    model.save_pretrained(work, state_dict=cast, save_embedding_layers=False)
    if any(isinstance(module, FourBitLinear) for module in model.modules()):
        (work / NARROW_BASE).write_text(json.dumps({"quant_type": KIND, "blocksize": BLOCK}), encoding="utf-8")
    _sort_targets(work / "adapter_config.json")
    # peft's model card is a form with every field left empty.
    (work / "README.md").unlink(missing_ok=True)


def _sort_targets(path: Path) -> None:
    """peft writes a set, in an order that differs from process to process: equal runs would leave unequal files."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "target_parameters"):
        if isinstance(config.get(name), list):
            config[name].sort()
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _save_whole(model: nn.Module, work: Path, dtype: torch.dtype, *, merge: bool) -> None:
    """Write through an empty shell of the same configuration, so that neither dtype nor merging touches the model;
    without ``merge`` what adapters do is left out."""
    inner = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    config = copy.deepcopy(inner.config)
    config.dtype = dtype
    with torch.device("meta"):
        shell = type(inner)(config)
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in plain_tensors(inner, merge)
    }
    shell.load_state_dict(tensors, strict=True, assign=True)
    shell.tie_weights()
    shell.generation_config = copy.deepcopy(inner.generation_config)
    shell.save_pretrained(work)


def plain_tensors(inner: PreTrainedModel, merge: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """The plain model's tensors by name, with ``merge`` adapters added to the weights they belong to (in float32).
    Weights in 4 bits are unpacked, so that the sum is what was learned."""
    changed = {
        name: module
        for name, module in inner.named_modules()
        if hasattr(module, "base_layer") or isinstance(module, FourBitLinear)
    }
    for name, tensor in inner.state_dict().items():
        owner = next((prefix for prefix in changed if name.startswith(f"{prefix}.")), None)
        if owner is None:
            yield name, tensor.detach()
    for name, module in changed.items():
        if name.endswith(".base_layer"):  # reached through the first of the adapters on it
            continue
        layer = copy.deepcopy(module).float() if merge else module
        while hasattr(layer, "base_layer"):
            if merge:
                if isinstance(layer.base_layer, FourBitLinear):
                    layer.base_layer = layer.base_layer.restored()
                layer.merge(safe_merge=True)
            layer = layer.base_layer
        if isinstance(layer, FourBitLinear):
            layer = layer.restored()
        for part, tensor in layer.state_dict().items():
            yield f"{name}.{part}", tensor.detach()


@torch.no_grad()
def _difference(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Path) -> float:
    """The largest absolute logit difference between the model and the folder written from it."""
    written = AutoModelForCausalLM.from_pretrained(work, dtype=model.dtype, local_files_only=True).eval()
    training = model.training
    model.eval()
    worst = largest = 0.0
    for probe in PROBES:
        ids = torch.tensor([tokenizer.encode(probe)])
        wanted = model(input_ids=ids).logits.float()
        worst = max(worst, float((written(input_ids=ids).logits.float() - wanted).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
    model.train(training)
    # Rounding to bfloat16 moves logits by a few percent; a wrong merge moves them by their own size.
    if not worst <= 0.1 * largest:
        raise ModelError(f"merged weights give logits off by {worst:.3g} (largest {largest:.3g}): they were not kept")
    return worst


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A new folder that takes the name ``path`` when everything in it has been written."""
    work = path.parent / f".{path.name}.{uuid4().hex}"
    old = work.with_name(f"{work.name}.old")
    try:
        # What a killed process left behind, and nothing that only has such a name.
        for left in path.parent.glob(f".{path.name}.*"):
            if re.fullmatch(r"[0-9a-f]{32}(\.old)?", left.name.removeprefix(f".{path.name}.")):
                shutil.rmtree(left, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        # safetensors makes files that only their owner may read, whatever the umask.
        for weights in work.rglob("*.safetensors"):
            weights.chmod(next(work.glob("*config.json")).stat().st_mode)
        if path.exists():
            path.rename(old)
        work.rename(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the model could not be written to {path}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
