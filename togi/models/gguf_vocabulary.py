"""A byte-level vocabulary in the words of a GGUF file: tokens, their kinds, merges, how text is cut. It writes nothing.

llama.cpp knows ways to cut text by name only. A tokenizer is taken when its way is one of those whose rule stands here,
and refused otherwise: another way would make other tokens of the same text, without a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gguf import TokenType
from transformers import PreTrainedTokenizerBase

from togi.models.weight_files import ModelError

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
CUTS: Mapping[str, list[dict[str, Any]]] = {
    "gpt-2": [_BYTES],
    "smollm": [{"type": "Digits", "individual_digits": True}, _BYTES],
    "qwen2": [
        {"type": "Split", "pattern": {"Regex": rf"{_WORDS}\p{{N}}{_REST}"}, "behavior": "Isolated", "invert": False},
        {**_BYTES, "use_regex": False},
    ],
}
"""The ways to cut text, by llama.cpp's name for them, as ``tokenizer.json`` writes them."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """``tokens`` and ``kinds`` by id, one for each row of the embedding; ``cut`` is llama.cpp's name of how text is
    cut; ``begins`` says whether the tokenizer puts a token before every text."""

    cut: str
    tokens: tuple[str, ...]
    kinds: tuple[TokenType, ...]
    merges: tuple[str, ...]
    special: Mapping[str, int]
    begins: bool
    template: str | None


def vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Raises ModelError for a tokenizer that is no byte-level BPE, or cuts text in a way that is not known here."""
    plan = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {}
    model = plan.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ModelError(
            "its tokenizer is no byte-level BPE, the only kind that is written to GGUF: convert the exported folder "
            "with llama.cpp's own tools"
        )
    names = {index: token for token, index in tokenizer.get_vocab().items()}
    added = {token["id"]: bool(token["special"]) for token in plan.get("added_tokens", ())}
    tokens = tuple(names.get(index, f"[PAD{index}]") for index in range(rows))
    return Vocabulary(
        cut=_cut(plan.get("pre_tokenizer")),
        tokens=tokens,
        kinds=tuple(_kind(index in names, added.get(index)) for index in range(rows)),
        merges=tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]),
        special={name: index for name in ("bos", "eos", "pad", "unk") if (index := _id(tokenizer, name)) is not None},
        begins=bool(ids := tokenizer.encode("x")) and ids[0] == tokenizer.bos_token_id,
        template=tokenizer.get_chat_template() if tokenizer.chat_template else None,
    )


def _id(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    found: int | None = getattr(tokenizer, f"{name}_token_id")
    return found


def _kind(known: bool, special: bool | None) -> TokenType:
    if not known:
        return TokenType.UNUSED
    if special is None:
        return TokenType.NORMAL
    return TokenType.CONTROL if special else TokenType.USER_DEFINED


def _cut(given: Mapping[str, Any] | None) -> str:
    parts = (given or {}).get("pretokenizers") or [given or {}]
    for name, rule in CUTS.items():
        wanted = [{key: part.get(key) for key in each} for part, each in zip(parts, rule, strict=False)]
        if len(parts) == len(rule) and wanted == rule:
            return name
    raise ModelError(
        f"its tokenizer cuts text in a way that is none of those written to GGUF ({', '.join(CUTS)}): convert the "
        "exported folder with llama.cpp's own tools"
    )
