"""Linear layers with packed weights, for decoding in bfloat16 on a processor. It knows no model and no cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_FEW = 256  # rows; with more of them, packing is a small part of the product


@contextmanager
def packed_weights(model: nn.Module, rows: int) -> Iterator[None]:
    """Keep each layer's weight in the matrix library's own layout while open, for products of about ``rows`` rows.

    The library otherwise packs the weight again on every call, which at 64 rows is a third of the product's time. The
    packed copy is as large as the weights and lives as long as the block.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and _packs(layer)] if rows > 1 else []
    for layer in layers:
        packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
        layer.forward = partial(_forward, layer, packed)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _packs(layer: nn.Linear) -> bool:
    """Whether there is something to gain, and nobody else has put a forward of their own on this layer."""
    fits = layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == "cpu"
    return fits and torch.backends.mkldnn.is_available() and "forward" not in vars(layer)  # type: ignore[no-untyped-call]


def _forward(layer: nn.Linear, packed: Tensor, x: Tensor) -> Tensor:
    if x.numel() > _FEW * x.shape[-1]:
        return linear(x, layer.weight, layer.bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, layer.bias, "none", [], "")
    return out
