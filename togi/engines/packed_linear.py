"""Linear layers with packed weights, for decoding in bfloat16 on a processor. It knows no model and no cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_FEW = 256  # rows; with more of them, packing is a small part of the product

_product = torch.ops.mkldnn._linear_pointwise


class Packed:
    """Linear layers with the same input as one, whose weight is in the matrix library's own layout.

    The library otherwise packs a weight again on every call, which at 64 rows is a third of the product's time.
    """

    def __init__(self, layers: Sequence[nn.Linear], rows: int) -> None:
        """For products of about ``rows`` rows. All of the layers have a bias, or none."""
        self._weight = torch.ops.mkldnn._reorder_linear_weight(_joined([layer.weight for layer in layers]), rows)
        self._bias = None if layers[0].bias is None else _joined([layer.bias for layer in layers])

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = _product(x, self._weight, self._bias, "none", [], "")
        return out

    def silu(self, x: Tensor) -> Tensor:
        """silu of the product."""
        out: Tensor = _product(x, self._weight, self._bias, "swish", [], "")
        return out

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The product + ``other``."""
        out: Tensor = _product.binary(x, other, self._weight, self._bias, "add")
        return out

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """The product * ``other``."""
        out: Tensor = _product.binary(x, other, self._weight, self._bias, "mul")
        return out


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].detach() if len(parts) == 1 else torch.cat([part.detach() for part in parts])


def can_pack() -> bool:
    """Whether processor and PyTorch have a packed form in bfloat16: of x86, those with AVX2 alone have none."""
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def packs(layer: nn.Linear) -> bool:
    """Whether there is something to gain, and nobody else has put a forward of their own on this layer."""
    fits = layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == "cpu"
    return fits and "forward" not in vars(layer) and can_pack()


@contextmanager
def packed_weights(layers: Iterable[nn.Module], rows: int) -> Iterator[None]:
    """Let the linear ones among the layers use packed weights while open, for products of about ``rows`` rows.

    The packed copies are as large as the weights and live as long as the block.
    """
    packed = [layer for layer in layers if type(layer) is nn.Linear and packs(layer)] if rows > 1 else []
    for layer in packed:
        layer.forward = partial(_forward, layer, Packed([layer], rows))  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in packed:
            del layer.forward


def _forward(layer: nn.Linear, packed: Packed, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias) if x.numel() > _FEW * x.shape[-1] else packed(x)
