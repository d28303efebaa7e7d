"""A server that speaks OpenAI's completions protocol with vLLM's additions: tokens in, tokens and log-probabilities
out. It knows the protocol's words; it knows no policy, no episode, and not what a completion is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from togi.askers.openai_client import CalledOff, Fault, Patience, Server
from togi.engines.engine_choice import AtServer
from togi.types import Ids, Sampling

LEAST = -1000.0
"""A token of such a log-probability is never drawn; servers write it where theirs is not finite."""
_SEEDS = (1 << 63) - 1  # the largest seed of the protocol


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A completion; ``ended`` says why it ended, in the server's words."""

    ids: Ids
    logp: tuple[float, ...]
    ended: str


class ServerFault(ValueError):
    """What a server did not do; ``again`` says that it may do it when it is asked once more."""

    def __init__(self, note: str, *, again: bool) -> None:
        super().__init__(note)
        self.again = again


class CompletionsServer:
    """Every method raises ServerFault, naming the server, where it does not do what it is asked for.

    It is asked several times, as long as that may help, unless ``attempts`` says how often; ``key`` goes before the one
    that the environment holds."""

    def __init__(self, at: AtServer, *, key: str = "", attempts: int = Patience.attempts) -> None:
        patience = Patience(attempts=attempts, seconds=at.seconds, total_seconds=2 * at.seconds)
        self._server = Server(at.base_url, key_env=at.key_env, key=key, patience=patience)
        self._at = at

    def complete(
        self,
        model: str,
        ids: Ids,
        *,
        seed: int,
        limit: int,
        sampling: Sampling,
        ends: Iterable[int],
        off: CalledOff | None = None,
    ) -> Drawn:
        """At most ``limit`` tokens after ``ids``, up to one that ``ends`` the turn or to a stop string, unless they are
        called ``off``."""
        payload = {
            "model": model,
            "prompt": list(ids),
            "max_tokens": limit,
            "seed": seed & _SEEDS,
            "stop": list(sampling.stop),
            "stop_token_ids": [] if sampling.ignore_eos else sorted(ends),
            "ignore_eos": sampling.ignore_eos,
            "logprobs": 0,
            "return_token_ids": True,
        }
        try:
            return self._server.ask(
                payload | _distribution(sampling),
                lambda answer: _drawn(answer, ids, limit),
                path="/completions",
                off=off,
            )
        except Fault as fault:
            raise self._problem(fault) from None

    def load_adapter(self, name: str, path: str, checksum: str) -> None:
        """From now on ``name`` is the model with the adapter in the folder ``path``. Togi's own engine looks at its
        checksum; vLLM does not."""
        told = {"lora_name": name, "lora_path": path, "sha256": checksum}
        try:
            self._server.tell(told, path="/load_lora_adapter")
        except Fault as fault:
            raise ServerFault(
                f"{self._problem(fault)}. Weights reach it as adapters: start vLLM with --enable-lora, a "
                "--max-lora-rank of at least model.lora.rank and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, where it can "
                f"read {path} (engine.adapters names a folder that both can read)",
                again=fault.again,
            ) from None

    def load_weights(self, name: str, file: str, checksum: str) -> None:
        """From now on ``name`` is the model with the weights in ``file``, once what it draws has ended; no other name
        is."""
        try:
            self._server.tell({"name": name, "file": file, "sha256": checksum}, path="/load_weights")
        except Fault as fault:
            raise self._problem(fault) from None

    def unload_adapter(self, name: str) -> None:
        try:
            self._server.tell({"lora_name": name}, path="/unload_lora_adapter")
        except Fault as fault:
            raise self._problem(fault) from None

    def _problem(self, fault: Fault) -> ServerFault:
        return ServerFault(f"the engine at {self._at.base_url}: {fault.note}", again=fault.again)


def _distribution(sampling: Sampling) -> dict[str, float]:
    """Every setting by name, since a server takes those that are left out from the model's folder."""
    greedy = sampling.temperature == 0
    return {
        "temperature": sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        "top_k": 0 if greedy else sampling.top_k,
        "min_p": 0.0 if greedy else sampling.min_p,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def _drawn(answer: Any, prompt: Ids, limit: int) -> Drawn:
    """Raises Fault for an answer without usable tokens and log-probabilities."""
    choice = answer["choices"][0]
    ids, said = choice.get("token_ids"), choice.get("logprobs")
    if not isinstance(ids, list):
        raise Fault("it gives no token ids: vLLM does from 0.10.2 on (return_token_ids)")
    if not all(isinstance(token, int) and token >= 0 for token in ids) or len(ids) > limit:
        raise Fault(f"{len(ids)} token ids, wanted at most {limit} whole numbers")
    read = choice.get("prompt_token_ids")
    if read is not None and tuple(read) != prompt:
        raise Fault(
            f"it went on from a prompt of {len(read)} tokens, which is not the one of {len(prompt)} it was given"
        )
    logp = said.get("token_logprobs") if isinstance(said, dict) else None
    if logp is None or len(logp) != len(ids):
        raise Fault(f"{len(logp or ())} log-probabilities for {len(ids)} tokens: it must give that of each (logprobs)")
    if not all(isinstance(each, float | int) and math.isfinite(each) and LEAST < each < 1e-3 for each in logp):
        raise Fault("log-probabilities that no drawn token can have: its weights have probably diverged")
    ended = ", ".join(str(choice[name]) for name in ("finish_reason", "stop_reason") if choice.get(name) is not None)
    return Drawn(ids=tuple(ids), logp=tuple(min(0.0, float(each)) for each in logp), ended=ended)
