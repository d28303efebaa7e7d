"""A model small enough to learn from nothing on one core, and a tokenizer that reads single characters. No download.

``sums`` is what the sums recipe names as its model's source: Togi calls it, and its weights are random. ``turns`` has a
chat template beside, so that environments can talk to it: that of the recipes of worlds and games.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

END = "<end>"
CHARACTERS = "0123456789+=>: "
FEW = "0123456789+:="
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz+-.:>"
# What the model is told, a mark that it is its turn, and what it says up to the end token.
TEMPLATE = (
    "{% for message in messages %}{{ message.content }}{{ eos_token if message.role == 'assistant' else '>' }}"
    "{% endfor %}"
)


def sums() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """About 130,000 weights that know nothing yet."""
    tokenizer = character_tokenizer({token: number for number, token in enumerate([END, *CHARACTERS])})
    return little_llama(tokenizer, width=64, layers=2, positions=128), tokenizer


def running_sums() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As ``sums``, for the characters of sums whose steps stand in brackets."""
    tokenizer = character_tokenizer({token: number for number, token in enumerate([END, *FEW])})
    return little_llama(tokenizer, width=64, layers=2, positions=64), tokenizer


def turns() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As ``sums``, for more characters and with turns."""
    tokenizer = character_tokenizer({token: number for number, token in enumerate([END, *LETTERS])}, TEMPLATE)
    return little_llama(tokenizer, width=64, layers=2, positions=128), tokenizer


def little_llama(tokenizer: PreTrainedTokenizerBase, *, width: int, layers: int, positions: int) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=positions,
        initializer_range=0.05,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def character_tokenizer(
    vocabulary: dict[str, int], template: str | None = None, pieces: str = "."
) -> PreTrainedTokenizerBase:
    """Cuts texts at every match of ``pieces``, single characters unless given."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, chat_template=template)
