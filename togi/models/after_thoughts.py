"""What a model says after thoughts at many places of a text, in one differentiable pass.

Every thought is a branch of the prefix trie: it sees the tokens before its place and itself, and neither other thoughts
nor what follows. That is the diagonal mask of Quiet-STaR (https://arxiv.org/abs/2403.09629, section 4.2); the text is
computed once for all of its thoughts. It knows no loss, and draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from togi.models.packing import PackedModel
from togi.models.thought_head import END, START, ThoughtHead
from togi.models.trie import IntArray, filled, laid_out
from togi.types import AfterThoughts, Batch, Outputs, Sample


class ThinkingModel:
    """The differentiable view of a model with its thought head. Raises ValueError for a model that cannot be packed."""

    def __init__(self, packed: PackedModel, head: ThoughtHead) -> None:
        if not packed.packs:
            raise ValueError(
                "this model cannot think before every token: its layers do not all attend through transformers' "
                "attention interface, or it changes its logits. Take one such as Llama, Qwen2, Qwen3, Mistral or SmolLM"
            )
        self._packed, self._head = packed, head

    def __call__(self, batch: Batch) -> Outputs:
        """``logp_BT`` without thoughts, and ``after_thoughts`` of samples whose thoughts were drawn."""
        device, samples = self._packed.device, batch.samples
        branches = [branch for b, sample in enumerate(samples) for branch in _branches(b, sample)]
        trie = laid_out([*(sample.ids for sample in samples), *(branch.ids for branch in branches)])
        tied = self._packed.tie()
        hidden_ND = self._packed.hidden(filled(trie), tied, self._head.marks)
        trunks, paths = trie.nodes[: len(samples)], trie.nodes[len(samples) :]

        b, t = np.nonzero(batch.mask_BT.numpy())
        b, t = b[t > 0], t[t > 0]
        plain = np.array([trunks[row][at - 1] for row, at in zip(b, t, strict=True)], np.int64)
        known = [samples[row].ids[at] for row, at in zip(b, t, strict=True)]
        own = [path[each.at : each.at + each.length] for each, path in zip(branches, paths, strict=True)]
        without = [trunks[each.b][each.at - 1 : each.at - 1 + each.ahead] for each in branches]
        after = [path[-each.ahead :] for each, path in zip(branches, paths, strict=True)]
        mixed_MD, share_M = self._head(hidden_ND[_on(without, device)], hidden_ND[_on(after, device)])
        token = [np.array(known, np.int64), *(each.thought for each in branches), *(each.judges for each in branches)]
        logp_M = self._packed.token_logps(
            torch.cat((hidden_ND[_on([plain, *own], device)].to(mixed_MD.dtype), mixed_MD)), _on(token, device), tied
        )

        there = batch.ids_BT.device
        sizes = [len(b), sum(map(len, own)), sum(map(len, after))]
        plain_M, own_M, mixed_M = (each.to(there) for each in torch.split(logp_M, sizes))
        logp_BT = plain_M.new_zeros(batch.mask_BT.shape).index_put((torch.from_numpy(b), torch.from_numpy(t)), plain_M)
        return Outputs(logp_BT=logp_BT, after_thoughts=_collected(branches, own_M, mixed_M, share_M.to(there), batch))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Branch:
    """The thought number ``p`` at place ``n`` of sample ``b``, before its token ``at``, and the tokens ahead."""

    b: int
    n: int
    p: int
    at: int
    before: IntArray
    thought: IntArray
    judges: IntArray

    @property
    def ids(self) -> IntArray:
        return np.concatenate((self.before, [START], self.thought, [END], self.judges[:-1]))

    @property
    def length(self) -> int:
        return len(self.thought)

    @property
    def ahead(self) -> int:
        return len(self.judges)


def _branches(b: int, sample: Sample) -> list[_Branch]:
    thoughts = sample.thoughts
    assert thoughts is not None, "a sample without thoughts was asked what follows them"
    assert thoughts.ids_NPL.shape[2], "thoughts that were not drawn"
    return [
        _Branch(b=b, n=n, p=p, at=at, before=sample.ids[:at], thought=thought, judges=sample.ids[at : at + ahead])
        for n, (at, ahead) in enumerate(zip(thoughts.at_N.tolist(), thoughts.ahead_N.tolist(), strict=True))
        for p, thought in enumerate(thoughts.ids_NPL[n])
    ]


def _on(parts: list[IntArray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64)).to(device)


def _collected(branches: list[_Branch], own_M: Tensor, mixed_M: Tensor, share_M: Tensor, batch: Batch) -> AfterThoughts:
    """Numbers that lie branch after branch, by sample, place, thought and token."""
    places = max(each.n for each in branches) + 1
    thoughts = max(each.p for each in branches) + 1
    ahead = max(each.ahead for each in branches)
    shape = (len(batch.samples), places, thoughts)
    place = np.array([(each.b, each.n, each.p) for each in branches])
    one = tuple(torch.from_numpy(np.repeat(place[:, axis], [each.length for each in branches])) for axis in range(3))
    counts = [each.ahead for each in branches]
    many = (
        *(torch.from_numpy(np.repeat(place[:, axis], counts)) for axis in range(3)),
        torch.from_numpy(np.concatenate([np.arange(count) for count in counts])),
    )
    known_BNPA = torch.zeros(*shape, ahead, dtype=torch.bool).index_put(
        many, torch.ones(len(mixed_M), dtype=torch.bool)
    )
    return AfterThoughts(
        known_BNA=known_BNPA.any(2).to(mixed_M.device),
        logp_BNPA=mixed_M.new_zeros(*shape, ahead).index_put(many, mixed_M),
        weight_BNPA=share_M.new_zeros(*shape, ahead).index_put(many, share_M),
        own_BNP=own_M.new_zeros(shape).index_put(one, own_M, accumulate=True),
    )
