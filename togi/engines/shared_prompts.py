"""Keys and values of prompts that several sequences continue, kept once and read once for all of them.

It knows which row of the batch continues which prompt; it does not know what rows keep of their own, nor softmax.
Axes: B rows, H query heads, K key-value heads, G = H / K, S prompts, n rows of one prompt, P tokens, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray

_SIDE = 16  # tokens; keys are looked at in multiples of it, since a matrix product of a new shape is first compiled


@dataclass(frozen=True, kw_only=True, eq=False)
class Prefix:
    """Keys and values of one prompt, [K, P, D] for each layer: views into those of the prompts computed with it."""

    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]

    def __len__(self) -> int:
        return int(self.keys[0].shape[1])

    def first(self, length: int) -> Prefix:
        """The first so many tokens, as views."""
        return Prefix(keys=[key[:, :length] for key in self.keys], values=[value[:, :length] for value in self.values])


class SharedPrompts:
    """The prompts' keys and values, [S, K, P, D] for each layer. A prompt's place is free once no row continues it."""

    def __init__(self, rows: int) -> None:
        self._prompt_R = np.full(rows, -1)  # -1: none
        self._held: list[ref[Prefix]] = []
        self._length_S = np.zeros(0, dtype=np.int64)
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        # What one decoding step looks at.
        self._seen = 0
        self._count = self._most = 0
        self._asked = self._answered = torch.empty(0)

    def lengths(self, rows: int) -> NDArray[np.int64]:
        """How many tokens each of the first rows has in common with others, [B]; 0 for those that share nothing."""
        prompt_B = self._prompt_R[:rows]
        return np.where(prompt_B < 0, 0, np.append(self._length_S, 0)[prompt_B])

    def place(self, prefix: Prefix, rows: Sequence[int]) -> None:
        """Let rows continue a prompt, which is copied unless it is there."""
        self.leave(rows)
        for place, held in enumerate(self._held):
            if held() is prefix:
                self._prompt_R[list(rows)] = place
                return
        place = int(np.setdiff1d(np.arange(len(self._held) + 1), self._prompt_R)[0])
        self._prompt_R[list(rows)] = place
        if place == len(self._held):
            self._held.append(ref(prefix))
            self._length_S = np.append(self._length_S, 0)
        self._held[place], self._length_S[place] = ref(prefix), len(prefix)
        self._keys = _with(self._keys, prefix.keys, place)
        self._values = _with(self._values, prefix.values, place)

    def of_row(self, row: int) -> Prefix | None:
        """The prompt that a row continues, as views into what is kept of it."""
        place = int(self._prompt_R[row])
        if place < 0:
            return None
        length = int(self._length_S[place])
        sides = ([layer[place, :, :length] for layer in kept] for kept in (self._keys, self._values))
        keys, values = sides
        return Prefix(keys=keys, values=values)

    def leave(self, rows: Sequence[int]) -> None:
        """Rows continue no shared prompt."""
        self._prompt_R[list(rows)] = -1

    def move(self, source: int, target: int) -> None:
        """Let a row continue what another one does, which is left."""
        self._prompt_R[target], self._prompt_R[source] = self._prompt_R[source], -1

    def exchange(self, one: int, other: int) -> None:
        """Let each of two rows continue what the other does."""
        self._prompt_R[[one, other]] = self._prompt_R[[other, one]]

    def begin_decode(self, rows: int, heads: int, device: torch.device) -> torch.Tensor:
        """Prepare for the first rows; gives what they must not see of their prompts [B, P], P = 0 where none shares."""
        prompt_B, length_B = self._prompt_R[:rows], self.lengths(rows)
        self._seen = looked_at(int(length_B.max()), self._keys[0].shape[2] if self._keys else 0)
        if self._seen:
            self._count = int(prompt_B.max()) + 1
            # Rows that share nothing read some prompt, of which they see nothing.
            at_B = np.where(prompt_B < 0, np.arange(rows) % self._count, prompt_B)
            order = np.argsort(at_B, kind="stable")
            rank_B = np.empty_like(order)
            rank_B[order] = np.arange(rows) - np.searchsorted(at_B[order], at_B[order])
            self._most = int(rank_B.max()) + 1
            row_SN = np.zeros((self._count, self._most), dtype=np.int64)
            row_SN[at_B, rank_B] = np.arange(rows)
            head = np.arange(heads)
            asked = row_SN[:, None] * heads + head[:, None]
            answered = (at_B[:, None] * heads + head) * self._most + rank_B[:, None]
            self._asked, self._answered = (torch.from_numpy(x.reshape(-1)).to(device) for x in (asked, answered))
        hidden_BP = np.arange(self._seen) >= length_B[:, None]
        return torch.from_numpy(hidden_BP).to(device)

    def scores(self, layer: int, query_BKGD: torch.Tensor) -> torch.Tensor:
        """Each query times the keys of its row's prompt: [B * K, G, D] -> [B * K, G, P]."""
        keys = self._keys[layer][: self._count, :, : self._seen].flatten(0, 1)
        return self._each(query_BKGD, keys.transpose(1, 2))

    def read(self, layer: int, weight_BKGP: torch.Tensor) -> torch.Tensor:
        """The values of each row's prompt, weighted: [B * K, G, P] -> [B * K, G, D]."""
        return self._each(weight_BKGP, self._values[layer][: self._count, :, : self._seen].flatten(0, 1))

    def _each(self, x: torch.Tensor, by_prompt: torch.Tensor) -> torch.Tensor:
        """One product a prompt and head for all the rows that share it."""
        group, width = x.shape[1:]
        asked = x.index_select(0, self._asked).view(len(by_prompt), self._most * group, width)
        return torch.bmm(asked, by_prompt).view(-1, group, by_prompt.shape[2]).index_select(0, self._answered)


def _with(old: list[torch.Tensor], new: Sequence[torch.Tensor], place: int) -> list[torch.Tensor]:
    """What is kept, with one more prompt; room for more of them grows by half.

    Zeros where nothing is, since attention multiplies what it masks by nought, which must be finite.
    """
    had = old[0].shape if old else torch.Size((0, 0, 0, 0))
    heads, length, width = new[0].shape
    room = had[0] if place < had[0] else max(place + 1, had[0] * 3 // 2)
    want = torch.Size((room, heads, max(had[2], rounded(length)), width))
    if want != had:
        wider = [one.new_zeros(want) for one in new]
        for one, other in zip(wider, old, strict=False):  # at first there is none
            one[: had[0], :, : had[2]] = other
        old = wider
    for kept, one in zip(old, new, strict=True):
        kept[place, :, :length] = one
    return old


def rounded(length: int) -> int:
    return -(-length // _SIDE) * _SIDE


def looked_at(longest: int, capacity: int) -> int:
    """So many keys of each row are multiplied. All, but for where a very long sequence has left: then copying the few
    keys of the others costs less than masking the rest."""
    return capacity if 2 * longest > capacity else rounded(longest)
