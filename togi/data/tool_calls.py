"""Tools and their calls as rows write them (OpenAI's form, as objects or as JSON text); it renders nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from togi.data.errors import RowError
from togi.types import ToolCall

TOOL = '{"type": "function", "function": {"name": "…", "description": "…", "parameters": {…}}}'
CALL = '{"type": "function", "id": "…", "function": {"name": "…", "arguments": {…}}}'


def read_tools(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """What a model may call, from the column ``tools``, or ``functions`` as older rows have it. Raises RowError."""
    column = "tools" if row.get("tools") is not None else "functions"
    value = _parsed(row.get(column), column)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RowError(f'"{column}" is a list of tools, as objects or JSON text; this is {value!r:.80}')
    return tuple(_tool(_parsed(each, column), column) for each in value)


def read_calls(given: dict[str, Any], column: str) -> tuple[ToolCall, ...]:
    """The calls of a message, which are taken out of ``given``. Raises RowError."""
    calls = _parsed(given.pop("tool_calls", None), "tool_calls") or []
    if "function_call" in given:
        calls = [*calls, given.pop("function_call")]
    if not isinstance(calls, list):
        raise RowError(f'the tool_calls of "{column}" are a list; this is {calls!r:.80}')
    return tuple(_call(_parsed(each, "tool_calls"), column) for each in calls)


def _tool(tool: Any, column: str) -> Mapping[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(f'a tool of "{column}" is {TOOL}; this is {tool!r:.80}')
    return {"type": "function", "function": _without_nulls(function)}


def _call(call: Any, column: str) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(f'a tool call of "{column}" is {CALL}; this is {call!r:.80}')
    given = function.get("arguments")
    arguments: Any = None
    if given is None or given == "":
        arguments = {}
    elif isinstance(given, str) and _is_json(given):
        arguments = json.loads(given)
    elif isinstance(given, Mapping):  # tables give every call the arguments of all others, as nulls
        arguments = _without_nulls(given)
    if not isinstance(arguments, dict):
        raise RowError(f"the arguments of a tool call are an object, or its JSON text; these are {given!r:.80}")
    identity = call.get("id")
    return ToolCall(
        name=function["name"],
        arguments=json.dumps(arguments, ensure_ascii=False),
        id=identity if isinstance(identity, str) else "",
    )


def _parsed(value: Any, column: str) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    if not _is_json(value):
        raise RowError(f'"{column}" is text that is not JSON: {value!r:.80}')
    return json.loads(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
