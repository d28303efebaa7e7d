"""Completions that a cluster draws from weights that are there; knows no task and no algorithm.

All attempts at a prompt are asked for at once, so that the cluster reads the prompt once. After every update it draws
from a snapshot of its own, so that no completion is drawn with weights of two; whether these are the weights that learn
is tried on a fixed text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.cluster.cluster_policy import ClusterPolicy
from togi.cluster.stage_weights import noted
from togi.cluster.verbs import Cluster, ClusterError, Drawer, Drawn
from togi.engines.token_sampling import check_sampling
from togi.engines.tried_weights import LIKELIEST, TEXT, difference
from togi.engines.turn_ends import check_prompts, drawn_by, ended_turn, found_end, limit_of
from togi.models.load_model import Loaded
from togi.protocols import Policy, Talk
from togi.types import Prompt, Reading, Sampling, Stop, Turn

Progress = Callable[[int, int], None]


class ClusterEngine:
    """Draws from the weights that a source notes, or (where it notes none) from the base; once synchronised, from those
    of the policy. ``loaded`` has the shape of the model and no weights. A completion may take ``seconds``."""

    def __init__(self, loaded: Loaded, cluster: Cluster, *, seconds: float) -> None:
        """Asks nothing yet."""
        self.version = 0
        self._loaded, self._cluster, self._seconds = loaded, cluster, seconds
        self._tokenizer: PreTrainedTokenizerBase = loaded.tokenizer
        self._vocabulary: int = loaded.model.config.get_text_config().vocab_size
        self._policy: ClusterPolicy | None = None
        self._changes = 0  # of the policy's weights, when it was last synchronised
        self._drawer: Drawer | None = None

    @property
    def model(self) -> PreTrainedModel:
        return self._loaded.model

    @property
    def context(self) -> int:
        return self._loaded.context

    def sync(self, policy: Policy) -> None:
        """Draw from the policy as it is now, from the next call on: from a new snapshot, unless its weights are those
        that were synchronised last."""
        assert isinstance(policy, ClusterPolicy)
        self.version = policy.step
        if policy is not self._policy or policy.changes != self._changes:
            self._drawer = None
        self._policy, self._changes = policy, policy.changes

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        raise ValueError(
            "a cluster tells the log-probabilities of tokens, and not how sure the model is: leave out rewards that "
            'ask the policy itself, or sample here with engine.kind = "native"'
        )

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Turn]]:
        """Complete each prompt once a seed; a seed does not give what it gives elsewhere.

        Raises ValueError, naming the cluster, where it fails or draws from other weights than it was told to.
        """
        wanted = sum(len(prompt.seeds) for prompt in prompts)
        with self.conversation(sampling, wanted, progress) as talk:
            return drawn_by(talk, prompts)

    @contextmanager
    def conversation(self, sampling: Sampling, most: int, progress: Progress | None = None) -> Iterator[Talk]:
        """Talk in which all that is asked for is drawn at once, as far as the cluster does."""
        check_sampling(sampling)
        requests = _Requests(self, self._opened(), sampling, progress)
        try:
            yield requests
        finally:
            requests.cancel()

    def _opened(self) -> Drawer:
        if self._drawer is None:
            if self._policy is None:
                weights = noted(self._loaded.source)
                self._drawer = self._cluster.drawer(weights.drawn if weights else None)
            else:
                drawer = self._policy.drawer()
                self._try(drawer, self._policy)
                self._drawer = drawer
        return self._drawer

    def _try(self, drawer: Drawer, policy: ClusterPolicy) -> None:
        ids = tuple(self._tokenizer.encode(TEXT))
        asked = drawer.draw(ids, 1, seed=0, limit=LIKELIEST.max_tokens, sampling=LIKELIEST, ends=())
        [drawn] = self._soon(asked, time.monotonic())
        if wrong := difference(drawn.logp, policy.logps((*ids, *drawn.ids))[len(ids) :]):
            raise ClusterError(
                f"the weights that the cluster draws from are not those that learn there: after {policy.step} updates "
                f"{wrong}. Tell whoever runs the cluster; training again goes on from the last checkpoint"
            )

    def _soon(self, asked: Future[list[Drawn]], since: float) -> list[Drawn]:
        left = since + self._seconds - time.monotonic()
        if not wait([asked], timeout=max(0.0, left)).done:
            raise self.late(since)
        return asked.result()

    def late(self, since: float) -> ClusterError:
        return ClusterError(
            f"the cluster has drawn nothing for {time.monotonic() - since:.0f} s: give it more time with "
            "engine.seconds, or train again, which goes on from the last checkpoint"
        )

    @property
    def seconds(self) -> float:
        return self._seconds

    def ask(self, drawer: Drawer, prompt: Prompt, limit: int, sampling: Sampling) -> Future[list[Drawn]]:
        ends = () if sampling.ignore_eos else sorted(self._loaded.eos_ids)
        attempts = len(prompt.seeds)
        return drawer.draw(prompt.ids, attempts, seed=prompt.seeds[0], limit=limit, sampling=sampling, ends=ends)

    def turn(self, prompt: Prompt, drawn: Drawn, limit: int, full: Stop, sampling: Sampling) -> Turn:
        if max(drawn.ids, default=0) >= self._vocabulary:
            raise ClusterError(
                f"the cluster drew token {max(drawn.ids)}, and the model's vocabulary has {self._vocabulary} entries: "
                "engine.model and model.source have to be the same model"
            )
        length, stop = found_end(
            drawn.ids,
            limit,
            full,
            sampling,
            ends=self._loaded.eos_ids,
            decoder=self._tokenizer,
            said=drawn.ended,
        )
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


class _Requests:
    """Talk with a cluster: the attempts at a prompt are one request."""

    def __init__(self, engine: ClusterEngine, drawer: Drawer, sampling: Sampling, progress: Progress | None) -> None:
        self._engine, self._drawer, self._sampling, self._progress = engine, drawer, sampling, progress
        self._open: dict[Future[list[Drawn]], tuple[int, Prompt]] = {}
        self._ended: list[tuple[int, Turn]] = []
        self._asked = 0

    @property
    def drawing(self) -> int:
        return sum(len(prompt.seeds) for _, prompt in self._open.values())

    def ask(self, prompts: Sequence[Prompt]) -> None:
        self._engine.check(prompts)
        for prompt in (prompt for prompt in prompts if prompt.seeds):
            limit, full = limit_of(prompt, self._sampling, self._engine.context)
            if limit:
                asked = self._engine.ask(self._drawer, prompt, limit, self._sampling)
                self._open[asked] = self._asked, prompt
            else:
                nothing = self._engine.turn(prompt, Drawn(ids=(), logp=(), ended=""), 0, full, self._sampling)
                self._ended += [(self._asked + number, nothing) for number in range(len(prompt.seeds))]
            self._asked += len(prompt.seeds)

    def draw(self) -> list[tuple[int, Turn]]:
        """Wait until the attempts at some prompt have ended."""
        ended, self._ended = self._ended, []
        since = time.monotonic()
        done = wait(self._open, timeout=0 if ended else self._engine.seconds, return_when=FIRST_COMPLETED).done
        if self._open and not done and not ended:
            raise self._engine.late(since)
        for future in done:
            first, prompt = self._open.pop(future)
            limit, full = limit_of(prompt, self._sampling, self._engine.context)
            for number, drawn in enumerate(future.result()):
                ended.append((first + number, self._engine.turn(prompt, drawn, limit, full, self._sampling)))
        if self._progress is not None and ended:
            self._progress(self._asked - self.drawing, self._asked)
        return sorted(ended, key=lambda each: each[0])

    def over(self, turns: Iterable[int]) -> None:
        pass

    def cancel(self) -> None:
        for future in self._open:
            future.cancel()
