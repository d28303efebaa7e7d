"""What messages hold, inside a chat template: control tokens are hidden from it, tool calls are laid out as templates
read them, and what it leaves out is refused. It knows no tokenizer and renders nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from togi.types import Message, ToolCall

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# What whoever renders gives by itself, and what would change how it renders.
_TAKEN = frozenset(
    {"messages", "tools", "documents", "conversations", "chat_template", "add_generation_prompt"}
    | {"continue_final_message", "return_assistant_tokens_mask"}
    | {f"{kind}_token" for kind in ("bos", "eos", "pad", "unk", "sep", "cls", "mask")}
)
_MARKS = re.compile("[\ufdd0-\ufdef]")  # noncharacters, of which marks are made
NO_TOOLS = "take a model whose template has them, or rows without tools"


class Fence:
    """Hides the control tokens written inside data behind marks that occur nowhere in that data."""

    def __init__(self, control: re.Pattern[str], contents: Sequence[str]) -> None:
        self._control = control
        number = 0
        while any(f"\ufdd0{number}." in content for content in contents):
            number += 1
        self._open = f"\ufdd0{number}."
        self._mark = re.compile(re.escape(self._open) + "([0-9]+)\ufdd1")
        self._hidden: list[str] = []

    def hide(self, text: str) -> str:
        return self._control.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        self._hidden.append(match[0])
        return f"{self._open}{len(self._hidden) - 1}\ufdd1"

    def split(self, rendered: str) -> list[tuple[str, str]]:
        """Pairs of text and the hidden control token that follows it (empty after the last)."""
        parts = self._mark.split(rendered)
        hidden = [self._hidden[int(index)] for index in parts[1::2]]
        return list(zip(parts[::2], [*hidden, ""], strict=True))


def hide_in(message: Message, fence: Fence) -> Message:
    """The message with the control tokens in all of its texts hidden."""
    calls = tuple(
        ToolCall(name=fence.hide(call.name), arguments=fence.hide(call.arguments), id=fence.hide(call.id))
        for call in message.tool_calls
    )
    return replace(
        message,
        content=fence.hide(message.content),
        name=fence.hide(message.name),
        tool_call_id=fence.hide(message.tool_call_id),
        tool_calls=calls,
    )


def data_of(message: Message) -> str:
    """All texts of a message, whoever wrote them."""
    called = (text for call in message.tool_calls for text in (call.name, call.arguments, call.id))
    return "\n".join((message.content, message.name, message.tool_call_id, *called))


def template_row(message: Message, *, parsed: bool = True) -> dict[str, Any]:
    """A message as templates read it: what it does not have is no key of it."""
    calls = [
        {
            "type": "function",
            **({"id": call.id} if call.id else {}),
            "function": {"name": call.name, "arguments": json.loads(call.arguments) if parsed else call.arguments},
        }
        for call in message.tool_calls
    ]
    more = {"tool_calls": calls, "tool_call_id": message.tool_call_id, "name": message.name}
    return {"role": message.role, "content": message.content, **{key: value for key, value in more.items() if value}}


def is_argument(name: str) -> bool:
    """Whether a template's variable of this name may be set from outside."""
    return _NAME.fullmatch(name) is not None and name not in _TAKEN


def reads(template: str, name: str) -> bool:
    """Whether a template speaks of a variable."""
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def texts_in(value: Any) -> Iterator[str]:
    """All texts within a value of JSON, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield name
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)


def refuse_args(args: Mapping[str, Any], template: str, control: re.Pattern[str]) -> None:
    """Raise ValueError for variables that a template never reads, or that would write control tokens."""
    for name in args:
        if not reads(template, name):
            raise ValueError(
                f"{name!r} is set in the row, and the model's chat template never reads it: remove it from the row, or "
                "take a model whose template has it"
            )
    if any(control.search(text) or _MARKS.search(text) for text in texts_in(args)):
        raise ValueError("the row's template arguments hold a control token, which only the template itself may write")


def refuse_left_out(messages: Sequence[Message], rendered: str) -> None:
    """Raise ValueError for a message, or a tool call of one, that is not in the text of a template.

    What the assistant said may be left out: templates drop earlier thoughts.
    """
    for message in messages:
        text = message.content.strip()
        quoted = json.dumps(message.content, ensure_ascii=False)  # some templates write what a tool gave back so
        if message.role != "assistant" and text not in rendered and quoted not in rendered:
            raise ValueError(
                f"the model's chat template leaves out messages of role {message.role!r}; "
                "put that text into the user message"
            )
        for call in message.tool_calls:
            if not _shows(rendered, call):
                raise ValueError(f"the model's chat template leaves out the tool call {call.name!r}: {NO_TOOLS}")


def _shows(rendered: str, call: ToolCall) -> bool:
    """Whether the text has the call's name, and after it each of its arguments, by name and, if text, by value."""
    _, found, after = rendered.partition(call.name)
    arguments = json.loads(call.arguments)
    texts = [value for value in arguments.values() if isinstance(value, str)]
    whole = found + after
    return bool(found) and all(
        any(form in whole for form in (text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]))
        for text in (*arguments, *texts)
    )
