"""Continuous batching over any Hugging Face causal language model; knows no task, no text template and no algorithm.

Each prompt is computed, kept and read once for all its attempts; finished sequences leave the batch at once and waiting
ones enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.engines.batch_schedule import Progress, Schedule
from togi.engines.fused_layer import FusedLayers
from togi.engines.given_turns import MixtureView, View, read_turns
from togi.engines.kept_sequences import KeptSequences
from togi.engines.key_value_cache import ATTENTION, KeyValueCache
from togi.engines.model_mixture import Mixture
from togi.engines.stop_strings import Decoder
from togi.engines.token_sampling import check_sampling
from togi.engines.turn_ends import check_prompts
from togi.models.load_model import NO_LIMIT
from togi.models.packing import PackedModel
from togi.protocols import Listener, Policy, Talk
from togi.types import Prompt, Reading, Sampling, Turn


class NativeEngine:
    """Draws completions from the module that is trained, without a copy of its weights, or from a mixture with another.

    The model's attention implementation and training mode are changed while completions are drawn, and restored.
    Supported are decoder-only models whose layers all attend through transformers' attention interface, to all tokens
    before or to a window of them, with soft caps and sinks; others are refused by name. ``batch_size`` bounds the
    sequences drawn at once, ``max_context`` the tokens of prompt and completion together (default: the model's).
    """

    def __init__(
        self,
        model: PreTrainedModel | Mixture,
        tokenizer: Decoder,
        eos_ids: frozenset[int],
        *,
        batch_size: int = 128,
        max_context: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        parts = model.parts if isinstance(model, Mixture) else (model,)
        config = parts[0].config.get_text_config()
        longest: int = getattr(config, "max_position_embeddings", NO_LIMIT)
        if max_context is not None and not 1 < max_context <= longest:
            raise ValueError(f"max_context is {max_context}; it must be between 2 and the model's own {longest}")
        self.version = 0
        self._model, self._parts, self._decoder, self._batch_size = model, parts, tokenizer, batch_size
        self._eos = tuple(sorted(eos_ids))
        self._context = max_context or longest
        self._layers: int = config.num_hidden_layers * (2 if isinstance(model, Mixture) else 1)
        self._vocabulary: int = config.vocab_size
        # Models round their vocabulary up; the rows beyond the tokenizer's stand for nothing.
        self._tokens = len(tokenizer) if isinstance(tokenizer, PreTrainedTokenizerBase) else self._vocabulary
        self._fused = [FusedLayers(part) for part in parts]
        self._view: View | None = None
        self._kept: KeptSequences | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The module that is sampled from, for those who score with it what was not drawn."""
        return self._model

    @property
    def context(self) -> int:
        """The most tokens of prompt and completion together."""
        return self._context

    def sync(self, policy: Policy) -> None:
        """Take the version of the policy, whose module this engine shares: no key or value outlives ``generate``, or
        ``keeping``."""
        assert self._kept is None, "weights stay the same while what was drawn is kept"
        self.version = policy.step

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """While it lasts, a prompt that begins as something that was drawn is computed from where the two part. The
        weights stay the same."""
        self._kept = KeptSequences()
        try:
            yield
        finally:
            self._kept = None

    @contextmanager
    def conversation(self, sampling: Sampling, most: int, progress: Progress | None = None) -> Iterator[Talk]:
        """Talk in which about ``most`` turns are drawn at once, within the batch. Keys and values of a turn stay in its
        row while it is answered. While it lasts the weights stay the same, and nothing else is drawn."""
        check_sampling(sampling)
        with self._decoding(min(self._batch_size, most)) as rows:
            yield self._schedule(rows, sampling, progress, talks=True)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        progress: Progress | None = None,
        *,
        listener: Listener | None = None,
    ) -> list[list[Turn]]:
        """Complete each prompt once a seed: one list a prompt, one turn a seed.

        A completion ends with an end token (kept; stop "eos"), with the token that completes a stop string (tokens
        kept, text cut before it), after ``max_tokens`` ("length"), or when the context is full ("context"; a prompt
        that fills it gets an empty completion). ``logp`` is of the distribution drawn from; greedy turns have it at
        temperature 1 and name that temperature. ``progress`` is called with the turns done and the turns wanted;
        ``listener`` hears of each token as it is drawn, and a completion that it wants no more of ends there ("done").
        Raises ValueError for an unusable prompt, setting or model, and when the model's outputs are not finite.
        """
        check_sampling(sampling)
        with self._decoding(min(self._batch_size, sum(len(prompt.seeds) for prompt in prompts))) as rows:
            return self._schedule(rows, sampling, progress, listener).run(prompts)

    @contextmanager
    def _decoding(self, rows: int) -> Iterator[int]:
        """The modules in the form that draws fastest, for so many rows."""
        with ExitStack() as opened:
            for part, fused in zip(self._parts, self._fused, strict=True):
                opened.enter_context(_sampling_mode(part))
                with torch.inference_mode():
                    opened.enter_context(fused.open(rows))
            yield rows

    def _schedule(
        self,
        rows: int,
        sampling: Sampling,
        progress: Progress | None,
        listener: Listener | None = None,
        *,
        talks: bool = False,
    ) -> Schedule:
        # One cache a call: between calls its memory serves learning.
        return Schedule(
            self._model,
            KeyValueCache(self._layers, rows, self._context),
            self._decoder,
            self._eos,
            sampling,
            version=self.version,
            progress=progress,
            listener=listener,
            talks=talks,
            kept=self._kept,
            check=partial(check_prompts, vocabulary=self._vocabulary),
        )

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        """What the weights as they are now say of each completion token, at its turn's temperature; one reading a turn.

        It is of the whole distribution: what ``top_p``, ``top_k`` or ``min_p`` cut off while sampling is part of it.
        Raises ValueError for ids outside the vocabulary.
        """
        check_prompts([Prompt(ids=turn.prompt + turn.completion, seeds=()) for turn in turns], self._vocabulary)
        with ExitStack() as opened:
            for part in self._parts:
                opened.enter_context(_evaluating(part))
            if self._view is None:
                model, tokens = self._model, self._tokens
                mixture = MixtureView(model, tokens) if isinstance(model, Mixture) else None
                self._view = mixture or PackedModel(self._parts[0], tokens=tokens)
            return read_turns(self._view, turns)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _sampling_mode(model: PreTrainedModel) -> Iterator[None]:
    attention = model.config._attn_implementation
    try:
        model.set_attn_implementation(ATTENTION)
        if model.config._attn_implementation != ATTENTION:
            raise ValueError("it does not take its attention from transformers' attention interface")
        with _evaluating(model):
            yield
    finally:
        model.set_attn_implementation(attention)
