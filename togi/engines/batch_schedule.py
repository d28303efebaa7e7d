"""Decides which prompts are computed and which sequences are drawn, and when; knows no attention arithmetic, no
module's settings and no row's place.

In a conversation the next turn of a sequence computes new tokens only. What is drawn when depends on what was asked and
drawn before, and never on a clock.

Axes: B rows of the batch, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from togi.engines.batch_rows import Attempt, Rows, Waiting
from togi.engines.kept_sequences import KeptSequences
from togi.engines.key_value_cache import KeyValueCache
from togi.engines.model_mixture import Mixture
from togi.engines.shared_prompts import Prefix
from togi.engines.stop_strings import Decoder, StopStrings
from togi.engines.token_sampling import check_drawn, draw, uniform
from togi.engines.turn_ends import ended_turn, limit_of
from togi.protocols import Listener
from togi.types import Ids, Prompt, Sampling, Stop, Turn

_PREFILL_TOKENS = 2048  # prompts computed together: enough to keep the matrix products busy
_HELD = 4  # times as many tokens may prompts have together that begin with what was computed before
_FEW = 4  # where less than this part of the rows would be drawn, others are taken from turns that wait for an answer
_SEED_BITS = (1 << 64) - 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Ready:
    """A prompt that was computed, with the attempts that wait for a row."""

    prefix: Prefix
    logits_V: torch.Tensor
    attempts: deque[Attempt]
    several: bool


class Schedule:
    """Completions of one call, or of one conversation (``talks``): rows are filled from a queue, and refilled as
    sequences end. Single use."""

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
        talks: bool = False,
        kept: KeptSequences | None = None,
        check: Callable[[Sequence[Prompt]], None],
    ) -> None:
        self._model, self._cache, self._decoder, self._sampling = model, cache, decoder, sampling
        self._version, self._progress, self._listener = version, progress, listener
        self._talks, self._kept, self._check = talks, kept, check
        self._eos = np.array([] if sampling.ignore_eos else eos_ids, dtype=np.int64)
        self._waiting: deque[tuple[Ids, deque[Attempt]]] = deque()
        self._ready: deque[_Ready] = deque()
        self._further: deque[tuple[Attempt, Waiting]] = deque()
        self._rows = Rows(cache, min(sampling.max_tokens, cache.context))
        self._ended: list[tuple[int, Turn]] = []
        self._prompts = self._asked = self._done = 0

    def run(self, prompts: Sequence[Prompt]) -> list[list[Turn]]:
        """Draw every completion; one list a prompt, one turn a seed."""
        self.ask(prompts)
        turns: dict[int, Turn] = {}
        while len(turns) < self._asked:
            turns.update(self.draw())
        following = iter(range(self._asked))
        return [[turns[next(following)] for _ in prompt.seeds] for prompt in prompts]

    @property
    def drawing(self) -> int:
        """How many turns are being drawn, beside those that wait for a row."""
        return self._rows.drawing

    def ask(self, prompts: Sequence[Prompt]) -> None:
        """Line the attempts up, numbered on from those asked for before. Prompts with the same tokens are computed
        once, one that goes on from a turn has that turn's row, and those without room end at the next draw."""
        self._check(prompts)
        waiting: dict[Ids, deque[Attempt]] = {}
        for number, prompt in enumerate(prompts, self._prompts):
            limit, full = limit_of(prompt, self._sampling, self._cache.context)
            begun = prompt.ids[len(prompt.ids) - prompt.begun :]
            for index, seed in enumerate(prompt.seeds):
                watch = StopStrings(self._decoder, self._sampling.stop) if self._sampling.stop else None
                if watch and begun:
                    watch.found(begun)
                attempt = Attempt(self._asked, number, index, prompt.ids, seed & _SEED_BITS, limit, full, begun, watch)
                self._asked += 1
                if not limit:
                    self._end(attempt, full, (), ())
                elif (before := self._rows.go_on(prompt.ids)) is not None:
                    self._further.append((attempt, before))
                else:
                    waiting.setdefault(prompt.ids, deque()).append(attempt)
        self._prompts += len(prompts)
        self._waiting.extend(waiting.items())

    def draw(self) -> list[tuple[int, Turn]]:
        """Give each sequence that has a row one token; the turns that have ended since the last draw, by number."""
        with torch.inference_mode():
            self._admit()
            self._step(self._rows.compact())
        ended, self._ended = self._ended, []
        return ended

    def over(self, tickets: Iterable[int]) -> None:
        """No prompt goes on from these turns: their rows are free."""
        self._rows.let_go(tickets)

    def _admit(self) -> None:
        """Fill the free rows; a first token may already end a sequence and free its row again."""
        while self._further or self._waiting or self._ready:
            if self._further:
                self._go_on()
                continue
            free = deque(self._rows.free())
            if self.drawing + len(free) < max(1, len(self._rows) // _FEW):
                self._rows.let_go_some(max(0, self._wanted() - len(free)))
                free = deque(self._rows.free())
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
                    self._rows.enter(row, ready.attempts.popleft())
                entered += rows
                logits += [ready.logits_V] * len(rows)
                if not ready.attempts:
                    self._ready.popleft()
            self._take(np.array(entered), torch.stack(logits))

    def _prefill(self) -> None:
        """Compute what is new in the next prompts, laid end to end without padding. Those without a row yet wait with
        their keys."""
        taken: list[tuple[Ids, deque[Attempt]]] = []
        begun: list[Prefix | None] = []
        new = held = 0
        while self._waiting:
            ids = self._waiting[0][0]
            prefix = None if self._kept is None else self._kept.beginning(ids)
            new, held = new + len(ids) - len(prefix or ()), held + len(ids)
            if taken and (new > _PREFILL_TOKENS or held > _HELD * _PREFILL_TOKENS):
                break
            taken.append(self._waiting.popleft())
            begun.append(prefix)
        there = [len(prefix or ()) for prefix in begun]
        self._cache.begin_prefill([len(ids) - start for (ids, _), start in zip(taken, there, strict=True)], begun)
        logits_PV = self._compute([ids for ids, _ in taken], there)
        for (_, attempts), prefix, logits_V in zip(taken, self._cache.end_prefill(), logits_PV, strict=True):
            self._ready.append(_Ready(prefix, logits_V, attempts, several=len(attempts) > 1))

    def _go_on(self) -> None:
        """Compute what was said next to sequences that have their rows, and draw their first tokens."""
        taken: list[tuple[Attempt, Waiting]] = []
        size = 0
        while self._further and (not taken or size + _new(self._further[0]) <= _PREFILL_TOKENS):
            taken.append(self._further.popleft())
            size += _new(taken[-1])
        rows, begun = [waiting.row for _, waiting in taken], [waiting.begun for _, waiting in taken]
        self._cache.begin_further(rows, begun, [_new(each) for each in taken])
        logits_PV = self._compute([attempt.ids for attempt, _ in taken], begun)
        self._cache.end_further()
        for row, (attempt, _) in zip(rows, taken, strict=True):
            self._rows.enter(row, attempt)
        self._take(np.array(rows), logits_PV)

    def _compute(self, prompts: Sequence[Ids], begun: Sequence[int]) -> torch.Tensor:
        """What prompts are continued with [P, V], after so many tokens of each were computed before."""
        device = self._model.device
        new = [token for ids, start in zip(prompts, begun, strict=True) for token in ids[start:]]
        places = [torch.arange(start, len(ids)) for ids, start in zip(prompts, begun, strict=True)]
        lengths = [len(ids) - start for ids, start in zip(prompts, begun, strict=True)]
        logits_PV: torch.Tensor = self._model(
            input_ids=torch.tensor([new], device=device),
            position_ids=torch.cat(places)[None].to(device),
            logits_to_keep=torch.tensor(lengths, device=device).cumsum(0) - 1,
            use_cache=False,
            kv_cache=self._cache,
        ).logits[0]
        return logits_PV

    def _wanted(self) -> int:
        """How many turns wait for a row."""
        return sum(len(each.attempts) for each in self._ready) + sum(len(each) for _, each in self._waiting)

    def _step(self, rows: NDArray[np.int64]) -> None:
        """Give each active sequence one token."""
        if not len(rows):
            return
        device = self._model.device
        position_B = self._rows.length[rows] - 1
        self._cache.begin_decode(rows, position_B, device)
        logits_B1V = self._model(
            input_ids=torch.from_numpy(self._rows.last(rows))[:, None].to(device),
            position_ids=torch.from_numpy(position_B)[:, None].to(device),
            use_cache=False,
            kv_cache=self._cache,
        ).logits
        self._take(rows, logits_B1V[:, 0])

    def _take(self, row_B: NDArray[np.int64], logits_BV: torch.Tensor) -> None:
        """Draw a token for each row, note it, and end the sequences it completes."""
        rows = self._rows
        chance_B = uniform(rows.seed[row_B], rows.length[row_B])
        drawn_B, chosen_B = draw(logits_BV, chance_B, self._sampling)
        check_drawn(chosen_B)
        token_B, logp_B = drawn_B.cpu().numpy(), chosen_B.cpu().numpy()
        rows.add(row_B, token_B, logp_B)
        ended_B = np.isin(token_B, self._eos)
        full_B = rows.count[row_B] >= rows.limit[row_B]
        watched = bool(self._sampling.stop) or self._listener is not None
        for index in range(len(row_B)) if watched else np.flatnonzero(ended_B | full_B):
            row = int(row_B[index])
            attempt = rows.attempt(row)
            wanted = self._listener is None or self._listener.drawn(
                attempt.prompt, attempt.attempt, int(token_B[index]), float(logp_B[index])
            )
            stop: Stop
            if ended_B[index]:
                stop = "eos"
            elif attempt.watch is not None and attempt.watch.found([*attempt.begun, *rows.completion(row)]):
                stop = "stop_string"
            elif full_B[index]:
                stop = attempt.full
            elif not wanted:
                stop = "done"
            else:
                continue
            if self._kept is not None:
                computed = int(rows.length[row]) - 1
                ids = (*attempt.ids, *rows.completion(row))[:computed]
                self._kept.keep(ids, self._cache.copied(row, computed))
            rows.leave(row, waits=self._talks)
            self._end(attempt, stop, tuple(rows.completion(row)), tuple(rows.logp(row)))

    def _end(self, attempt: Attempt, stop: Stop, completion: Ids, logp: tuple[float, ...]) -> None:
        turn = ended_turn(
            attempt.ids,
            completion,
            logp,
            stop,
            decoder=self._decoder,
            sampling=self._sampling,
            version=self._version,
        )
        if self._listener is not None:
            self._listener.ended(attempt.prompt, attempt.attempt, turn)
        self._ended.append((attempt.ticket, turn))
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._asked)


def _new(further: tuple[Attempt, Waiting]) -> int:
    """How many tokens of a prompt have to be computed."""
    attempt, waiting = further
    return len(attempt.ids) - waiting.begun
