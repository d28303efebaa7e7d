"""Completions that servers draw from the policy's weights, side by side; knows no task and no algorithm.

What is learned reaches the servers as files under a new name for each version, so that no completion is drawn with
weights of two. Whether a server's weights are those of this process is tried on a fixed text, and what the current
weights say of turns is computed here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.askers.openai_client import CalledOff
from togi.engines.completions_server import CompletionsServer, Drawn
from togi.engines.fleet import TOLD, Asking, Fleet
from togi.engines.fleet_member import OtherWeights, Published
from togi.engines.native import NativeEngine
from togi.engines.token_sampling import check_sampling
from togi.engines.tried_weights import LIKELIEST, TEXT, difference
from togi.engines.turn_ends import check_prompts, drawn_by, ended_turn, found_end, limit_of
from togi.models.load_model import Loaded
from togi.protocols import Policy, Talk
from togi.types import Ids, Prompt, Reading, Sampling, Stop, Turn

Progress = Callable[[int, int], None]


class ServerEngine:
    """Draws at the servers of a fleet from a loaded model, whose weights they get. ``batch_size`` is how many
    completions each is asked for at once. Asks nothing until it is asked itself."""

    def __init__(self, loaded: Loaded, fleet: Fleet, *, batch_size: int) -> None:
        self.version = 0
        self._loaded, self._outdated = loaded, True
        self._here = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
        self._tokenizer: PreTrainedTokenizerBase = loaded.tokenizer
        self._eos, self._batch_size = loaded.eos_ids, batch_size
        self._vocabulary: int = loaded.model.config.get_text_config().vocab_size
        self._fleet = fleet
        self._asking: list[CalledOff] = []  # of each conversation
        self._text: Ids = tuple(loaded.tokenizer.encode(TEXT))
        self._read: dict[Ids, tuple[float, ...]] = {}  # what weights say of what was drawn after the text
        self._read_of = ""  # what servers call these weights
        self._reading = threading.Lock()
        self._readable = False  # whether the weights here are those that are published
        self._tells: bool | None = None  # log-probabilities of what temperature and cuts make of the distribution

    @property
    def model(self) -> PreTrainedModel:
        return self._here.model

    @property
    def context(self) -> int:
        return self._here.context

    def sync(self, policy: Policy) -> None:
        """Have the servers draw from the policy as it is now, from the next call on."""
        self.version = policy.step
        self._outdated = True

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        return self._here.read(turns)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Turn]]:
        """Complete each prompt once a seed, as the native engine does; vLLM draws something else for a seed.

        Raises ValueError, naming the server, where it fails, has other weights, or cannot tell the log-probabilities of
        the distribution that it draws from; EngineOutage where no server is left.
        """
        wanted = sum(len(prompt.seeds) for prompt in prompts)
        with self.conversation(sampling, wanted, progress) as talk:
            return drawn_by(talk, prompts)

    @contextmanager
    def conversation(self, sampling: Sampling, most: int, progress: Progress | None = None) -> Iterator[Talk]:
        """Talk in which about ``most`` turns are drawn at once. What turns have in common is the server's to keep."""
        check_sampling(sampling)
        self._update()
        self._check_distribution(sampling)
        threads = max(1, min(self._batch_size * len(self._fleet), most))
        with self._fleet.side_by_side(threads) as asking:
            self._asking.append(asking[1])
            try:
                yield _Requests(self, sampling, asking, threads, progress)
            finally:
                self._asking.remove(asking[1])

    def call_off(self) -> None:
        """Cut all that is being drawn, since nobody waits for it; whoever does so all the same gets an error."""
        for off in tuple(self._asking):
            off.call()

    def _update(self) -> None:
        """Have the servers take the weights as they are now, and try whether they have."""
        if not self._outdated and self._fleet.draws_for(self._try):
            return
        self._readable = True
        try:
            self._fleet.publish(self._loaded, self.version, self._try)
        finally:
            self._readable = False
        self._outdated = False

    def _try(self, server: CompletionsServer, name: str) -> None:
        """Raises OtherWeights for a server that draws the fixed text's completion with other probabilities than the
        weights here give it."""
        limit, full = limit_of(Prompt(ids=self._text, seeds=()), LIKELIEST, self.context)
        drawn = server.complete(name, self._text, seed=0, limit=limit, sampling=LIKELIEST, ends=self._eos)
        self._end(drawn, limit, full, LIKELIEST)
        if wrong := difference(drawn.logp, self._said_of(name, drawn.ids)):
            raise OtherWeights(
                f"the engine's model {name} is not the one that is trained: {wrong}. Serve the model of model.source, "
                "with its own tokenizer, and in at least 16 bits"
            )

    def _said_of(self, name: str, ids: Ids) -> tuple[float, ...]:
        """The log-probabilities of a completion of the fixed text, under the weights that were published as ``name``.
        While those here may change, only of what was drawn before: as far as the likeliest of that is the same."""
        with self._reading:
            if name != self._read_of:
                self._read, self._read_of = {}, name
            if ids not in self._read and self._readable:
                turn = Turn(prompt=self._text, completion=ids, text="", stop="length")
                self._read[ids] = self.read([turn])[0].logp
            known = max(self._read, key=lambda other: _alike(ids, other), default=())
            return self._read[known][: _alike(ids, known)] if known else ()

    def _check_distribution(self, sampling: Sampling) -> None:
        plain = sampling.temperature == 1 and (sampling.top_p, sampling.top_k, sampling.min_p) == (1, 0, 0)
        if plain or sampling.temperature == 0:
            return
        if self._tells is None:
            # Of the only token that is left the log-probability is 0, unless it is that of the whole distribution.
            only = Sampling(max_tokens=1, top_k=1, ignore_eos=True)
            drawn, _ = self.complete(Prompt(ids=self._text, seeds=()), 0, 1, only, 1, CalledOff())
            self._tells = drawn.logp[0] > -1e-6
        if not self._tells:
            raise ValueError(
                "the engine tells the log-probabilities of the model's own distribution only, and [sampling] makes "
                "another of it by temperature, top_p, top_k or min_p: start vLLM with --logprobs-mode "
                "processed_logprobs, or sample at temperature 1 and cut nothing"
            )

    def complete(
        self, prompt: Prompt, seed: int, limit: int, sampling: Sampling, most: int, off: CalledOff
    ) -> tuple[Drawn, Published]:
        """One completion, asked for and waited for unless it is called ``off``, of about ``most`` side by side; and the
        weights that drew it."""

        def ask(server: CompletionsServer, name: str) -> Drawn:
            return server.complete(name, prompt.ids, seed=seed, limit=limit, sampling=sampling, ends=self._eos, off=off)

        return self._fleet.complete(prompt.ids, most, ask, off)

    def waits(self, completions: int, seconds: float) -> None:
        """Tell that so many completions have been waited for, and none has ended."""
        self._fleet.waits(f"{completions} completions", seconds)

    def turn(self, prompt: Prompt, drawn: Drawn, limit: int, full: Stop, sampling: Sampling, version: int) -> Turn:
        length, stop = self._end(drawn, limit, full, sampling)
        return ended_turn(
            prompt.ids,
            drawn.ids[:length],
            drawn.logp[:length],
            stop,
            decoder=self._tokenizer,
            sampling=sampling,
            version=version,
        )

    def check(self, prompts: Sequence[Prompt]) -> None:
        check_prompts(prompts, self._vocabulary)

    def _end(self, drawn: Drawn, limit: int, full: Stop, sampling: Sampling) -> tuple[int, Stop]:
        """How many tokens of a completion count, and why it ends there."""
        if max(drawn.ids, default=0) >= self._vocabulary:
            raise ValueError(
                f"the engine drew token {max(drawn.ids)}, and the model's vocabulary has {self._vocabulary} entries: "
                "serve the model of model.source"
            )
        return found_end(drawn.ids, limit, full, sampling, ends=self._eos, decoder=self._tokenizer, said=drawn.ended)


