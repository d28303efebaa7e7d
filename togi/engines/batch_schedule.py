"""Decides which sequence has which row of the batch, and when; knows no attention arithmetic and no module's settings.

In a conversation a sequence keeps its row while its turn is answered, so that its next turn computes new tokens only.
What is drawn when depends on what was asked and drawn before, and never on a clock.

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

from togi.engines.key_value_cache import KeyValueCache
from togi.engines.model_mixture import Mixture
from togi.engines.shared_prompts import Prefix
from togi.engines.stop_strings import Decoder, StopStrings, cut
from togi.engines.token_sampling import draw, uniform
from togi.protocols import Listener
from togi.types import Ids, Prompt, Sampling, Stop, Turn

_PREFILL_TOKENS = 2048  # prompts computed together: enough to keep the matrix products busy
_FEW = 4  # where less than this part of the rows would be drawn, others are taken from turns that wait for an answer
_WAITING = 2  # a row that is drawn is not to stand behind more rows than twice those that are drawn
_SEED_BITS = (1 << 64) - 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One completion to draw: its number, its place among the prompts, how far it may grow, and why it stops there."""

    ticket: int
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


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A row whose sequence waits for what is said next; ``begun`` of its tokens are computed, all but the last."""

    row: int
    ids: Ids

    @property
    def begun(self) -> int:
        return len(self.ids) - 1


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
        check: Callable[[Sequence[Prompt]], None],
    ) -> None:
        self._model, self._cache, self._decoder, self._sampling = model, cache, decoder, sampling
        self._version, self._progress, self._listener = version, progress, listener
        self._talks, self._check = talks, check
        self._eos = np.array([] if sampling.ignore_eos else eos_ids, dtype=np.int64)
        self._waiting: deque[tuple[Ids, deque[_Attempt]]] = deque()
        self._ready: deque[_Ready] = deque()
        self._further: deque[tuple[_Attempt, _Waiting]] = deque()
        self._rows: list[_Attempt | None] = [None] * cache.rows
        self._held: dict[int, _Waiting] = {}  # rows that wait for an answer, by the ticket of their turn
        rows, tokens = cache.rows, min(sampling.max_tokens, cache.context)
        self._seed = np.zeros(rows, dtype=np.uint64)
        self._length = np.zeros(rows, dtype=np.int64)  # prompt and completion; the cache holds all but the last
        self._count = np.zeros(rows, dtype=np.int64)
        self._limit = np.zeros(rows, dtype=np.int64)
        self._tokens = np.zeros((rows, tokens), dtype=np.int64)
        self._logp = np.zeros((rows, tokens), dtype=np.float32)
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
        return sum(attempt is not None for attempt in self._rows)

    def ask(self, prompts: Sequence[Prompt]) -> None:
        """Line the attempts up, numbered on from those asked for before. Prompts with the same tokens are computed
        once, one that goes on from a turn has that turn's row, and those without room end at the next draw."""
        self._check(prompts)
        waiting: dict[Ids, deque[_Attempt]] = {}
        for number, prompt in enumerate(prompts, self._prompts):
            limit, full = self._limit_of(prompt)
            for index, seed in enumerate(prompt.seeds):
                watch = StopStrings(self._decoder, self._sampling.stop) if self._sampling.stop else None
                attempt = _Attempt(self._asked, number, index, prompt.ids, seed & _SEED_BITS, limit, full, watch)
                self._asked += 1
                before = self._turn_before(prompt.ids)
                if not limit:
                    self._end(attempt, full, (), ())
                elif before is not None:
                    self._further.append((attempt, self._held.pop(before)))
                else:
                    waiting.setdefault(prompt.ids, deque()).append(attempt)
        self._prompts += len(prompts)
        self._waiting.extend(waiting.items())

    def draw(self) -> list[tuple[int, Turn]]:
        """Give each sequence that has a row one token; the turns that have ended since the last draw, by number."""
        with torch.inference_mode():
            self._admit()
            self._step(self._compact())
        ended, self._ended = self._ended, []
        return ended

    def over(self, tickets: Iterable[int]) -> None:
        """No prompt goes on from these turns: their rows are free."""
        for ticket in tickets:
            self._held.pop(ticket, None)

    def _turn_before(self, ids: Ids) -> int | None:
        """The longest turn that a prompt goes on from, among those whose rows wait."""
        found = [ticket for ticket, held in self._held.items() if ids[: len(held.ids)] == held.ids]
        return max(found, key=lambda ticket: len(self._held[ticket].ids), default=None)

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
        while self._further or self._waiting or self._ready:
            if self._further:
                self._go_on()
                continue
            free = deque(self._free())
            if self.drawing + len(free) < max(1, len(self._rows) // _FEW):
                self.over(list(self._held)[: max(0, self._wanted() - len(free))])
                free = deque(self._free())
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
        while self._waiting and (not taken or size + len(self._waiting[0][0]) <= _PREFILL_TOKENS):
            taken.append(self._waiting.popleft())
            size += len(taken[-1][0])
        self._cache.begin_prefill([len(ids) for ids, _ in taken])
        logits_PV = self._compute([ids for ids, _ in taken], [0] * len(taken))
        for (_, attempts), prefix, logits_V in zip(taken, self._cache.end_prefill(), logits_PV, strict=True):
            self._ready.append(_Ready(prefix, logits_V, attempts, several=len(attempts) > 1))

    def _go_on(self) -> None:
        """Compute what was said next to sequences that have their rows, and draw their first tokens."""
        taken: list[tuple[_Attempt, _Waiting]] = []
        size = 0
        while self._further and (not taken or size + _new(self._further[0]) <= _PREFILL_TOKENS):
            taken.append(self._further.popleft())
            size += _new(taken[-1])
        rows, begun = [held.row for _, held in taken], [held.begun for _, held in taken]
        self._cache.begin_further(rows, begun, [_new(each) for each in taken])
        logits_PV = self._compute([attempt.ids for attempt, _ in taken], begun)
        self._cache.end_further()
        for row, (attempt, _) in zip(rows, taken, strict=True):
            self._enter(row, attempt)
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

    def _free(self) -> list[int]:
        """The rows without a sequence."""
        taken = {held.row for held in (*self._held.values(), *(held for _, held in self._further))}
        return [row for row, attempt in enumerate(self._rows) if attempt is None and row not in taken]

    def _enter(self, row: int, attempt: _Attempt) -> None:
        self._rows[row] = attempt
        self._seed[row] = attempt.seed
        self._length[row] = len(attempt.ids)
        self._count[row] = 0
        self._limit[row] = attempt.limit

    def _compact(self) -> NDArray[np.int64]:
        """Move the last sequences that are drawn into the gaps, and before most of those that wait; their rows."""
        active = [row for row, attempt in enumerate(self._rows) if attempt is not None]
        for gap in self._free():
            if not active or gap > active[-1]:
                break
            last = active.pop()
            self._cache.move(last, gap, int(self._length[last]) - 1)
            self._moved(last, gap)
            active = sorted([*active, gap])
        for ticket, held in sorted(self._held.items(), key=lambda each: each[1].row):
            if not active or held.row > active[-1] or _WAITING * len(active) > active[-1]:
                break
            last = active.pop()
            self._cache.exchange(held.row, last, (held.begun, int(self._length[last]) - 1))
            self._moved(last, held.row)
            self._held[ticket] = _Waiting(last, held.ids)
            active = sorted([*active, held.row])
        return np.array(active, dtype=np.int64)

    def _moved(self, source: int, target: int) -> None:
        self._rows[target], self._rows[source] = self._rows[source], None
        for array in (self._seed, self._length, self._count, self._limit, self._tokens, self._logp):
            array[target] = array[source]

    def _step(self, rows: NDArray[np.int64]) -> None:
        """Give each active sequence one token."""
        if not len(rows):
            return
        device = self._model.device
        position_B = self._length[rows] - 1
        self._cache.begin_decode(rows, position_B, device)
        logits_B1V = self._model(
            input_ids=torch.from_numpy(self._tokens[rows, self._count[rows] - 1])[:, None].to(device),
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
            if self._talks:
                self._held[attempt.ticket] = _Waiting(row, (*attempt.ids, *tokens.tolist()))
            self._end(attempt, stop, tuple(tokens.tolist()), tuple(self._logp[row, : self._count[row]].tolist()))

    def _end(self, attempt: _Attempt, stop: Stop, completion: Ids, logp: tuple[float, ...]) -> None:
        words = completion[:-1] if stop == "eos" else completion
        text = self._decoder.decode(words, skip_special_tokens=True) if words else ""
        turn = Turn(
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
        self._ended.append((attempt.ticket, turn))
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._asked)


def _new(further: tuple[_Attempt, _Waiting]) -> int:
    """How many tokens of a prompt have to be computed."""
    attempt, held = further
    return len(attempt.ids) - held.begun
