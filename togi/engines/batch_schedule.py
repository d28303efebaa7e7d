"""Decides which sequence has which row of the batch, and when; knows no attention arithmetic and no module's settings.

Axes: B rows of the batch, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from togi.engines.kept_sequences import KeptSequences
from togi.engines.key_value_cache import KeyValueCache
from togi.engines.model_mixture import Mixture
from togi.engines.shared_prompts import Prefix
from togi.engines.stop_strings import Decoder, StopStrings, cut
from togi.engines.token_sampling import draw, uniform
from togi.protocols import Listener
from togi.types import Ids, Prompt, Sampling, Stop, Turn

_PREFILL_TOKENS = 2048  # prompts computed together: enough to keep the matrix products busy
_SEED_BITS = (1 << 64) - 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One completion to draw: its place in the answer, how far it may grow, and why it stops there."""

    prompt: int
    attempt: int
    ids: Ids
    seed: int
    limit: int
    full: Stop
    watch: StopStrings | None


@dataclass(frozen=True, eq=False)
class _Ready:
    """A prompt that was computed, with the attempts that wait for a row."""

    prefix: Prefix
    logits_V: torch.Tensor
    attempts: deque[_Attempt]
    several: bool


class Schedule:
    """One call's worth of completions: rows are filled from a queue, and refilled as sequences end. Single use."""

    def __init__(
        self,
        model: PreTrainedModel | Mixture,
        cache: KeyValueCache,
        decoder: Decoder,
        eos_ids: Sequence[int],
        sampling: Sampling,
        *,
        version: int,
        progress: Progress | None,
        listener: Listener | None = None,
        kept: KeptSequences | None = None,
    ) -> None:
        self._model, self._cache, self._decoder, self._sampling = model, cache, decoder, sampling
        self._version, self._progress, self._listener = version, progress, listener
        self._kept = kept
        self._past: dict[Ids, Prefix] = {}
        self._eos = np.array([] if sampling.ignore_eos else eos_ids, dtype=np.int64)
        self._waiting: deque[tuple[Ids, deque[_Attempt]]] = deque()
        self._ready: deque[_Ready] = deque()
        self._rows: list[_Attempt | None] = [None] * cache.rows
        rows, tokens = cache.rows, min(sampling.max_tokens, cache.context)
        self._seed = np.zeros(rows, dtype=np.uint64)
        self._length = np.zeros(rows, dtype=np.int64)  # prompt and completion; the cache holds all but the last
        self._count = np.zeros(rows, dtype=np.int64)
        self._limit = np.zeros(rows, dtype=np.int64)
        self._tokens = np.zeros((rows, tokens), dtype=np.int64)
        self._logp = np.zeros((rows, tokens), dtype=np.float32)
        self._turns: list[list[Turn | None]] = []
        self._done = 0

    def run(self, prompts: Sequence[Prompt]) -> list[list[Turn]]:
        """Draw every completion; one list a prompt, one turn a seed."""
        if self._kept is not None:
            self._past = self._kept.take([prompt.ids for prompt in prompts])
        self._queue(prompts)
        while self._waiting or self._ready or any(self._rows):
            self._admit()
            self._step(self._compact())
        return [[turn for turn in turns if turn is not None] for turns in self._turns]

    def _queue(self, prompts: Sequence[Prompt]) -> None:
        """Line the attempts up; prompts with the same tokens are computed once, those without room end here."""
        self._turns = [[None] * len(prompt.seeds) for prompt in prompts]
        waiting: dict[Ids, deque[_Attempt]] = {}
        for number, prompt in enumerate(prompts):
            limit, full = self._limit_of(prompt)
            for index, seed in enumerate(prompt.seeds):
                watch = StopStrings(self._decoder, self._sampling.stop) if self._sampling.stop else None
                attempt = _Attempt(number, index, prompt.ids, seed & _SEED_BITS, limit, full, watch)
                if limit:
                    waiting.setdefault(prompt.ids, deque()).append(attempt)
                else:
                    self._end(attempt, full, (), ())
        self._waiting.extend(waiting.items())

    def _limit_of(self, prompt: Prompt) -> tuple[int, Stop]:
        """The most tokens of a completion, and what it stops with after them."""
        most: list[tuple[int, Stop]] = [
            (self._sampling.max_tokens, "length"),
            (max(0, self._cache.context - len(prompt.ids)), "context"),
        ]
        if prompt.left is not None:
            most.append((prompt.left, "tokens"))
        return min(most, key=lambda each: each[0])

    def _admit(self) -> None:
        """Fill the free rows; a first token may already end a sequence and free its row again."""
        while self._waiting or self._ready:
            free = deque(row for row, attempt in enumerate(self._rows) if attempt is None)
            if not free:
                return
            if not self._ready:
                self._prefill()
            entered: list[int] = []
            logits: list[torch.Tensor] = []
            while self._ready and free:
                ready = self._ready[0]
                rows = [free.popleft() for _ in range(min(len(free), len(ready.attempts)))]
                self._cache.place(ready.prefix, rows, shared=ready.several)
                for row in rows:
                    self._enter(row, ready.attempts.popleft())
                entered += rows
                logits += [ready.logits_V] * len(rows)
                if not ready.attempts:
                    self._ready.popleft()
            self._take(np.array(entered), torch.stack(logits))

    def _prefill(self) -> None:
        """Compute the next prompts, laid end to end without padding. Those without a row yet wait with their keys."""
        taken: list[tuple[Ids, deque[_Attempt]]] = []
        size = 0
        while self._waiting and (not taken or size + self._new(self._waiting[0][0]) <= _PREFILL_TOKENS):
            taken.append(self._waiting.popleft())
            size += self._new(taken[-1][0])
        device = self._model.device
        past = [self._past.pop(ids, None) for ids, _ in taken]
        begun = [len(each) if each else 0 for each in past]
        lengths = [len(ids) - start for (ids, _), start in zip(taken, begun, strict=True)]
        self._cache.begin_prefill(lengths, past)
        new = [token for (ids, _), start in zip(taken, begun, strict=True) for token in ids[start:]]
        places = [torch.arange(start, len(ids)) for (ids, _), start in zip(taken, begun, strict=True)]
        logits = self._model(
            input_ids=torch.tensor([new], device=device),
            position_ids=torch.cat(places)[None].to(device),
            logits_to_keep=torch.tensor(lengths, device=device).cumsum(0) - 1,
            use_cache=False,
            kv_cache=self._cache,
        ).logits[0]
        for (_, attempts), prefix, row in zip(taken, self._cache.end_prefill(), logits, strict=True):
            self._ready.append(_Ready(prefix, row, attempts, several=len(attempts) > 1))

    def _new(self, ids: Ids) -> int:
        """How many tokens of a prompt have to be computed."""
        return len(ids) - (len(self._past[ids]) if ids in self._past else 0)

    def _enter(self, row: int, attempt: _Attempt) -> None:
        self._rows[row] = attempt
        self._seed[row] = attempt.seed
        self._length[row] = len(attempt.ids)
        self._count[row] = 0
        self._limit[row] = attempt.limit

    def _compact(self) -> int:
        """Move the last sequences into the gaps, so that the active rows come first; gives their number."""
        active = [row for row, attempt in enumerate(self._rows) if attempt is not None]
        gaps = [row for row in range(len(active)) if self._rows[row] is None]
        for gap in gaps:
            last = active.pop()
            self._cache.move(last, gap, int(self._length[last]) - 1)
            self._rows[gap], self._rows[last] = self._rows[last], None
            for array in (self._seed, self._length, self._count, self._limit, self._tokens, self._logp):
                array[gap] = array[last]
        return len(active) + len(gaps)

    def _step(self, active: int) -> None:
        """Give each active sequence one token."""
        if not active:
            return
        rows = np.arange(active)
        device = self._model.device
        position_B = self._length[:active] - 1
        self._cache.begin_decode(position_B, device)
        logits_B1V = self._model(
            input_ids=torch.from_numpy(self._tokens[rows, self._count[:active] - 1])[:, None].to(device),
            position_ids=torch.from_numpy(position_B)[:, None].to(device),
            use_cache=False,
            kv_cache=self._cache,
        ).logits
        self._take(rows, logits_B1V[:, 0])

    def _take(self, row_B: NDArray[np.int64], logits_BV: torch.Tensor) -> None:
        """Draw a token for each row, note it, and end the sequences it completes."""
        chance_B = uniform(self._seed[row_B], self._length[row_B])
        drawn_B, chosen_B = draw(logits_BV, chance_B, self._sampling)
        token_B, logp_B = drawn_B.cpu().numpy(), chosen_B.cpu().numpy()
        if not np.isfinite(logp_B).all():
            raise ValueError(
                "the model's outputs are not finite numbers, so nothing can be drawn from them; its weights have "
                "probably diverged: go back to an earlier checkpoint and lower the learning rate"
            )
        count_B = self._count[row_B]
        self._tokens[row_B, count_B] = token_B
        self._logp[row_B, count_B] = logp_B
        self._count[row_B] += 1
        self._length[row_B] += 1
        ended_B = np.isin(token_B, self._eos)
        full_B = count_B + 1 >= self._limit[row_B]
        watched = bool(self._sampling.stop) or self._listener is not None
        for index in range(len(row_B)) if watched else np.flatnonzero(ended_B | full_B):
            row = int(row_B[index])
            attempt = self._rows[row]
            assert attempt is not None
            tokens = self._tokens[row, : self._count[row]]
            wanted = self._listener is None or self._listener.drawn(
                attempt.prompt, attempt.attempt, int(token_B[index]), float(logp_B[index])
            )
            stop: Stop
            if ended_B[index]:
                stop = "eos"
            elif attempt.watch is not None and attempt.watch.found(tokens.tolist()):
                stop = "stop_string"
            elif full_B[index]:
                stop = attempt.full
            elif not wanted:
                stop = "done"
            else:
                continue
            self._rows[row] = None
            if self._kept is not None and not self._kept.full:
                ids = (*attempt.ids, *tokens.tolist())  # the last token was drawn, and not read
                self._kept.keep(ids, self._cache.sequence(row, len(ids) - 1))
            self._end(attempt, stop, tuple(tokens.tolist()), tuple(self._logp[row, : self._count[row]].tolist()))

    def _end(self, attempt: _Attempt, stop: Stop, completion: Ids, logp: tuple[float, ...]) -> None:
        words = completion[:-1] if stop == "eos" else completion
        text = self._decoder.decode(words, skip_special_tokens=True) if words else ""
        turn = self._turns[attempt.prompt][attempt.attempt] = Turn(
            prompt=attempt.ids,
            completion=completion,
            text=cut(text, self._sampling.stop) if stop == "stop_string" else text,
            stop=stop,
            logp=logp,
            temperature=self._sampling.temperature or 1.0,
            version=self._version,
        )
        if self._listener is not None:
            self._listener.ended(attempt.prompt, attempt.attempt, turn)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, sum(map(len, self._turns)))
