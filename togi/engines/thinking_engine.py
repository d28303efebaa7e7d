"""An engine that thinks before each token it draws: a thought by the model itself, then a token of the mixture of what
is said without and with it. It knows no task, no text template and no algorithm.

A token costs a pass for each token of its thought and two more; the thought is then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from togi.engines.native import NativeEngine
from togi.engines.stop_strings import Decoder, StopStrings
from togi.engines.thoughts import chances, thoughts_after
from togi.engines.token_sampling import check_drawn, check_sampling, draw, uniform
from togi.engines.turn_ends import check_prompts, ended_turn, limit_of
from togi.models.after_thoughts import ThinkingModel
from togi.models.grown_trie import GrownTrie
from togi.models.packing import PackedModel
from togi.models.thought_head import END, MARKS, ThoughtHead
from togi.models.trie import IntArray
from togi.protocols import Listener, Policy
from togi.types import Prompt, Reading, Sampling, Stop, Turn

Progress = Callable[[int, int], None]
_SEED_BITS = (1 << 64) - 1
_OF_THOUGHTS = 0x5851F42D4C957F2D  # other draws than those of what is said


@dataclass(kw_only=True, eq=False)
class _Row:
    """One completion that is drawn: where it belongs, how far it may grow and why it stops there."""

    prompt: int
    attempt: int
    seed: int
    ids: tuple[int, ...]
    limit: int
    full: Stop
    watch: StopStrings | None
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.ids) + len(self.tokens)


class ThinkingEngine:
    """Draws from the module that is trained and its thought head. ``batch_size`` bounds the sequences drawn at once.

    What it ``read``s of turns that stand is said without thoughts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        head: ThoughtHead,
        tokenizer: Decoder,
        eos_ids: frozenset[int],
        *,
        batch_size: int = 128,
    ) -> None:
        self._silent = NativeEngine(model, tokenizer, eos_ids, batch_size=batch_size)
        self._head, self._decoder, self._eos, self._batch_size = head, tokenizer, eos_ids, batch_size
        self._packed = PackedModel(model)
        ThinkingModel(self._packed, head)  # refuses a model that cannot think

    @property
    def version(self) -> int:
        return self._silent.version

    @version.setter
    def version(self, version: int) -> None:
        self._silent.version = version

    @property
    def model(self) -> PreTrainedModel:
        return self._silent.model

    @property
    def context(self) -> int:
        """The most tokens of prompt and completion together, with room for a last thought."""
        return self._silent.context - self._head.thinking.length - MARKS

    def sync(self, policy: Policy) -> None:
        """Take the version of the policy, whose module and head this engine shares."""
        self._silent.sync(policy)

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        return self._silent.read(turns)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        progress: Progress | None = None,
        *,
        listener: Listener | None = None,
    ) -> list[list[Turn]]:
        """As the native engine completes prompts; ``logp`` is that of the mixture after the thought that was drawn.
        At temperature 0 the likeliest token is taken, after a thought that is drawn all the same."""
        check_sampling(sampling)
        check_prompts(prompts, self._packed.vocabulary)
        rows = [
            self._row(number, attempt, prompt, seed, sampling)
            for number, prompt in enumerate(prompts)
            for attempt, seed in enumerate(prompt.seeds)
        ]
        turns: list[list[Turn]] = [[] for _ in prompts]
        done: dict[tuple[int, int], Turn] = {}

        def end(row: _Row, stop: Stop) -> None:
            turn = self._turn(row, stop, sampling)
            done[row.prompt, row.attempt] = turn
            if listener is not None:
                listener.ended(row.prompt, row.attempt, turn)
            if progress is not None:
                progress(len(done), len(rows))

        for row in rows:
            if not row.limit:
                end(row, row.full)
        with torch.inference_mode():
            some = [row for row in rows if row.limit]
            for start in range(0, len(some), self._batch_size):
                self._draw(some[start : start + self._batch_size], sampling, end, listener)
        for row in rows:
            turns[row.prompt].append(done[row.prompt, row.attempt])
        return turns

    def _row(self, number: int, attempt: int, prompt: Prompt, seed: int, sampling: Sampling) -> _Row:
        limit, full = limit_of(prompt, sampling, self.context)
        watch = StopStrings(self._decoder, sampling.stop) if sampling.stop else None
        return _Row(
            prompt=number,
            attempt=attempt,
            seed=seed & _SEED_BITS,
            ids=prompt.ids,
            limit=limit,
            full=full,
            watch=watch,
        )

    def _draw(
        self,
        rows: Sequence[_Row],
        sampling: Sampling,
        end: Callable[[_Row, Stop], None],
        listener: Listener | None,
    ) -> None:
        """Complete rows side by side, a token of each at a time."""
        trie = GrownTrie(self._packed, self._head.marks)
        paths, hidden_ND = trie.begin([np.array(row.ids, np.int64) for row in rows])
        last_RD = hidden_ND[[int(path[-1]) for path in paths]]
        active = list(rows)
        while active:
            logits_RV = self._logits(trie, paths, last_RD, active)
            seed_R = np.array([row.seed for row in active], np.uint64)
            chance_R = uniform(seed_R, np.array([row.length for row in active], np.int64))
            token_R, logp_R = draw(logits_RV, chance_R, sampling)
            check_drawn(logp_R)
            stays: list[int] = []
            for r, (row, token, logp) in enumerate(zip(active, token_R.tolist(), logp_R.tolist(), strict=True)):
                row.tokens.append(token)
                row.logp.append(logp)
                stop = self._stop(row, sampling, listener)
                if stop is None:
                    stays.append(r)
                else:
                    end(row, stop)
            active, paths = [active[r] for r in stays], [paths[r] for r in stays]
            if active:
                paths, last_RD = trie.grow(paths, np.array([[row.tokens[-1]] for row in active]))

    def _logits(self, trie: GrownTrie, paths: Sequence[IntArray], last_RD: Tensor, rows: Sequence[_Row]) -> Tensor:
        """What is said next after a thought of each row [R, V]."""
        count = trie.count
        seed_R = np.array([row.seed ^ _OF_THOUGHTS for row in rows], np.uint64)
        number_R = np.array([row.length for row in rows], np.int64)
        thought, ids_RL = thoughts_after(trie, self._head, paths, chances(seed_R, number_R, self._head.thinking.length))
        ends_R2 = np.stack([ids_RL[:, -1], np.full(len(rows), END)], axis=1)
        _, with_RD = trie.grow(thought, ends_R2)
        trie.forget(count)
        mixed_RD, _ = self._head(last_RD, with_RD)
        return self._packed.logits(mixed_RD.to(last_RD.dtype))

    def _stop(self, row: _Row, sampling: Sampling, listener: Listener | None) -> Stop | None:
        """Whether a row has ended with its last token, and how."""
        token = row.tokens[-1]
        wanted = listener is None or listener.drawn(row.prompt, row.attempt, token, row.logp[-1])
        if token in self._eos and not sampling.ignore_eos:
            return "eos"
        if row.watch is not None and row.watch.found(row.tokens):
            return "stop_string"
        if len(row.tokens) >= row.limit:
            return row.full
        return None if wanted else "done"

    def _turn(self, row: _Row, stop: Stop, sampling: Sampling) -> Turn:
        return ended_turn(
            row.ids,
            tuple(row.tokens),
            tuple(row.logp),
            stop,
            decoder=self._decoder,
            sampling=sampling,
            version=self.version,
        )
