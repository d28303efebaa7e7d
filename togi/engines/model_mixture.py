"""Two models sampled as one: a policy with some of its reference mixed in, token by token. Knows no algorithm."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from togi.engines.key_value_cache import KeyValueCache
from togi.models.attention_form import AttentionForm


class Mixture:
    """Draws from pi^(1 - share) mu^share, normalised at each token: pi is ``model`` and mu is ``reference``, or the
    model without its adapter where ``reference`` is None (Nash-MD, https://arxiv.org/abs/2312.00886).

    Softmax normalises, so the mixture of distributions is one of logits, at any temperature. Both models run side by
    side over one cache that has twice the model's layers: the reference's are the upper half.
    Raises ValueError for a share outside [0, 1] and for models that differ in layers or vocabulary.
    """

    def __init__(self, model: PreTrainedModel, reference: PreTrainedModel | None, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the reference's share of the mixture must be between 0 and 1, got {share}")
        if reference is not None:
            own, other = ((c.num_hidden_layers, c.vocab_size) for c in (_config(model), _config(reference)))
            if own != other:
                raise ValueError(
                    f"only models alike can be mixed: this one has {own[0]} layers and {own[1]} tokens, its reference "
                    f"{other[0]} layers and {other[1]} tokens"
                )
        self.model, self.reference, self.share = model, reference, share

    @property
    def parts(self) -> tuple[PreTrainedModel, ...]:
        """The modules that run."""
        return (self.model,) if self.reference is None else (self.model, self.reference)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def __call__(
        self,
        *,
        input_ids: Tensor,
        position_ids: Tensor,
        use_cache: bool,
        kv_cache: KeyValueCache,
        logits_to_keep: Tensor | int = 0,
    ) -> CausalLMOutput:
        def logits(model: PreTrainedModel, cache: KeyValueCache | _UpperHalf) -> Tensor:
            found: Tensor = model(
                input_ids=input_ids,
                position_ids=position_ids,
                use_cache=use_cache,
                kv_cache=cache,
                logits_to_keep=logits_to_keep,
            ).logits
            return found.to(torch.promote_types(found.dtype, torch.float32))

        own = logits(self.model, kv_cache)
        upper = _UpperHalf(kv_cache)
        if self.reference is not None:
            other = logits(self.reference, upper)
        else:
            with self.model.disable_adapter():
                other = logits(self.model, upper)
        return CausalLMOutput(logits=torch.lerp(own, other, self.share))

    def logits(self, ids_BT: Tensor, attended_BT: Tensor) -> Tensor:
        """The mixture's logits [B, T, V] of whole rows, without a cache."""

        def plain(model: PreTrainedModel) -> Tensor:
            found: Tensor = model(input_ids=ids_BT, attention_mask=attended_BT, use_cache=False).logits
            return found.to(torch.promote_types(found.dtype, torch.float32))

        own = plain(self.model)
        if self.reference is not None:
            return torch.lerp(own, plain(self.reference), self.share)
        with self.model.disable_adapter():
            return torch.lerp(own, plain(self.model), self.share)


class _UpperHalf:
    """The upper half of a cache's layers, as a model that counts its own from 0 sees it."""

    def __init__(self, cache: KeyValueCache) -> None:
        self._cache, self._below = cache, cache.layers // 2

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, form: AttentionForm) -> Tensor:
        return self._cache.attend(layer + self._below, query, key, value, form)


def _config(model: PreTrainedModel) -> PretrainedConfig:
    return model.config.get_text_config()
