"""Scalar heads: one number for each hidden state of a language model, as a critic or a reward model reads it.

It knows weights and files; it does not know what the number is for, and no vocabulary is ever projected onto.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from togi.batch import after, collate
from togi.models.load_model import load_model
from togi.models.microbatch import microbatches
from togi.models.packing import SCALARS, PackedModel, pretrained
from togi.models.weight_files import ModelError
from togi.types import Output, Sample

WEIGHTS, SETTINGS = "scalar_head.safetensors", "scalar_head.json"
_SCORE: frozenset[Output] = frozenset({"score"})


class ScalarHead(nn.Module):
    """``w h + b``: hidden states [..., D] to numbers [...], in float32 or wider.

    It starts at 0: a random head would say random things of every state, which the trunk would then have to unlearn.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.to(torch.promote_types(hidden.dtype, self.weight.dtype)) @ self.weight + self.bias


class ScalarModel(nn.Module):
    """A language model's layers without its vocabulary, and a scalar head on them.

    ``shift`` is subtracted from every score, ``tokenizer_digest`` tells which token ids it can read.
    """

    def __init__(self, model: nn.Module, head: ScalarHead, *, tokenizer_digest: str = "", shift: float = 0.0) -> None:
        super().__init__()
        self.backbone: nn.Module = pretrained(model).get_decoder()
        self.head = head
        self.tokenizer_digest = tokenizer_digest
        self.shift = shift
        self.packed = PackedModel(self.backbone, head)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise ModelError when token ids of this tokenizer mean something else to the model."""
        if tokenizer_digest(tokenizer) != self.tokenizer_digest:
            raise ModelError(
                "the reward model has another tokenizer than the policy: it would read other words than were written. "
                "Train a reward model from a model of the policy's family"
            )

    @torch.no_grad()
    def scores(self, samples: Sequence[Sample], budget: int = 2000) -> NDArray[np.float64]:
        """Each sample's number after its last token [S], less ``shift``; ``budget`` bounds memory, in tokens."""
        scores_S = np.zeros(len(samples))
        for part in microbatches(samples, budget):
            out = self.packed(collate([samples[i] for i in part]), _SCORE)
            assert out.score_B is not None
            scores_S[part] = out.score_B.cpu().to(torch.float64).numpy()
        return scores_S - self.shift

    @torch.no_grad()
    def after(self, samples: Sequence[Sample], budget: int = 2000) -> list[NDArray[np.float64]]:
        """Each sample's numbers after its tokens [T], less ``shift``: after those that the policy wrote another token
        after, and after the last. Elsewhere they say nothing."""
        said: dict[int, NDArray[np.float64]] = {}
        for part in microbatches(samples, budget):
            batch = collate([samples[i] for i in part])
            after_BT = after(self.packed(batch, SCALARS), batch).cpu().to(torch.float64).numpy() - self.shift
            said |= {i: after_BT[row, : len(samples[i].ids)] for row, i in enumerate(part)}
        return [said[i] for i in range(len(samples))]


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over the tokens and their ids: equal where the same ids stand for the same tokens."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def save_head(head: ScalarHead, folder: Path, *, shift: float = 0.0) -> None:
    """Write the head, and what its scores are lessened by, beside the weights of its trunk in ``folder``."""
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
        settings = {"hidden_size": head.weight.numel(), "shift": shift}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        # safetensors makes files that only their owner may read, whatever the umask.
        (folder / WEIGHTS).chmod((folder / SETTINGS).stat().st_mode)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the scalar head could not be written to {folder}: {error}") from error


def load_scalar(path: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> ScalarModel:
    """The reward model of a model folder, or of a run folder (the newest it has), on a device; the head is in float32
    or wider.

    Raises ModelError when the folder holds no model, no head, or a head of another width.
    """
    folder = _newest(path)
    if not (folder / WEIGHTS).is_file() or not (folder / SETTINGS).is_file():
        raise ModelError(
            f"{folder} has no {WEIGHTS}: it holds no reward model. Train one with a stage of algorithm "
            "'reward_model', and give that stage's name or folder"
        )
    head, shift = _read_head(folder)
    loaded = load_model(str(folder), dtype=dtype, device=device)
    hidden, width = head.weight.numel(), int(loaded.model.config.get_text_config().hidden_size)
    if width != hidden:
        raise ModelError(f"the scalar head of {folder} reads {hidden} numbers, its model gives {width}: they mismatch")
    head = head.to(loaded.model.device, torch.promote_types(dtype, torch.float32))
    return ScalarModel(loaded.model, head, tokenizer_digest=tokenizer_digest(loaded.tokenizer), shift=shift).eval()


def _newest(path: Path) -> Path:
    """For a run folder the newest model that has a head; any other path as it is."""
    found = [file.parent for file in path.glob(f"models/*/{WEIGHTS}") if not file.parent.name.startswith(".")]
    return max(found, key=lambda folder: (folder.stat().st_mtime_ns, folder.name)) if found else path


def _read_head(folder: Path) -> tuple[ScalarHead, float]:
    # The boundary to a foreign file, as for weights.
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        hidden, shift = int(settings["hidden_size"]), float(settings["shift"])
        head = ScalarHead(hidden)
        head.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"the scalar head of {folder} is damaged ({error}): copy or train it again") from error
    return head, shift
