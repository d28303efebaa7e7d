"""Lays answers and errors out as OpenAI's protocol has them. It knows no engine and no HTTP."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from togi.chat_protocol.read_request import Refusal, Request
from togi.types import Message, Stop, Turn

FINISHED: Mapping[Stop, str] = {"eos": "stop", "stop_string": "stop", "length": "length", "context": "length"}
Drawn = Sequence[tuple[str, float]]


def as_json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")


def error_body(refusal: Refusal) -> dict[str, Any]:
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    return {"error": {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}}


def chat_answer(model: str, said: Message) -> dict[str, Any]:
    """One whole message of the assistant, its calls of tools as such. How many tokens it has is not told."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in said.tool_calls
    ]
    message: dict[str, Any] = {"role": "assistant", "content": said.content if said.content or not calls else None}
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {**message, "refusal": None, **({"tool_calls": calls} if calls else {})},
                "finish_reason": "tool_calls" if calls else "stop",
                "logprobs": None,
            }
        ],
    }


def model_list(model: str, created: int) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": model, "object": "model", "created": created, "owned_by": "togi"}]}


def usage(prompt_tokens: int, turns: Sequence[Turn]) -> dict[str, int]:
    """Tokens read and drawn, the end token included."""
    drawn = sum(len(turn.completion) for turn in turns)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": drawn, "total_tokens": prompt_tokens + drawn}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The form of one request's answers; ``opening`` is what the chat template began them with."""

    request: Request
    model: str
    fingerprint: str
    opening: str
    made: int = field(default_factory=lambda: int(time.time()))
    mark: str = field(default_factory=lambda: secrets.token_hex(12))

    def whole(self, turns: Sequence[Turn], drawn: Sequence[Drawn], prompt_tokens: int) -> dict[str, Any]:
        """The answer that is not streamed."""
        choices = []
        for index, turn in enumerate(turns):
            text = self.opening + turn.text
            said = (
                {"message": {"role": "assistant", "content": text, "refusal": None}} if self._chat else {"text": text}
            )
            choices.append(
                {"index": index, **said, **self._ending(turn.stop), "logprobs": self._logprobs(drawn[index])}
            )
        return {**self._head(""), "choices": choices, "usage": usage(prompt_tokens, turns)}

    def first(self, choice: int) -> dict[str, Any]:
        """Opens a choice of a stream."""
        return self._chunk(choice, self.opening, None, {"role": "assistant"})

    def piece(self, choice: int, text: str, drawn: Drawn) -> dict[str, Any]:
        return self._chunk(choice, text, self._logprobs(drawn))

    def last(self, choice: int, turn: Turn) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        ending = {"index": choice, **said, **self._ending(turn.stop), "logprobs": None}
        return {**self._head(".chunk"), "choices": [ending]}

    def counts(self, turns: Sequence[Turn], prompt_tokens: int) -> dict[str, Any]:
        return {**self._head(".chunk"), "choices": [], "usage": usage(prompt_tokens, turns)}

    @property
    def _chat(self) -> bool:
        return self.request.chat

    def _head(self, form: str) -> dict[str, Any]:
        kind, prefix = (f"chat.completion{form}", "chatcmpl") if self._chat else ("text_completion", "cmpl")
        head = {"id": f"{prefix}-{self.mark}", "object": kind, "created": self.made, "model": self.model}
        return head | {"system_fingerprint": self.fingerprint}

    def _chunk(self, choice: int, text: str, logprobs: Any, more: Mapping[str, str] | None = None) -> dict[str, Any]:
        said = {"delta": {**(more or {}), "content": text}} if self._chat else {"text": text}
        return {
            **self._head(".chunk"),
            "choices": [{"index": choice, **said, "finish_reason": None, "logprobs": logprobs}],
        }

    def _ending(self, stop: Stop) -> dict[str, str]:
        return {"finish_reason": FINISHED[stop]}

    def _logprobs(self, drawn: Drawn) -> dict[str, Any] | None:
        if not self.request.logprobs:
            return None
        rows: list[dict[str, Any]] = [
            {"token": token, "logprob": logp, "bytes": None, "top_logprobs": []} for token, logp in drawn
        ]
        return {"content": rows}
