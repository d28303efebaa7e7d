"""What a model says of turns that stand already, computed as learning computes it; knows no text and draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from togi.batch import collate
from togi.engines.model_mixture import Mixture
from togi.models.microbatch import microbatches
from togi.models.packing import attended, moved, of_logits, returned
from togi.types import Batch, Ids, Output, Outputs, Reading, Sample, Turn

TOKENS = 2048
"""Distinct tokens read at once: a few hundred MB of hidden states and logits for models of this size."""
OUTPUTS: frozenset[Output] = frozenset({"logp", "entropy", "certainty"})

View = Callable[[Batch, frozenset[Output]], Outputs]


def read_turns(view: View, turns: Sequence[Turn]) -> list[Reading]:
    """One reading a turn, through a model's view of a batch, in micro-batches that share prompts."""
    prompts: dict[Ids, int] = {}
    samples = [_sample(turn, prompts.setdefault(turn.prompt, len(prompts))) for turn in turns]
    said: list[Reading] = [Reading(logp=(), entropy=(), certainty=())] * len(turns)
    written = [i for i, turn in enumerate(turns) if turn.completion]
    with torch.no_grad():
        for part in microbatches([samples[i] for i in written], TOKENS):
            batch = collate([samples[written[at]] for at in part])
            out = view(batch, OUTPUTS)
            for row, at in enumerate(part):
                said[written[at]] = _reading(out, row, turns[written[at]])
    return said


class MixtureView:
    """A mixture's plain forward pass over right-padded rows."""

    def __init__(self, mixture: Mixture, tokens: int) -> None:
        self._mixture, self._tokens = mixture, tokens

    def __call__(self, batch: Batch, outputs: frozenset[Output]) -> Outputs:
        there = moved(batch, self._mixture.device)
        logits_BTV = self._mixture.logits(there.ids_BT, attended(there))
        return returned(of_logits(logits_BTV, there, outputs, tokens=self._tokens), batch)


def _sample(turn: Turn, group: int) -> Sample:
    ids = np.array(turn.prompt + turn.completion, dtype=np.int64)
    return Sample(
        ids=ids,
        mask=np.arange(len(ids)) >= len(turn.prompt),
        logp=np.zeros(len(ids), np.float32),
        reward=0.0,
        group=group,
        trajectory=0,
        task="",
        stop=turn.stop,
        temperature=turn.temperature,
    )


def _reading(out: Outputs, row: int, turn: Turn) -> Reading:
    assert out.entropy_BT is not None
    assert out.certainty_BT is not None

    def numbers(x_BT: Tensor) -> tuple[float, ...]:
        start = len(turn.prompt)
        return tuple(x_BT[row, start : start + len(turn.completion)].tolist())

    return Reading(logp=numbers(out.logp_BT), entropy=numbers(out.entropy_BT), certainty=numbers(out.certainty_BT))
