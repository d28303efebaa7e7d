"""Completions that a server draws from the policy's weights, side by side; knows no task and no algorithm.

The server has the model that the run starts from. What is learned reaches it as an adapter under a new name for each
version, so that no completion is drawn with weights of two. Whether its weights are those of this process is tried on a
fixed text, and what the current weights say of turns is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.engines.completions_server import CompletionsServer, Drawn
from togi.engines.engine_choice import AtServer
from togi.engines.native import NativeEngine
from togi.engines.server_weights import ServerWeights
from togi.engines.stop_strings import StopStrings
from togi.engines.token_sampling import check_sampling
from togi.engines.turn_ends import check_prompts, ended_turn, limit_of
from togi.models.load_model import Loaded
from togi.protocols import Policy, Talk
from togi.types import Prompt, Reading, Sampling, Stop, Turn

Progress = Callable[[int, int], None]

APART = 0.1
"""Nats that log-probabilities of the server and of this process may be apart, on average over the tokens of a try.
Arithmetic in bfloat16 moves them by a few hundredths."""
_TEXT = "The keeper of the tower walks down to the harbour and counts the boats."
_TRIED = 16  # tokens


class ServerEngine:
    """Draws at a server from the weights of a loaded model. ``batch_size`` is how many completions are asked for at
    once."""

    def __init__(self, loaded: Loaded, at: AtServer, *, batch_size: int) -> None:
        """Asks nothing yet. Raises ValueError for an address or a key that cannot be used."""
        self.version = 0
        self._here = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
        self._tokenizer: PreTrainedTokenizerBase = loaded.tokenizer
        self._eos, self._batch_size = loaded.eos_ids, batch_size
        self._vocabulary: int = loaded.model.config.get_text_config().vocab_size
        self._server = CompletionsServer(at)
        self._weights = ServerWeights(loaded, base=at.model, folder=at.adapters)
        self._tells: bool | None = None  # log-probabilities of what temperature and cuts make of the distribution

    @property
    def model(self) -> PreTrainedModel:
        return self._here.model

    @property
    def context(self) -> int:
        return self._here.context

    def sync(self, policy: Policy) -> None:
        """Have the server draw from the policy as it is now, from the next call on."""
        self.version = policy.step
        self._weights.outdated = True

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        return self._here.read(turns)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Turn]]:
        """Complete each prompt once a seed, as the native engine does; a seed does not give what it gives there.

        Raises ValueError, naming the server, where it fails, has other weights, or cannot tell the log-probabilities of
        the distribution that it draws from.
        """
        wanted = sum(len(prompt.seeds) for prompt in prompts)
        turns: dict[int, Turn] = {}
        with self.conversation(sampling, wanted, progress) as talk:
            talk.ask(prompts)
            while len(turns) < wanted:
                turns.update(talk.draw())
        following = iter(range(wanted))
        return [[turns[next(following)] for _ in prompt.seeds] for prompt in prompts]

    @contextmanager
    def conversation(self, sampling: Sampling, most: int, progress: Progress | None = None) -> Iterator[Talk]:
        """Talk in which about ``most`` turns are drawn at once. What turns have in common is the server's to keep."""
        check_sampling(sampling)
        self._update()
        self._check_distribution(sampling)
        with self._server.side_by_side(max(1, min(self._batch_size, most))) as pool:
            yield _Requests(self, sampling, pool, progress)

    def _update(self) -> None:
        """Have the server take the weights as they are now, and try whether it has."""
        if self._weights.outdated:
            self._weights.write(self.version)
            self._weights.give(self._server)
            self._try()

    def _try(self) -> None:
        turn = self._tried(Sampling(max_tokens=_TRIED, temperature=0, ignore_eos=True))
        apart = [abs(a - b) for a, b in zip(turn.logp, self.read([turn])[0].logp, strict=True)]
        mean = math.fsum(apart) / len(apart) if apart else math.inf
        if not mean <= APART:
            raise ValueError(
                f"the engine's model {self._weights.name} is not the one that is trained: the log-probabilities of "
                f"{len(apart)} tokens differ by {mean:.2g} nats on average, and at most {APART:g} is right. Serve the "
                "model of model.source, with its own tokenizer, and in at least 16 bits"
            )

    def _tried(self, sampling: Sampling) -> Turn:
        prompt = Prompt(ids=tuple(self._tokenizer.encode(_TEXT)), seeds=(0,))
        limit, full = limit_of(prompt, sampling, self.context)
        return self.turn(prompt, self.complete(prompt, 0, limit, sampling), limit, full, sampling)

    def _check_distribution(self, sampling: Sampling) -> None:
        plain = sampling.temperature == 1 and (sampling.top_p, sampling.top_k, sampling.min_p) == (1, 0, 0)
        if plain or sampling.temperature == 0:
            return
        if self._tells is None:
            # Of the only token that is left the log-probability is 0, unless it is that of the whole distribution.
            self._tells = self._tried(Sampling(max_tokens=1, top_k=1, ignore_eos=True)).logp[0] > -1e-6
        if not self._tells:
            raise ValueError(
                "the engine tells the log-probabilities of the model's own distribution only, and [sampling] makes "
                "another of it by temperature, top_p, top_k or min_p: start vLLM with --logprobs-mode "
                "processed_logprobs, or sample at temperature 1 and cut nothing"
            )

    def complete(self, prompt: Prompt, seed: int, limit: int, sampling: Sampling) -> Drawn:
        """One completion, asked for and waited for."""
        return self._server.complete(
            self._weights.name, prompt.ids, seed=seed, limit=limit, sampling=sampling, ends=self._eos
        )

    def turn(self, prompt: Prompt, drawn: Drawn, limit: int, full: Stop, sampling: Sampling) -> Turn:
        if max(drawn.ids, default=0) >= self._vocabulary:
            raise ValueError(
                f"the engine drew token {max(drawn.ids)}, and the model's vocabulary has {self._vocabulary} entries: "
                "serve the model of model.source"
            )
        length, stop = self._end(drawn, limit, full, sampling)
        return ended_turn(
            prompt.ids,
            drawn.ids[:length],
            drawn.logp[:length],
            stop,
            decoder=self._tokenizer,
            sampling=sampling,
            version=self.version,
        )

    def check(self, prompts: Sequence[Prompt]) -> None:
        check_prompts(prompts, self._vocabulary)

    def _end(self, drawn: Drawn, limit: int, full: Stop, sampling: Sampling) -> tuple[int, Stop]:
        """How many tokens of a completion count, and why it ends there, found out from its tokens alone."""
        ids = drawn.ids
        if sampling.stop:
            watch = StopStrings(self._tokenizer, sampling.stop)
            for length in range(1, len(ids) + 1):
                if ids[length - 1] not in self._eos and watch.found(ids[:length]):
                    return length, "stop_string"
        if ids and ids[-1] in self._eos and not sampling.ignore_eos:
            return len(ids), "eos"
        if len(ids) < limit:
            raise ValueError(
                f"the engine ended a completion after {len(ids)} of {limit} tokens, neither with one of the tokens "
                f"{sorted(self._eos)} that end a turn nor with a stop string ({drawn.ended or 'it does not say why'}): "
                "serve the model with its own tokenizer, and with a context as long as the model's"
            )
        return len(ids), full


