"""Runs a causal language model over the distinct tokens of many samples, each computed once.

It knows models and the trie of samples; it does not know losses, rewards, optimisers or what a scalar is for. Samples
that share a prefix (attempts at one prompt, turns of one history, branches of one trunk) share its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from togi.batch import collate
from togi.models.compared_projection import Projected, compared
from togi.models.lean_layers import lean, lean_layers
from togi.models.logit_form import logit_form
from togi.models.projection import Tied, divergence_from_uniform, embedded, token_log_probs
from togi.models.trie import NODES, IntArray, Piece, Trie, filled, layout, plan, rounded
from togi.models.trie_attention import trie_attention
from togi.protocols import Compare
from togi.types import LOGP, Batch, Output, Outputs, Sample

PROJECTED: frozenset[Output] = frozenset({"logp", "entropy", "certainty"})
SCALARS: frozenset[Output] = frozenset({"value", "score"})

# Rounding in half precision moves hidden states and log-probabilities by some 3% of their size; another attention or
# logits that are changed afterwards move them by tens.
_HALF_NOISE = 0.1

Head = Callable[[Tensor], Tensor]
"""Hidden states [..., D] to one number each [...]."""

Say = Callable[[], Outputs]
"""One pass of a model over a batch."""


class PackedModel:
    """The differentiable view of a causal language model that computes shared prefixes once.

    Gives what `padded_outputs` gives, and is that for a model it cannot pack: one that does not attend through
    transformers' attention interface, or whose logits are not its output embedding times its last hidden state, with a
    factor and a soft cap at most. Which of the two is found out once, by comparing them on a few tokens. A model
    without a vocabulary gives what ``head`` says of its hidden states, and nothing else. ``tokens`` is how many of the
    vocabulary's rows are tokens (default: all); rows that only round its size up have no part in a certainty. What is
    said of a batch is where the batch is, whatever device the model is on.
    """

    def __init__(self, hf_model: nn.Module, head: Head | None = None, *, tokens: int | None = None) -> None:
        self._model = pretrained(hf_model)
        self._head = head
        self._tokens = tokens
        self._vocabulary = self._model.get_output_embeddings()
        if self._vocabulary is None and head is None:
            raise ValueError(f"{type(self._model).__name__} has no output embedding: a causal language model is wanted")
        fits = self._vocabulary is None or (type(self._vocabulary) is nn.Linear and self._vocabulary.bias is None)
        embedding = self._model.get_input_embeddings()
        tied = self._vocabulary is not None and self._vocabulary.weight is embedding.weight
        self._tied = embedding if tied and type(embedding) is nn.Embedding else None
        self._form = logit_form(self._model.config.get_text_config())
        self._lean = lean_layers(self._model)
        self.packs = fits and self._projects() and self._agrees()
        """False for a model that packing does not fit (other attention, logits changed afterwards): it is padded."""
        self.within: Callable[[Say], Outputs] = _at_once
        """How a pass is run, by whoever has divided the model's weights."""

    def _projects(self) -> bool:
        """Whether logits are the output embedding times the last hidden state in the form that is known, and nothing
        else, however large: a cap on them (Gemma 2) would hardly be seen in small ones."""
        if self._vocabulary is None:
            return True
        weight_VD = self._vocabulary.weight
        states = torch.linspace(-9, 9, 2 * weight_VD.shape[1], device=weight_VD.device).sin().to(weight_VD.dtype)
        states_1TD = (states * 100 / weight_VD.norm(dim=1).mean()).view(1, 2, -1)

        def put(_: nn.Module, __: Any, said: Any) -> Any:
            said.last_hidden_state = states_1TD
            return said

        hook = self._model.get_decoder().register_forward_hook(put)
        try:
            with torch.no_grad():
                ids_1T = torch.tensor([[1, 2]], device=weight_VD.device)
                logits_1TV = self._model(input_ids=ids_1T, use_cache=False).logits
                return _near(logits_1TV, self._form.logits(states_1TD @ weight_VD.T), half=weight_VD.itemsize == 2)
        finally:
            hook.remove()

    def _agrees(self) -> bool:
        """Whether a few branching tokens get the padded forward's hidden states and log-probabilities."""
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        # Ordinary tokens: on control tokens, which stand at the front, half precision is far off by itself.
        rows = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), np.array([1, 2, 6])
        samples = [_plain((row + vocabulary // 2) % vocabulary) for row in rows]
        batch = collate(samples)
        with torch.no_grad():
            trie = layout(samples)
            try:
                hidden_ND = self.hidden(filled(trie))
                packed = None if self._vocabulary is None else returned(self._packed(batch, LOGP), batch).logp_BT
            except ValueError:
                return False
            padded = hidden_states(self._model, moved(batch, self._model.device))
            pairs = [(hidden_ND[nodes], row[: len(nodes)]) for nodes, row in zip(trie.nodes, padded, strict=True)]
            if packed is not None:
                pairs.append((packed, padded_outputs(self._model, batch).logp_BT))
        return all(_near(one, other, half=hidden_ND.itemsize == 2) for one, other in pairs)

    def __call__(
        self,
        batch: Batch,
        outputs: frozenset[Output] = LOGP,
        compare: Compare | None = None,
        teacher: PackedModel | None = None,
    ) -> Outputs:
        """``compare`` is what ``compared`` reads of this model and its ``teacher``, which is never trained."""
        if not self.packs:
            return self.within(lambda: padded_outputs(self._model, batch, outputs, self._head, tokens=self._tokens))
        comparison = None if compare is None or teacher is None else (compare, teacher)
        return self.within(lambda: returned(self._packed(batch, outputs, comparison), batch))

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    @property
    def vocabulary(self) -> int:
        """How many tokens have a logit."""
        assert self._vocabulary is not None
        return len(self._vocabulary.weight)

    def tie(self) -> Tied | None:
        """What a pass's ``hidden`` and ``token_log_probs`` are to share, where the model has one matrix for both."""
        return Tied() if self._tied else None

    def hidden(self, trie: Trie, tied: Tied | None = None, marks_KD: Tensor | None = None) -> Tensor:
        """The last hidden state of every node [N, D]. An id below 0 is no token but a mark, read as a row of
        ``marks_KD``: -1 as the first."""
        device = self._model.device
        ids_1N = torch.from_numpy(trie.ids_N).to(device)[None]
        read = {"input_ids": ids_1N}
        if tied or marks_KD is not None:
            read = {"inputs_embeds": self.read(ids_1N[0], tied, marks_KD)[None]}
        with trie_attention(self._model, plan(trie.pieces, device)), lean(self._lean):
            hidden: Tensor = self._model.get_decoder()(
                **read,
                position_ids=torch.from_numpy(trie.position_N).to(device)[None],
                use_cache=False,
            ).last_hidden_state
        return hidden[0]

    def hidden_after(
        self, rows_ND: Tensor, position_N: IntArray, pieces: Sequence[Piece], cache: Cache, first: int
    ) -> Tensor:
        """The last hidden states [N, D] of nodes whose ``first`` forerunners are in ``cache``, to which theirs are
        added. ``rows_ND`` are what ``read`` gave; no gradient."""
        device = self._model.device
        with torch.no_grad(), trie_attention(self._model, plan(pieces, device, first)):
            hidden: Tensor = self._model.get_decoder()(
                inputs_embeds=rows_ND[None],
                position_ids=torch.from_numpy(position_N).to(device)[None],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        return hidden[0]

    def read(self, ids_N: Tensor, tied: Tied | None = None, marks_KD: Tensor | None = None) -> Tensor:
        """What the first layer reads of tokens and marks [N, D]."""
        token_N = ids_N.clamp(min=0)
        if self._tied and tied:
            rows_ND = embedded(self._tied.weight, token_N, self._tied.padding_idx, tied)
        else:
            rows_ND = self._model.get_input_embeddings()(token_N)
        if marks_KD is None:
            return rows_ND
        marks_ND = marks_KD.to(rows_ND.dtype)[(-1 - ids_N).clamp(min=0)]
        return torch.where(ids_N[:, None] < 0, marks_ND, rows_ND)

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """[M, V] at temperature 1; no row of them is meant to be kept."""
        assert self._vocabulary is not None
        logits: Tensor = self._form.logits(hidden_MD @ self._vocabulary.weight.T)
        return logits

    def token_logps(self, hidden_MD: Tensor, token_M: Tensor, tied: Tied | None) -> Tensor:
        """The log-probability of one token after each hidden state [M], at temperature 1."""
        assert self._vocabulary is not None
        ones_M = hidden_MD.new_ones(len(hidden_MD), dtype=torch.float32)
        logp_M, _, _ = token_log_probs(
            (hidden_MD / self._form.divisor(ones_M)[:, None]).to(self._vocabulary.weight.dtype),
            self._vocabulary.weight,
            torch.arange(len(hidden_MD), device=hidden_MD.device),
            token_M,
            entropy=False,
            tied=tied,
            cap=self._form.cap(ones_M),
        )
        return logp_M

    def _packed(
        self, batch: Batch, outputs: frozenset[Output], comparison: tuple[Compare, PackedModel] | None = None
    ) -> Outputs:
        trie = layout(batch.samples)
        scored = _scored(trie, batch, self._model.device)
        tied = self.tie() if outputs & PROJECTED else None
        hidden_ND = self.hidden(filled(trie), tied)
        shape, at = batch.mask_BT.shape, (scored.b, scored.t)
        logp_BT = hidden_ND.new_zeros(shape, dtype=torch.promote_types(hidden_ND.dtype, torch.float32))
        entropy_BT = certainty_BT = value_BT = score_B = None
        if outputs & PROJECTED:
            own = self._projected(hidden_ND, scored)
            vocabulary = len(own.weight_VD)
            tokens = min(self._tokens or vocabulary, vocabulary) if "certainty" in outputs else 0
            logp_P, entropy_M, certainty_M = token_log_probs(
                own.x_MD,
                own.weight_VD,
                scored.row_P,
                scored.token_P,
                entropy="entropy" in outputs,
                certainty=tokens,
                tied=tied,
                cap=own.cap,
            )
            logp_BT = logp_BT.index_put(at, logp_P[scored.pair])
            if "entropy" in outputs:
                entropy_BT = entropy_M.new_zeros(shape).index_put(at, entropy_M[scored.row_P[scored.pair]])
            if "certainty" in outputs:
                certainty_BT = certainty_M.new_zeros(shape).index_put(at, certainty_M[scored.row_P[scored.pair]])
        if outputs & SCALARS:
            scalar_N = _read(self._head, hidden_ND)
            if "value" in outputs:
                before = scored.node_M[scored.row_P[scored.pair]]
                value_BT = scalar_N.new_zeros(shape).index_put(at, scalar_N[before])
            if "score" in outputs:
                score_B = scalar_N[torch.tensor([int(nodes[-1]) for nodes in trie.nodes], device=scalar_N.device)]
        compared_BT = None
        if "compared" in outputs:
            assert comparison is not None, "two models are compared where there is a teacher and a way to compare"
            compare, teacher = comparison
            with torch.no_grad():
                taught_ND = teacher.hidden(filled(trie))
            read_M = compared(self._projected(hidden_ND, scored), teacher._projected(taught_ND, scored), compare)
            compared_BT = read_M.new_zeros(shape).index_put(at, read_M[scored.row_P[scored.pair]])
        return Outputs(
            logp_BT=logp_BT,
            entropy_BT=entropy_BT,
            certainty_BT=certainty_BT,
            value_BT=value_BT,
            score_B=score_B,
            compared_BT=compared_BT,
        )

    def _projected(self, hidden_ND: Tensor, scored: _Scored) -> Projected:
        """What the rows that are read are projected from, at their temperatures."""
        assert self._vocabulary is not None, "a model without a vocabulary was asked for log-probabilities"
        # Divided in full width: a rounded temperature would be that of another distribution.
        over_M1 = self._form.divisor(scored.temperature_M)[:, None]
        return Projected(
            x_MD=(hidden_ND.index_select(0, scored.node_M) / over_M1).to(hidden_ND.dtype),
            weight_VD=self._vocabulary.weight,
            cap=self._form.cap(scored.temperature_M),
        )


def _at_once(say: Say) -> Outputs:
    return say()


def _near(one: Tensor, other: Tensor, *, half: bool) -> bool:
    if half:
        # Single numbers are off by whole nats where a token is very unlikely; a wrong layout moves everything.
        return bool((one - other).norm() <= _HALF_NOISE * other.norm())
    return torch.allclose(one, other, rtol=0.02, atol=1e-3)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """What is projected: M rows (a node at a temperature), P (row, next token) pairs, and where each pair is read.

    Rows that no pair looks at stand at the end, up to a round number. ``b``, ``t`` and ``pair`` have one entry for each
    scored position of the batch.
    """

    node_M: Tensor
    temperature_M: Tensor
    row_P: Tensor
    token_P: Tensor
    b: Tensor
    t: Tensor
    pair: Tensor


def _scored(trie: Trie, batch: Batch, device: torch.device) -> _Scored:
    where = [np.flatnonzero(sample.mask) for sample in batch.samples]
    where = [t[t > 0] for t in where]
    b = np.repeat(np.arange(len(where)), [len(t) for t in where])
    t = np.concatenate(where)
    node = np.concatenate([trie.nodes[i][at] for i, at in enumerate(where)])
    parent = np.concatenate([trie.nodes[i][at - 1] for i, at in enumerate(where)])
    temperature = np.asarray([sample.temperature for sample in batch.samples], np.float32)[b]
    # A node stands for its whole prefix, so (node, temperature) is (row, next token) without repetition.
    keys = np.stack((parent.astype(np.float64), temperature, node.astype(np.float64)), axis=1)
    pairs, pair = np.unique(keys, axis=0, return_inverse=True)
    rows, row = np.unique(pairs[:, :2], axis=0, return_inverse=True)
    spare = rounded(len(rows), NODES) - len(rows)
    tensors = (
        np.pad(rows[:, 0].astype(np.int64), (0, spare)),
        np.pad(rows[:, 1], (0, spare), constant_values=1.0),
        row.reshape(-1),
        trie.ids_N[pairs[:, 2].astype(np.int64)],
        b,
        t,
        pair.reshape(-1),
    )
    node_M, temperature_M, row_P, token_P, b_at, t_at, pair_at = (torch.from_numpy(x).to(device) for x in tensors)
    return _Scored(
        node_M=node_M, temperature_M=temperature_M, row_P=row_P, token_P=token_P, b=b_at, t=t_at, pair=pair_at
    )


def _plain(ids: IntArray) -> Sample:
    """A sample of which every token with a context is scored."""
    zeros = np.zeros(len(ids), np.float32)
    mask = np.arange(len(ids)) > 0
    return Sample(ids=ids, mask=mask, logp=zeros, reward=0.0, group=0, trajectory=0, task="", stop="done")


def pretrained(hf_model: nn.Module) -> PreTrainedModel:
    """The transformers model itself, or the one inside an adapter wrapper (whose layers the wrapper has replaced)."""
    for module in hf_model.modules():
        if isinstance(module, PreTrainedModel):
            return module
    raise ValueError(f"got {type(hf_model).__name__}, wanted a transformers model")


def hidden_states(hf_model: nn.Module, batch: Batch) -> Tensor:
    """The last hidden states [B, T, D] of the plain forward pass over right-padded rows."""
    hidden: Tensor = (
        pretrained(hf_model)
        .get_decoder()(input_ids=batch.ids_BT, attention_mask=attended(batch), use_cache=False)
        .last_hidden_state
    )
    return hidden


def padded_outputs(
    hf_model: nn.Module,
    batch: Batch,
    outputs: frozenset[Output] = LOGP,
    head: Head | None = None,
    *,
    tokens: int | None = None,
) -> Outputs:
    """The plain forward pass over right-padded rows: what packing must equal, and the way for models it cannot pack."""
    there = moved(batch, pretrained(hf_model).device)
    said = Outputs(logp_BT=torch.zeros(there.mask_BT.shape, device=there.mask_BT.device))
    if outputs & PROJECTED:
        logits = hf_model(input_ids=there.ids_BT, attention_mask=attended(there), use_cache=False).logits
        said = of_logits(logits, there, outputs, tokens=tokens)
    if outputs & SCALARS:
        scalar_BT = _read(head, hidden_states(hf_model, there))
        value_BT = _scored_only(scalar_BT[:, :-1], there) if "value" in outputs else None
        last_B1 = torch.tensor([[len(sample.ids) - 1] for sample in batch.samples], device=scalar_BT.device)
        score_B = scalar_BT.gather(1, last_B1).squeeze(1) if "score" in outputs else None
        said = replace(said, value_BT=value_BT, score_B=score_B)
    return returned(said, batch)


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch whose tokens, mask and temperatures are on a device."""
    return replace(
        batch,
        ids_BT=batch.ids_BT.to(device),
        mask_BT=batch.mask_BT.to(device),
        temperature_B=batch.temperature_B.to(device),
    )


def returned(said: Outputs, batch: Batch) -> Outputs:
    """What was said, where the batch is: the numbers of a batch are few, and all that follows is with them."""
    parts: dict[str, Any] = {field.name: getattr(said, field.name) for field in fields(said)}
    return replace(said, **{name: x.to(batch.ids_BT.device) for name, x in parts.items() if x is not None})


def of_logits(
    logits_BTV: Tensor, batch: Batch, outputs: frozenset[Output] = LOGP, *, tokens: int | None = None
) -> Outputs:
    """What logits [B, T, V] at temperature 1 say of a batch's scored tokens, at the batch's temperatures."""
    wide = torch.promote_types(logits_BTV.dtype, torch.float32)
    logp_BTV = torch.log_softmax(logits_BTV[:, :-1].to(wide) / batch.temperature_B[:, None, None].to(wide), -1)
    logp = logp_BTV.gather(-1, batch.ids_BT[:, 1:, None]).squeeze(-1)
    entropy_BT = certainty_BT = None
    if "entropy" in outputs:
        entropy_BT = _scored_only(-(logp_BTV.exp() * logp_BTV.masked_fill(logp_BTV == -torch.inf, 0.0)).sum(-1), batch)
    if "certainty" in outputs:
        certainty_BT = _scored_only(divergence_from_uniform(logp_BTV[..., :tokens].detach()), batch)
    return Outputs(logp_BT=_scored_only(logp, batch), entropy_BT=entropy_BT, certainty_BT=certainty_BT)


def _scored_only(x: Tensor, batch: Batch) -> Tensor:
    """What was said of tokens 1 ... T - 1, at their own positions; 0 where nothing is scored."""
    return nn.functional.pad(torch.where(batch.mask_BT[:, 1:], x, 0.0), (1, 0))


def attended(batch: Batch) -> Tensor:
    """The attention mask of right-padded rows [B, T]."""
    device = batch.ids_BT.device
    length_B = torch.tensor([len(sample.ids) for sample in batch.samples], device=device)
    return (torch.arange(batch.ids_BT.shape[1], device=device) < length_B[:, None]).long()


def _read(head: Head | None, hidden: Tensor) -> Tensor:
    if head is None:
        raise ValueError(
            "this algorithm reads a scalar head, and the policy has none: build it with heads 'shared' or 'own'"
        )
    return head(hidden)
