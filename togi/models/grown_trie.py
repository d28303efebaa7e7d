"""A prefix trie that grows: nodes are computed once, and their keys and values are kept for those that follow them.

It knows tokens, marks and a model's layers; it does not know what is drawn, or why. No gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from togi.models.packing import PackedModel
from togi.models.trie import IntArray, Piece, laid_out


class GrownTrie:
    """Rows of ids, computed, and what grows on them. A *path* is the numbers of the nodes from the first on."""

    def __init__(self, model: PackedModel, marks_KD: Tensor) -> None:
        self.model = model
        self._marks_KD = marks_KD
        # Without a configuration it keeps all keys, also those beyond a window: the trie's attention leaves them out.
        self._cache = DynamicCache()
        self.count = 0

    def begin(self, rows: Sequence[IntArray]) -> tuple[list[IntArray], Tensor]:
        """Compute the distinct tokens of rows; their paths, and the hidden states of all nodes [N, D]."""
        assert not self.count, "rows are laid out once"
        trie = laid_out(rows)
        hidden_ND = self._computed(trie.ids_N, trie.position_N, trie.pieces)
        return list(trie.nodes), hidden_ND

    def grow(self, paths: Sequence[IntArray], ids_RK: IntArray) -> tuple[list[IntArray], Tensor]:
        """Let K tokens or marks follow each path; the longer paths, and the hidden state of each one's last [R, D]."""
        rows, further = ids_RK.shape
        fresh_RK = np.arange(self.count, self.count + rows * further).reshape(rows, further)
        grown = [np.concatenate((path, fresh_K)) for path, fresh_K in zip(paths, fresh_RK, strict=True)]
        position_RK = np.array([len(path) for path in paths])[:, None] + np.arange(further)
        pieces = [Piece(path=path, start=len(path) - further) for path in grown]
        hidden_ND = self._computed(ids_RK.reshape(-1), position_RK.reshape(-1), pieces)
        return grown, hidden_ND[further - 1 :: further]

    def forget(self, count: int) -> None:
        """Only the first ``count`` nodes stay, fewer than there are."""
        self._cache.crop(count - self.count)
        self.count = count

    def _computed(self, ids_N: IntArray, position_N: IntArray, pieces: Sequence[Piece]) -> Tensor:
        with torch.no_grad():
            read_ND = self.model.read(torch.from_numpy(ids_N).to(self.model.device), None, self._marks_KD)
            hidden_ND = self.model.hidden_after(read_ND, position_N, pieces, self._cache, self.count)
        self.count += len(ids_N)
        return hidden_ND
