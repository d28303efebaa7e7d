"""Linear layers whose weights are kept in 4 bits: a base that nobody trains, under adapters (QLoRA, arXiv:2305.14314).

It knows no adapter and no recipe. A weight is one of the 16 levels of NF4 times the scale of its block of 64; rounding
to them and unpacking are bitsandbytes'. Products are made with unpacked weights, which exist for one layer at a time.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from transformers import PreTrainedModel

from togi.extras import lacking
from togi.models.weight_files import ModelError

EXTRA = "qlora"
BLOCK = 64
KIND = "nf4"


class FourBitLinear(nn.Linear):
    """What ``layer`` computes, its weight rounded to 4 bits; gradients go through it to its input alone."""

    scales: Tensor
    levels: Tensor

    def __init__(self, layer: nn.Linear, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().to(device)
        # One block a row: bitsandbytes unpacks rows that end within a block wrongly on some processors.
        blocks = pad(weight.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
        packed, state = bitsandbytes().quantize_4bit(blocks, blocksize=BLOCK, quant_type=KIND)
        self.packed = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("scales", state.absmax)
        self.register_buffer("levels", state.code)
        self.bias = layer.bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The rounded weight, in float32."""
        return self.unpacked(torch.float32)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        library, shape = bitsandbytes(), (self.out_features, self.in_features)
        state = library.QuantState(
            absmax=self.scales,
            shape=(len(self.scales), BLOCK),
            code=self.levels,
            blocksize=BLOCK,
            quant_type=KIND,
            dtype=dtype,
        )
        weight: Tensor = library.dequantize_4bit(self.packed, state).flatten()[: prod(shape)].view(shape)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias

    def restored(self) -> nn.Linear:
        """A plain layer with the rounded weight."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(self.weight, requires_grad=False)
        layer.bias = self.bias
        return layer


class _Product(torch.autograd.Function):
    """x W^T, unpacking W once more for the backward pass: kept, the weights of all layers would be whole again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FourBitLinear) -> Tensor:
        ctx.layer = layer
        return linear(x, layer.unpacked(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.unpacked(grads[0].dtype), None


def quantise(model: PreTrainedModel, device: torch.device) -> None:
    """Put the weights of all linear layers but the vocabulary projection into 4 bits, in place, on the device.

    Raises ModelError without bitsandbytes, without its kernels for the device, and for a model that keeps most of its
    weights elsewhere than in linear layers.
    """
    bitsandbytes()
    words = (model.get_input_embeddings(), model.get_output_embeddings())
    layers = {name: each for name, each in model.named_modules() if type(each) is nn.Linear and each not in words}
    known = {id(each.weight) for each in (*layers.values(), *words) if each is not None}
    others = {name: p for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in known}
    if sum(p.numel() for p in others.values()) > sum(each.weight.numel() for each in layers.values()):
        raise ModelError(
            f"{type(model).__name__} keeps most of its weights elsewhere than in linear layers (such as "
            f"{max(others, key=lambda name: others[name].numel())}), which cannot be put into 4 bits: leave "
            "model.lora.base out"
        )
    for name, layer in layers.items():
        try:
            narrow = FourBitLinear(layer, device)
            narrow.unpacked(torch.bfloat16)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise ModelError(
                f"bitsandbytes has no kernels for weights of 4 bits on {device.type} ({error}): leave model.lora.base "
                "out, or take another device"
            ) from error
        model.set_submodule(name, narrow)


def weights_of(model: nn.Module) -> int:
    """How many weights a model has, those in 4 bits included; tied ones once."""
    return packed_weights(model)[0] + sum(p.numel() for p in model.parameters() if p.is_floating_point())


def packed_weights(model: nn.Module) -> tuple[int, int]:
    """How many of a model's weights are kept in 4 bits, and the bytes that they take."""
    narrow = [each for each in model.modules() if isinstance(each, FourBitLinear)]
    weights = sum(each.in_features * each.out_features for each in narrow)
    return weights, sum(each.packed.nbytes + each.scales.nbytes for each in narrow)


@cache
def bitsandbytes() -> Any:
    """Its functions. Raises ModelError where it is not installed."""
    with no_kernels_of_the_hub():
        try:
            import bitsandbytes.functional as functions
        except ModuleNotFoundError as error:
            raise ModelError(lacking("a base in 4 bits", EXTRA)) from error
    return functions


@contextmanager
def no_kernels_of_the_hub() -> Iterator[None]:
    """While bitsandbytes is imported, by whomever: it would fetch programs from the hub, or say that it cannot."""
    log, modules = logging.getLogger("bitsandbytes"), cast(dict[str, Any], sys.modules)
    level, known = log.level, modules.get("kernels")
    log.setLevel(logging.ERROR)
    modules["kernels"] = None  # which makes its import fail
    try:
        yield
    finally:
        log.setLevel(level)
        if known is None:
            del modules["kernels"]
        else:
            modules["kernels"] = known
