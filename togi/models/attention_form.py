"""What a layer's attention is beside queries, keys and values: its scale, window, soft cap and sinks.

It knows how transformers' models ask their attention function; it knows no cache, no layout and no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WITHIN = frozenset({"full_attention", "sliding_attention"})
"""What a layer may be called in a configuration: it sees all that stands before, or the last tokens of it."""

# Other functions of the scores, or other tokens than those before: nothing here computes them.
_UNKNOWN = ("position_bias", "indices", "block_indices", "sinks")


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionForm:
    """A query at position p sees keys p - ``window`` + 1 to p (None: all up to p). Its scores are multiplied by
    ``scale`` and bent to ``softcap`` tanh(score / ``softcap``) (Gemma 2, arXiv:2408.00118). ``sinks`` [H] are scores of
    a key without a value, one a head (gpt-oss, arXiv:2508.10925)."""

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether it is a softmax of products, over whatever is seen."""
        return self.softcap is None and self.sinks is None

    def bent(self, scores: Tensor) -> Tensor:
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)

    def weights(self, scores: Tensor, sink: Tensor | None) -> Tensor:
        """Softmax over the last axis; ``sink`` is the sinks' scores, with a last axis of 1."""
        if sink is None:
            return torch.softmax(scores, -1)
        return torch.softmax(torch.cat((scores, sink.to(scores.dtype).expand(*scores.shape[:-1], 1)), -1), -1)[..., :-1]


def attention_form(
    module: nn.Module,
    query: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    further: Mapping[str, Any],
) -> AttentionForm:
    """The form in which a layer asks for attention. Raises ValueError for one that is not known."""
    config = getattr(module, "config", None)
    kind = _layer_type(module, config)
    unknown = [name for name in _UNKNOWN if further.get(name) is not None]
    unknown += ["a mask of its own"] if attention_mask is not None else []
    unknown += [] if kind in WITHIN else [kind]
    unknown += ["keys that follow"] if further.get("is_causal") is False else []
    if unknown:
        raise ValueError(
            f"{type(module).__name__} asks for {', '.join(unknown)}; known is causal attention to all tokens or a "
            "sliding window of them, with a soft cap or sinks"
        )
    window = further.get("sliding_window")
    if window is None and (kind == "sliding_attention" or not hasattr(config, "layer_types")):
        # Some models make a mask of it and do not tell the attention function.
        window = getattr(config, "sliding_window", None)
    return AttentionForm(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=window,
        softcap=further.get("softcap"),
        sinks=further.get("s_aux"),
    )


def _layer_type(module: nn.Module, config: Any) -> str:
    types, index = getattr(config, "layer_types", None), getattr(module, "layer_idx", None)
    return str(types[index]) if types and isinstance(index, int) else "full_attention"
