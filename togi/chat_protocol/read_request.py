"""Reads a request for completions, and refuses by name what this server does not do. It knows no model and no HTTP.

What a request may say is refused, never passed over: a client that asked for something gets it, or is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError

from togi.data.conversations import read_messages
from togi.data.errors import RowError
from togi.data.tool_calls import read_tools
from togi.types import Message, Sampling

MOST_MESSAGES = 512
MOST_CHOICES = 16
MOST_TOOLS = 64

NOTHING_ASKED: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "modalities": (["text"],),
    "echo": (False,),
    "suffix": ("",),
}
"""Parameters that are not built, with the values that ask for nothing: clients send them unasked."""

Text = Annotated[str, Field(min_length=1, max_length=256)]
Number = StrictFloat | StrictInt


class Refusal(ValueError):
    """A request that is not answered: HTTP status, the parameter that is to blame, and OpenAI's code for it."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked: messages (one of role ``text`` for a bare completion), how often, and how it is drawn.

    ``seed`` is None where the client does not care; ``usage`` asks for the token counts at a stream's end.
    """

    chat: bool
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    sampling: Sampling
    choices: int = 1
    seed: int | None = None
    stream: bool = False
    usage: bool = False
    logprobs: bool = False


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool = False


class _Drawn(BaseModel):
    """What chat and bare completions have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: str
    n: int = Field(1, ge=1, le=MOST_CHOICES)
    temperature: Number = Field(1.0, ge=0, le=2)
    top_p: Number = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=1 << 31)
    min_p: Number = Field(0.0, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    stop: Text | Annotated[list[Text], Field(max_length=16)] = Field(default_factory=list)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 64)
    stream: bool = False
    stream_options: _StreamOptions | None = None


class _Chat(_Drawn):
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=MOST_MESSAGES)
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=MOST_TOOLS)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False


class _Bare(_Drawn):
    prompt: str = Field(min_length=1)


Body = TypeVar("Body", bound=_Drawn)


def read_chat(body: bytes, model: str, most_tokens: int) -> Request:
    """A request to ``/v1/chat/completions``. Raises Refusal."""
    asked = _checked(_Chat, body, model)
    if asked.max_tokens and asked.max_completion_tokens and asked.max_tokens != asked.max_completion_tokens:
        raise Refusal("max_tokens and max_completion_tokens say different things: give one", param="max_tokens")
    try:
        messages = read_messages(asked.messages, "messages")
    except (RowError, RecursionError) as error:
        raise Refusal(_too_deep(error), param="messages") from None
    try:
        tools = read_tools({"tools": asked.tools})
    except (RowError, RecursionError) as error:
        raise Refusal(_too_deep(error), param="tools") from None
    limit = "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"
    return Request(
        chat=True,
        messages=messages,
        tools=tools,
        logprobs=asked.logprobs,
        **_drawn(asked, limit, asked.max_completion_tokens or asked.max_tokens, most_tokens),
    )


def _too_deep(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def read_bare(body: bytes, model: str, most_tokens: int) -> Request:
    """A request to ``/v1/completions``: text to go on from, without a chat template. Raises Refusal."""
    asked = _checked(_Bare, body, model)
    message = Message(role="text", content=asked.prompt)
    return Request(chat=False, messages=(message,), **_drawn(asked, "max_tokens", asked.max_tokens, most_tokens))


def _drawn(asked: _Drawn, limit: str, tokens: int | None, most: int) -> dict[str, Any]:
    if tokens is not None and tokens > most:
        raise Refusal(f"{limit} is {tokens}; this server writes at most {most} tokens an answer", param=limit)
    if asked.stream_options is not None and not asked.stream:
        raise Refusal("stream_options are for streams: add stream, or leave them out", param="stream_options")
    return {
        "sampling": Sampling(
            max_tokens=tokens or most,
            temperature=float(asked.temperature),
            top_p=float(asked.top_p),
            top_k=asked.top_k,
            min_p=float(asked.min_p),
            stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop),
        ),
        "choices": asked.n,
        "seed": asked.seed,
        "stream": asked.stream,
        "usage": asked.stream_options is not None and asked.stream_options.include_usage,
    }


def _checked(form: type[Body], body: bytes, model: str) -> Body:
    values = _parsed(body)
    given = {
        name: value
        for name, value in values.items()
        if value is not None and not any(_same(value, each) for each in NOTHING_ASKED.get(name, ()))
    }
    try:
        asked = form.model_validate(given)
    except ValidationError as error:
        raise _refused(error.errors(include_url=False, include_context=False)) from None
    if asked.model != model:
        raise Refusal(
            f"there is no model {asked.model[:100]!r} here; this server has {model!r}",
            status=404,
            param="model",
            code="model_not_found",
        )
    return asked


def _same(given: Any, neutral: Any) -> bool:
    """Whether both are equal, and both or neither a truth value, which Python takes for 0 and 1."""
    return isinstance(given, bool) == isinstance(neutral, bool) and bool(given == neutral)


def _refused(errors: Sequence[Any]) -> Refusal:
    """The first fault; of an unknown parameter before others, since its name may be what is misspelt."""
    error = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    name = str(error["loc"][0]) if error["loc"] else None
    if error["type"] == "extra_forbidden":
        what = ".".join(str(part) for part in error["loc"])[:100]
        return Refusal(f"{what!r} is not supported by this server", param=what, code="unsupported_parameter")
    if error["type"] == "missing":
        return Refusal(f"{name} is missing", param=name, code="missing_required_parameter")
    return Refusal(f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}", param=name, code="invalid_value")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once)
        # Half of a surrogate pair can be written as an escape, and nothing could encode it later.
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else f"is no sound JSON: {_reason(error)}"
        raise Refusal(f"the body {what}") from None
    if not isinstance(values, dict):
        raise Refusal("the body is a JSON object with the request's parameters")
    return values


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it holds text that is not UTF-8, or half of a surrogate pair"
    return str(error)[:200]


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return values
