"""A model at a server: many questions at once, each asked once ever, and never beyond the cap. Knows no prompt wording.

Where the server gives log-probabilities, the verdict is read from them at the place where it stands; else its text is.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from togi.askers.asker import LIKELY, MARK, AskerWarning, Reply, Request
from togi.askers.openai_client import Fault, Server
from togi.askers.reply_cache import ReplyCache, Spent

MOST_LIKELY = 20
"""``top_logprobs``: as many as the protocol allows, since ten ratings must find room among them."""

SILENT = 16
"""Questions that fail one after the other before a call gives up on the rest: a server that is down stays down."""

MOST_TOKENS = 10**9
"""Of one reply; what a server says beyond it is not believed."""

LEAST = -1000.0
"""Log-probabilities are cut here: below it, a float's exponential is 0."""

_SCHEMA = 1  # part of every key: raised when what a kept reply means changes
_MARKED = re.compile(rf"(?:^|\n)[\s*_]*{re.escape(MARK)}[\s*_]*", re.IGNORECASE)
_UNSURE = 0.01  # a probability that may be given to the wrong one of "1" and "10"


@dataclass(frozen=True, kw_only=True)
class Cap:
    """The most that may be used, counted over the life of its cache: ``tokens`` in all, or ``money``.

    Prices are money for a million tokens, of the prompt and of the completion. None is no cap. What is under way when
    a cap is reached is finished, so it may be passed by one question for each that is asked at the same time.
    """

    tokens: int | None = None
    money: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def cost(self, spent: Spent) -> float:
        return (spent.prompt_tokens * self.input_price + spent.completion_tokens * self.output_price) / 1e6

    def reached(self, spent: Spent) -> str | None:
        """What to say once a cap is reached."""
        tokens = spent.prompt_tokens + spent.completion_tokens
        if self.tokens is not None and tokens >= self.tokens:
            return f"the cap of {self.tokens} tokens is reached ({tokens} used)"
        if self.money is not None and self.cost(spent) >= self.money:
            return f"the cap of {self.money:g} is reached ({self.cost(spent):.4g} spent)"
        return None


class Endpoint:
    """The model named ``model`` at a server. ``asked`` counts questions that went out, ``kept`` those the cache had."""

    def __init__(
        self, server: Server, base_url: str, model: str, cache: ReplyCache, *, cap: Cap, concurrency: int = 8
    ) -> None:
        self.asked = self.kept = 0
        self._server, self._model, self._cache, self._cap = server, model, cache, cap
        self._judge = f"{base_url.rstrip('/')} {model}"
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._spent = Spent()
        self._failed = 0
        self._told = False

    @property
    def spent(self) -> Spent:
        """What this model used, in this run and before."""
        return self._cache.spent(self._judge)

    @property
    def cost(self) -> float:
        """The money of ``spent``, at the cap's prices."""
        return self._cap.cost(self.spent)

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        keys = [self._key(question) for question in questions]
        replies: dict[str, Reply] = {}
        missing: dict[str, Request] = {}
        for key, question in zip(keys, questions, strict=True):
            if key in replies or key in missing:
                continue
            kept = self._cache.get(key)
            if kept is None:
                missing[key] = question
            else:
                replies[key] = kept
        self.kept += len(replies)
        replies |= self._ask(missing)
        found = [replies[key] for key in keys]
        self._tell(questions, found)
        return found

    def _ask(self, missing: Mapping[str, Request]) -> dict[str, Reply]:
        if not missing:
            return {}
        self._spent, self._failed = self.spent, 0
        pool = ThreadPoolExecutor(min(self._concurrency, len(missing)), thread_name_prefix="asking")
        try:
            return dict(zip(missing, pool.map(self._one, missing.keys(), missing.values()), strict=True))
        except BaseException:
            # What is under way is paid for: it is waited for and kept, but nothing is asked again.
            self._server.stopped.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._server.stopped.clear()

    def _one(self, key: str, question: Request) -> Reply:
        with self._lock:
            reached, failed = self._cap.reached(self._spent), self._failed
        if reached:
            return Reply(status="abstain", note=reached)
        if failed >= SILENT:
            return Reply(status="error", note=f"not asked, since {SILENT} questions before it failed")
        try:
            reply = self._server.ask(self._payload(question), lambda answer: read_answer(answer, question))
        except Fault as fault:
            with self._lock:
                self._failed += 1
            return Reply(status=fault.status, note=fault.note)
        self._cache.put(key, self._judge, reply)
        with self._lock:
            self.asked += 1
            self._failed = 0
            self._spent = Spent(
                replies=self._spent.replies + 1,
                prompt_tokens=self._spent.prompt_tokens + reply.prompt_tokens,
                completion_tokens=self._spent.completion_tokens + reply.completion_tokens,
            )
        return reply

    def _payload(self, question: Request) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in question.messages],
            "temperature": question.temperature or 0,
            "max_tokens": question.max_tokens,
        }
        if question.temperature:
            payload["seed"] = question.vote
        return payload | ({"logprobs": True, "top_logprobs": MOST_LIKELY} if question.tokens else {})

    def _key(self, question: Request) -> str:
        whole = [_SCHEMA, self._judge, self._payload(question), question.options, question.reason]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def _tell(self, questions: Sequence[Request], replies: Sequence[Reply]) -> None:
        """Say once that probabilities were wanted and are not there: all verdicts are then all or nothing."""
        pairs = [(q, r) for q, r in zip(questions, replies, strict=True) if q.tokens and r.status == "ok"]
        if self._told or not pairs or any(reply.logp for _, reply in pairs):
            return
        self._told = True
        warnings.warn(
            f"{self._judge} gives no usable log-probabilities: verdicts are read from its text, as with "
            'verdict="text", and are all or nothing.',
            AskerWarning,
            stacklevel=3,
        )


