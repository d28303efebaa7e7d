"""The calls in what a model wrote, in the forms of the model families. It runs no tool, and never raises.

Read are: ``<tool_call>{"name": …, "arguments": {…}}</tool_call>`` (Hermes, Qwen 2.5 and 3, and Togi's own plain form),
``<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`` (Qwen 3 Coder), and an answer
that is nothing but ``{"name": …, "parameters": {…}}`` (Llama 3). What stands in a thought calls nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.tools.tool import Call, Description

OPEN, CLOSE = "<tool_call>", "</tool_call>"
LONGEST = 100_000  # characters of one call
FUNCTION = re.compile(r"<function=([^<>\n]+)>(.*)", re.DOTALL)
PARAMETER = re.compile(r"\s*<parameter=([^<>\n]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)
FORM = 'write it as <tool_call>{"name": "…", "arguments": {…}}</tool_call>'


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a turn says beside its calls, and the calls in their order."""

    content: str
    calls: tuple[Call, ...] = ()


def read_calls(text: str, tools: Sequence[Description]) -> Said:
    """What follows the thought of a turn. A thought that was not ended says nothing and calls nothing."""
    thought, closed, rest = text.rpartition("</think>")
    if "<think>" in rest or (not closed and "<think>" in thought):
        return Said(content="")
    if OPEN not in rest:
        whole = _as_whole(rest)
        return Said(content=rest.strip()) if whole is None else Said(content="", calls=(whole,))
    before, *pieces = rest.split(OPEN)
    content, calls = [before], list[Call]()
    for piece in pieces:
        body, ended, after = piece.partition(CLOSE)
        content.append(after)
        calls.append(_call(body, tools) if ended else Call(problem=f"the call was not ended: close it with {CLOSE}"))
    return Said(content="".join(content).strip(), calls=tuple(calls))


def _as_whole(text: str) -> Call | None:
    """An answer that is a call and nothing else, as Llama 3 writes it; None where it is any other text."""
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")) or len(text) > LONGEST:
        return None
    value = _json(text)
    if (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and ("parameters" in value or "arguments" in value)
    ):
        return _named(value)
    return None


def _call(body: str, tools: Sequence[Description]) -> Call:
    if len(body) > LONGEST:
        return Call(problem=f"the call has more than {LONGEST:,} characters")
    if found := FUNCTION.fullmatch(body.strip()):
        return _tagged(found[1].strip(), found[2].removesuffix("</function>"), tools)
    value = _json(body)
    if not isinstance(value, dict):
        return Call(problem=f"the call is not a JSON object: {FORM}")
    return _named(value)


def _json(text: str) -> Any:
    """None for what is no JSON, and for what has no text to be told on as: half of a surrogate pair, which can be
    written as an escape, and numbers that are none."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value


def _named(value: Mapping[str, Any]) -> Call:
    name = value.get("name")
    if not isinstance(name, str) or not name:
        return Call(problem=f"the call names no tool: {FORM}")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # an object written as text, as in OpenAI's protocol
        arguments = _json(arguments)
    if not isinstance(arguments, dict):
        return Call(name=name, problem="the arguments are not a JSON object")
    return Call(name=name, arguments=arguments)


def _tagged(name: str, body: str, tools: Sequence[Description]) -> Call:
    """A call whose arguments stand in tags, unquoted: what is no text by the tool's schema is read as JSON."""
    types = {tool.name: tool.parameters.get("properties", {}) for tool in tools}.get(name, {})
    arguments: dict[str, Any] = {}
    at = 0
    while found := PARAMETER.match(body, at):
        key, value = found[1].strip(), found[2]
        read = value if types.get(key, {}).get("type") == "string" else _json(value)
        arguments[key] = value if read is None else read
        at = found.end()
    if body[at:].strip():
        return Call(name=name, problem="between the parameters stands something that is no <parameter=…>…</parameter>")
    return Call(name=name, arguments=arguments)


def written(name: str, arguments: str) -> str:
    """A call in the plain form; ``arguments`` is a JSON object as text."""
    return f'{OPEN}{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments}}}{CLOSE}'