class _Requests:
    """Talk with a server: each turn is a request of its own. Text is read in the caller's thread, where tokenizers are
    used."""

    def __init__(
        self, engine: ServerEngine, sampling: Sampling, pool: ThreadPoolExecutor, progress: Progress | None
    ) -> None:
        self._engine, self._sampling, self._pool, self._progress = engine, sampling, pool, progress
        self._open: dict[Future[Drawn], tuple[int, Prompt]] = {}
        self._ended: list[tuple[int, Turn]] = []
        self._asked = 0

    @property
    def drawing(self) -> int:
        return len(self._open)

    def ask(self, prompts: Sequence[Prompt]) -> None:
        self._engine.check(prompts)
        for prompt in prompts:
            limit, full = limit_of(prompt, self._sampling, self._engine.context)
            for seed in prompt.seeds:
                if limit:
                    asked = self._pool.submit(self._engine.complete, prompt, seed, limit, self._sampling)
                    self._open[asked] = self._asked, prompt
                else:
                    nothing = self._engine.turn(prompt, Drawn(ids=(), logp=(), ended=""), 0, full, self._sampling)
                    self._ended.append((self._asked, nothing))
                self._asked += 1

    def draw(self) -> list[tuple[int, Turn]]:
        """Wait until some turn has ended."""
        ended, self._ended = self._ended, []
        done = wait(self._open, timeout=0 if ended else None, return_when=FIRST_COMPLETED).done
        for future in done:
            number, prompt = self._open.pop(future)
            limit, full = limit_of(prompt, self._sampling, self._engine.context)
            ended.append((number, self._engine.turn(prompt, future.result(), limit, full, self._sampling)))
        if self._progress is not None and ended:
            self._progress(self._asked - len(self._open), self._asked)
        return sorted(ended, key=lambda each: each[0])

    def over(self, turns: Iterable[int]) -> None:
        pass