class _Requests:
    """Talk with servers: each turn is a request of its own. Text is read in the caller's thread, where tokenizers are
    used."""

    def __init__(
        self,
        engine: ServerEngine,
        sampling: Sampling,
        asking: Asking,
        threads: int,
        progress: Progress | None,
    ) -> None:
        self._engine, self._sampling, self._threads = engine, sampling, threads
        self._pool, self._off = asking
        self._progress = progress
        self._open: dict[Future[tuple[Drawn, Published]], tuple[int, Prompt]] = {}
        self._ended: list[tuple[int, Turn]] = []
        self._asked = 0

    @property
    def drawing(self) -> int:
        return len(self._open)

    def ask(self, prompts: Sequence[Prompt]) -> None:
        self._engine.check(prompts)
        wanted: list[tuple[int, Prompt, int, int]] = []
        for prompt in prompts:
            limit, full = limit_of(prompt, self._sampling, self._engine.context)
            for seed in prompt.seeds:
                if limit:
                    wanted.append((self._asked, prompt, seed, limit))
                else:
                    nothing = Drawn(ids=(), logp=(), ended="")
                    turn = self._engine.turn(prompt, nothing, 0, full, self._sampling, self._engine.version)
                    self._ended.append((self._asked, turn))
                self._asked += 1
        most = min(self._threads, len(self._open) + len(wanted))
        for number, prompt, seed, limit in wanted:
            asked = self._pool.submit(self._engine.complete, prompt, seed, limit, self._sampling, most, self._off)
            self._open[asked] = number, prompt

    def draw(self) -> list[tuple[int, Turn]]:
        """Wait until some turn has ended."""
        ended, self._ended = self._ended, []
        for future in self._done(wait_for_some=not ended):
            number, prompt = self._open.pop(future)
            limit, full = limit_of(prompt, self._sampling, self._engine.context)
            drawn, published = future.result()
            turn = self._engine.turn(prompt, drawn, limit, full, self._sampling, published.version)
            ended.append((number, turn))
        if self._progress is not None and ended:
            self._progress(self._asked - len(self._open), self._asked)
        return sorted(ended, key=lambda each: each[0])

    def _done(self, *, wait_for_some: bool) -> set[Future[tuple[Drawn, Published]]]:
        began, told = time.monotonic(), TOLD
        while True:
            done = wait(self._open, timeout=told if wait_for_some else 0, return_when=FIRST_COMPLETED).done
            if done or not (self._open and wait_for_some):
                return done
            told *= 2
            self._engine.waits(len(self._open), time.monotonic() - began)

    def over(self, turns: Iterable[int]) -> None:
        pass


def _alike(one: Ids, other: Ids) -> int:
    """With how many tokens two completions begin alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
