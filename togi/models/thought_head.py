"""What a language model needs beside itself to think before a token: the marks around a thought, and the share that it
has in what is said next. It knows weights and files; it does not know how thoughts are drawn or learned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from togi.models.packing import pretrained
from togi.models.weight_files import ModelError
from togi.types import Thinking

WEIGHTS, SETTINGS = "thought_head.safetensors", "thought_head.json"
START, END = -1, -2
"""Ids of the marks, which are no tokens: nothing can write them."""
MARKS = 2  # tokens' room that they take
MOST_THOUGHT = 256
_FIRST_SHARE = 0.1


class ThoughtHead(nn.Module):
    """Marks that are read before and after a thought, and the mixing head: a small network that reads the hidden states
    without and with the thought and gives the share of the latter, from 0 to 1. In float32 or wider.

    At first the share is a tenth everywhere, so that thoughts that help nobody yet do little harm.
    """

    def __init__(self, hidden: int, thinking: Thinking) -> None:
        super().__init__()
        self.thinking = thinking
        self.marks = nn.Parameter(torch.zeros(2, hidden))
        self.mixing = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        last = self.mixing[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, math.log(_FIRST_SHARE / (1 - _FIRST_SHARE)))

    def forward(self, without_MD: Tensor, with_MD: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed hidden states [M, D] and the share of the thought in each [M].

        Where logits are products with the hidden state, this mixes them, and so the log-probabilities up to their norm:
        p = p_without^(1 - share) p_with^share / Z.
        """
        wide = torch.promote_types(without_MD.dtype, self.marks.dtype)
        before_MD, after_MD = without_MD.to(wide), with_MD.to(wide)
        share_M1 = torch.sigmoid(self.mixing(torch.cat((before_MD, after_MD), -1)))
        return torch.lerp(before_MD, after_MD, share_M1), share_M1[:, 0]


def new_head(model: nn.Module, thinking: Thinking, encode: Callable[[str], Sequence[int]] | None = None) -> ThoughtHead:
    """A head that fits the model, where the model is. ``encode`` gives the tokens of the texts that marks are first
    read like. Raises ValueError for a text without any."""
    own = pretrained(model)
    head = ThoughtHead(int(own.config.get_text_config().hidden_size), thinking)
    embedding = own.get_input_embeddings()
    with torch.no_grad():
        for mark, text in zip(head.marks, (thinking.start, thinking.end), strict=True):
            tokens = torch.arange(embedding.weight.shape[0])
            if text and encode is not None:
                tokens = torch.tensor(list(encode(text)), dtype=torch.long)
                if not len(tokens):
                    raise ValueError(f"the mark {text!r} has no token: give a text that has, or leave it out")
            mark.copy_(embedding(tokens.to(embedding.weight.device)).mean(0, dtype=torch.float32))
    return head.to(own.device, torch.promote_types(own.dtype, torch.float32))


def save_thoughts(head: ThoughtHead, folder: Path) -> None:
    """Write the head beside the weights of its model in ``folder``."""
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
        settings = {"hidden_size": head.marks.shape[1], **asdict(head.thinking)}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        # safetensors makes files that only their owner may read, whatever the umask.
        (folder / WEIGHTS).chmod((folder / SETTINGS).stat().st_mode)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the thought head could not be written to {folder}: {error}") from error


def thinks(folder: Path) -> bool:
    """Whether a model folder has a thought head beside its weights."""
    return (folder / WEIGHTS).is_file()


def load_thoughts(folder: Path, model: nn.Module) -> ThoughtHead:
    """The head beside the weights of ``model`` in a folder, where the model is. Raises ModelError for a damaged one,
    and for one of another width."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        hidden, length, random = (settings[name] for name in ("hidden_size", "length", "random"))
        if type(hidden) is not int or type(length) is not int or type(random) is not bool:
            raise ValueError(f"hidden_size {hidden!r}, length {length!r}, random {random!r}")
        if not 0 < length <= MOST_THOUGHT:
            raise ValueError(f"thoughts of {length} tokens, wanted 1 to {MOST_THOUGHT}")
        own = pretrained(model)
        width = int(own.config.get_text_config().hidden_size)
        if width != hidden:
            raise ValueError(f"it reads {hidden} numbers, its model gives {width}")
        head = ThoughtHead(hidden, Thinking(length=length, random=random))
        head.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"the thought head of {folder} is damaged ({error}): copy or train it again") from error
    return head.to(own.device, torch.promote_types(own.dtype, torch.float32))