def read_answer(answer: Any, question: Request) -> Reply:
    """A chat completion as a reply. Raises Fault when it is none; a refusal is a reply without text."""
    try:
        choice = answer["choices"][0]
        content = choice["message"].get("content")
        refusal = choice["message"].get("refusal")
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Fault("the answer is no chat completion: it has no choices[0].message", again=True) from None
    text = content if isinstance(content, str) else ""
    if not text and isinstance(refusal, str):
        text = f"refused: {refusal}"
    # JSON may hold half of a surrogate pair, which no file can.
    text = text.encode("utf-8", "replace").decode()
    prompt, completion = _usage(answer)
    return Reply(
        text=text,
        logp=verdict_logp(_positions(choice.get("logprobs")), question) if question.tokens else {},
        cut=finish == "length",
        prompt_tokens=-(-sum(len(message.content) for message in question.messages) // 3) if prompt is None else prompt,
        completion_tokens=-(-len(text) // 3) if completion is None else completion,
    )


def _usage(answer: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Tokens of prompt and completion; None where the server does not say, which is then taken as 3 letters each."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None, None
    prompt, completion = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return _count(prompt), _count(completion)


def _count(value: Any) -> int | None:
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sound else None


@dataclass(frozen=True, kw_only=True)
class Position:
    """One token of an answer, and the log-probabilities of the likeliest tokens in its place."""

    token: str
    logp: Mapping[str, float]


def _positions(logprobs: Any) -> list[Position]:
    """The tokens of an answer; none when the server gave no log-probabilities or broken ones."""
    rows = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(rows, list):
        return []
    found = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("token"), str):
            return []
        likely: dict[str, float] = {}
        listed = row.get("top_logprobs")
        for entry in [row, *(listed if isinstance(listed, list) else [])]:
            if not isinstance(entry, dict):
                return []
            token, logp = entry.get("token"), entry.get("logprob")
            if not isinstance(token, str) or isinstance(logp, bool) or not isinstance(logp, float | int):
                return []
            if not logp <= 1e-3:
                return []
            likely[token] = float(max(logp, LEAST))
        found.append(Position(token=row["token"], logp=likely))
    return found


def verdict_logp(positions: Sequence[Position], question: Request) -> dict[str, float]:
    """The log-probability of each option where the verdict stands; none when it cannot be told.

    That place is after the last ``Verdict:`` with reasons, and the first token that is not white space without. "10"
    may be one token or two: where the likeliest verdict shows which, its digits are put together; where it stays open
    and matters, nothing is said.
    """
    start = _start(positions, question.reason)
    if start is None:
        return {}
    found: dict[str, float] = {}
    for token, logp in positions[start].logp.items():
        option = token.strip()
        if option in question.options:
            found[option] = math.log(math.exp(found.get(option, -math.inf)) + math.exp(max(logp, -700.0)))
    if not found or sum(map(math.exp, found.values())) < LIKELY:
        return {}
    for longer in (option for option in question.options if option not in found):
        head = next((short for short in found if longer.startswith(short)), None)
        if head is None:
            continue
        following = positions[start + 1] if start + 1 < len(positions) else None
        if positions[start].token.strip() == head:
            rest = following.logp.get(longer.removeprefix(head)) if following else None
            if rest is not None:
                both = found[head] + rest
                left = math.exp(found[head]) - math.exp(both)
                found[longer] = both
                found[head] = math.log(left) if left > 0 else -math.inf
        elif math.exp(found[head]) > _UNSURE:
            return {}
    return {option: logp for option, logp in found.items() if logp > -math.inf}


def _start(positions: Sequence[Position], reason: bool) -> int | None:
    if not reason:
        return next((i for i, position in enumerate(positions) if position.token.strip()), None)
    text = "".join(position.token for position in positions)
    marks = list(_MARKED.finditer(text))
    if not marks:
        return None
    at = 0
    for i, position in enumerate(positions):
        at += len(position.token)
        if at > marks[-1].end():
            return i
    return None
