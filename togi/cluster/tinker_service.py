"""A cluster that is reached by the package tinker: its clients, waited for with a clock, its faults put into words.

It knows the package and its words; it knows no policy, no episode and no recipe. What the package would report of
itself is off, and the key goes to the cluster alone.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import numpy as np

from togi.askers.openai_client import key_of
from togi.cluster.verbs import Cluster, ClusterError, Drawn, IdArray, Numbers
from togi.engines.engine_choice import AtCluster
from togi.extras import lacking
from togi.harmless_text import shortened
from togi.models.lora_and_optimiser import Optimiser
from togi.types import Ids, Sampling

T = TypeVar("T")

LEAST = -1000.0
"""A token of such a log-probability is never drawn."""
_SEEDS = (1 << 31) - 1
_EPS = 1e-8  # of AdamW, as torch has it
_ADVICE = {
    401: "it does not take this key: look at the variable that engine.key_env names",
    402: "the account has no more money: top it up, and train again",
    403: "the key may not do this: look at what the account is allowed",
    404: "it does not know this model, session or checkpoint: look at engine.model; what it has lost is gone, and "
    "training again goes on from the last checkpoint",
    410: "it has ended this session: train again, which goes on from the last checkpoint",
    429: "the quota is used up: wait, or ask for less at once; training again goes on from the last checkpoint",
}


@cache
def open_cluster(at: AtCluster) -> Cluster:
    """One session a process with each cluster. Nothing is asked yet. Raises ValueError where the package or the key is
    missing."""
    try:
        import tinker
    except ImportError:
        raise ValueError(lacking("a cluster that speaks Tinker's verbs", "tinker")) from None
    os.environ.setdefault("TINKER_TELEMETRY", "0")
    key = key_of(at.key_env)
    return TinkerCluster(at, tinker.ServiceClient(base_url=at.base_url or None, api_key=key), key)


class TinkerCluster:
    def __init__(self, at: AtCluster, client: Any, key: str) -> None:
        self._at, self._client, self._key = at, client, key
        self._last_words = _LastWords()
        logging.getLogger("tinker").addHandler(self._last_words)

    def new(self, *, rank: int, seed: int) -> TinkerLearner:
        make = self._client.create_lora_training_client
        made = self.asked("fresh adapters", lambda: make(self._at.model, rank=rank, seed=seed & _SEEDS))
        return TinkerLearner(self, made)

    def from_state(self, name: str, *, moments: bool) -> TinkerLearner:
        load = (
            self._client.create_training_client_from_state_with_optimizer
            if moments
            else self._client.create_training_client_from_state
        )
        return TinkerLearner(self, self.asked(f"the weights {name}", lambda: load(name)))

    def drawer(self, name: str | None) -> TinkerDrawer:
        client = self.asked(
            f"{name or self._at.model} to draw from",
            lambda: self._client.create_sampling_client(model_path=name, base_model=None if name else self._at.model),
        )
        return TinkerDrawer(self, client)

    def asked(self, what: str, ask: Callable[[], Any]) -> Any:
        """What the package's future gives that ``ask`` makes. The package may wait already while it is made, so both
        are done in a thread that can be left behind."""
        told: Future[Any] = Future()

        def work() -> None:
            try:
                told.set_result(ask().result())
            except BaseException as error:  # the boundary to the package, which raises what it likes
                told.set_exception(error)

        threading.Thread(target=work, name="asking the cluster", daemon=True).start()
        return self.waited(what, told)

    def waited(self, what: str, future: Future[T]) -> T:
        try:
            return future.result(self._at.seconds)
        except Exception as error:  # the boundary to the package
            raise self.problem(what, error) from None

    def problem(self, what: str, error: BaseException) -> ClusterError:
        """A fault of the package as one that says what was asked for, what was said, and what to do."""
        status = getattr(error, "status_code", None) or getattr(error.__cause__, "status_code", None)
        said = _words(error)
        advice = _ADVICE.get(status or 0, "train again, which goes on from the last checkpoint")
        if isinstance(error, TimeoutError):
            said = f"no answer within {self._at.seconds:g} s"
            advice = "give it more time with engine.seconds, or train again, which goes on from the last checkpoint"
            if self._last_words.text:
                said += f"; it last said: {self._last_words.text}"
        elif status:
            said = f"HTTP {status}, {said}"
        where = self._at.base_url or "of the package tinker"
        text = f"the cluster {where}, asked for {what}: {shortened(' '.join(said.split()), 300)}. {advice}"
        return ClusterError(text.replace(self._key, "[key]") if self._key else text)


class TinkerLearner:
    def __init__(self, cluster: TinkerCluster, client: Any) -> None:
        self._cluster, self._client = cluster, client

    def logps(self, rows: Sequence[IdArray]) -> list[Numbers]:
        return self._passed("log-probabilities", rows, [np.zeros(len(row)) for row in rows], self._client.forward)

    def backward(self, rows: Sequence[IdArray], weights: Sequence[Numbers]) -> None:
        self._passed("a gradient", rows, weights, self._client.forward_backward)

    def update(self, rate: float, optimiser: Optimiser) -> None:
        from tinker import types

        params = types.AdamParams(
            learning_rate=rate,
            beta1=optimiser.betas[0],
            beta2=optimiser.betas[1],
            eps=_EPS,
            weight_decay=optimiser.weight_decay,
            grad_clip_norm=optimiser.clip_norm,
        )
        self._cluster.asked("an update", lambda: self._client.optim_step(params))

    def save(self, name: str) -> str:
        return str(self._cluster.asked("a checkpoint", lambda: self._client.save_state(name)).path)

    def save_to_draw(self, name: str) -> str:
        what = "weights to keep and draw from"
        return str(self._cluster.asked(what, lambda: self._client.save_weights_for_sampler(name)).path)

    def drawer(self) -> TinkerDrawer:
        client = self._cluster.asked("weights to draw from", self._client.save_weights_and_get_sampling_client)
        return TinkerDrawer(self._cluster, client)

    def _passed(
        self, what: str, rows: Sequence[IdArray], weights: Sequence[Numbers], verb: Callable[..., Any]
    ) -> list[Numbers]:
        """The log-probabilities that a pass over the rows gives; their cross-entropy is weighted."""
        from tinker import types

        data = [
            types.Datum(
                model_input=types.ModelInput.from_ints(row[:-1].tolist()),
                loss_fn_inputs={
                    "target_tokens": np.ascontiguousarray(row[1:], np.int64),
                    "weights": np.ascontiguousarray(each[1:], np.float32),
                },
            )
            for row, each in zip(rows, weights, strict=True)
        ]
        found = self._cluster.asked(what, lambda: verb(data, "cross_entropy")).loss_fn_outputs
        if len(found) != len(rows):
            raise self._cluster.problem(what, ValueError(f"it gave {len(found)} rows for {len(rows)}"))
        told = [np.concatenate([[0.0], np.asarray(each["logprobs"].data, np.float64)]) for each in found]
        for row, logp in zip(rows, told, strict=True):
            if len(logp) != len(row):
                why = ValueError(f"it gave {len(logp) - 1} log-probabilities for {len(row) - 1} tokens")
                raise self._cluster.problem(what, why)
        return told


class TinkerDrawer:
    def __init__(self, cluster: TinkerCluster, client: Any) -> None:
        self._cluster, self._client = cluster, client

    def draw(
        self, ids: Ids, attempts: int, *, seed: int, limit: int, sampling: Sampling, ends: Sequence[int]
    ) -> Future[list[Drawn]]:
        from tinker import types

        params = types.SamplingParams(
            max_tokens=limit,
            seed=seed & _SEEDS,
            stop=list(ends),
            temperature=sampling.temperature,
            top_k=sampling.top_k or -1,
            top_p=sampling.top_p,
        )
        drawn: Future[list[Drawn]] = Future()
        asked = self._client.sample(types.ModelInput.from_ints(list(ids)), attempts, params).future()

        def told(done: Future[Any]) -> None:
            with suppress(Exception):  # of one that was given up meanwhile
                try:
                    drawn.set_result(_read(done.result().sequences, attempts, limit))
                except BaseException as error:  # the boundary to the package
                    drawn.set_exception(self._cluster.problem(f"{attempts} completions", error))

        asked.add_done_callback(told)
        return drawn


def _words(error: BaseException) -> str:
    """The cluster's own, where the package passes them on."""
    body = getattr(error, "body", None) or getattr(error.__cause__, "body", None)
    if isinstance(body, dict):
        for name in ("detail", "error", "message"):
            if isinstance(body.get(name), str):
                return str(body[name])
    return str(error).partition(" for self.request_id=")[0] or type(error).__name__


class _LastWords(logging.Handler):
    """What the package said last of waiting: a time-out that does not tell it leaves the user guessing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = shortened(" ".join(record.getMessage().split()), 200)


def _read(sequences: Sequence[Any], attempts: int, limit: int) -> list[Drawn]:
    if len(sequences) != attempts:
        raise ValueError(f"it gave {len(sequences)} completions, wanted {attempts}")
    return [_completion(each, limit) for each in sequences]


def _completion(sequence: Any, limit: int) -> Drawn:
    ids, logp = sequence.tokens, sequence.logprobs
    if len(ids) > limit or any(token < 0 for token in ids):
        raise ValueError(f"it gave {len(ids)} token ids, wanted at most {limit} whole numbers")
    if logp is None or len(logp) != len(ids):
        raise ValueError(f"it gave {len(logp or ())} log-probabilities for {len(ids)} tokens: each needs its own")
    if not all(math.isfinite(each) and LEAST < each < 1e-3 for each in logp):
        raise ValueError("it gave log-probabilities that no drawn token can have: its weights have probably diverged")
    return Drawn(
        ids=tuple(map(int, ids)), logp=tuple(min(0.0, float(each)) for each in logp), ended=str(sequence.stop_reason)
    )
