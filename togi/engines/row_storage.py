"""Keys or values of all rows, each row's at its front; knows no attention, no prompt that rows share, and no order.

Axes: R rows, K key-value heads, T tokens, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class RowStorage:
    """[R, K, ``capacity``, D] for each layer.

    The capacity is hardly more than the longest row, since a matrix product copies keys that do not lie one after the
    other. So it grows often, and memory that nobody has written yet is many times slower to write: a layer lies at the
    front of a block that has half as much room again, and grows into the block that the layer before it has left.
    """

    def __init__(self, rows: int) -> None:
        self.capacity = 0
        self._rows = rows
        self._layers: list[Tensor] = []
        self._blocks: list[Tensor] = []
        self._spare = torch.empty(0)

    def open(self, like: Sequence[Tensor]) -> None:
        """Get ready for such keys or values, [K, T, D] for each layer."""
        if not self._layers:
            self._layers = [one.new_empty(self._rows, one.shape[0], 0, one.shape[2]) for one in like]
            self._blocks = [one.new_empty(0) for one in like]
            self._spare = like[0].new_empty(0)

    def __getitem__(self, layer: int) -> Tensor:
        return self._layers[layer]

    def widen(self, capacity: int) -> None:
        """Let each row hold so many tokens, keeping what is there."""
        for number, old in enumerate(self._layers):
            rows, heads, length, width = old.shape
            each = rows * heads * width
            if self._spare.numel() < each * capacity:
                self._spare = old.new_empty(each * (capacity + capacity // 2))
            new = self._spare[: each * capacity].view(rows, heads, capacity, width)
            new[:, :, :length] = old
            # Attention multiplies what it masks by nought, which must be finite.
            new[:, :, length:] = 0
            self._layers[number] = new
            self._blocks[number], self._spare = self._spare, self._blocks[number]
        self.capacity = capacity

    def put(self, prefix: Sequence[Tensor], rows: Sequence[int]) -> None:
        """Let rows begin with these tokens, [K, T, D] for each layer."""
        for layer, one in zip(self._layers, prefix, strict=True):
            for row in rows:
                layer[row, :, : one.shape[1]] = one

    def copied(self, row: int, length: int, behind: Sequence[Tensor]) -> list[Tensor]:
        """A copy of a row's first tokens, behind those of ``behind`` [K, T, D] where there are any, for each layer."""
        own = [layer[row, :, :length] for layer in self._layers]
        return [torch.cat(both, 1) for both in zip(behind, own, strict=True)] if behind else [o.clone() for o in own]

    def move(self, source: int, target: int, length: int) -> None:
        """Put the first ``length`` tokens of a row in the place of another row."""
        for layer in self._layers:
            layer[target, :, :length] = layer[source, :, :length]

    def exchange(self, one: int, other: int, lengths: tuple[int, int]) -> None:
        """Let two rows change places, which have so many tokens."""
        mine, theirs = lengths
        for layer in self._layers:
            kept = layer[one, :, :mine].clone()
            layer[one, :, :theirs] = layer[other, :, :theirs]
            layer[other, :, :mine] = kept
