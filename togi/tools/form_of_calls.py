"""Whether Togi reads the calls that a model's chat template writes: then it reads those of the model, too. It calls no
tool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from togi.tools.read_calls import read_calls
from togi.tools.tool import Description
from togi.types import Message, Task, ToolCall

if TYPE_CHECKING:
    from togi.tokenization import Chat


def check_form(chat: Chat, task: Task) -> None:
    """Has the template write a call of each of the task's tools, and reads it as an environment would: without special
    tokens. Raises ValueError for one that is not read. A template that writes no calls says nothing of their form."""
    chat = chat.of(task)
    for schema in task.tools:
        told = schema["function"]
        tool = Description(name=told["name"], text=told.get("description", ""), parameters=told.get("parameters", {}))
        given = dict.fromkeys(tool.parameters.get("properties", {}), "x")
        call = ToolCall(name=tool.name, arguments=json.dumps(given), id="call_00000")
        try:
            (turn,) = chat.recorded(task.prompt, (Message(role="assistant", content="", tool_calls=(call,)),))
        except ValueError:
            return
        if [(each.name, each.arguments) for each in read_calls(turn.text, [tool]).calls] == [(tool.name, given)]:
            continue
        raise ValueError(
            f"the model's chat template writes a call of the tool {tool.name} as {turn.text.strip()!r:.200} (without "
            'special tokens), and Togi does not read that form: settings = { form = "plain" } tells the model another'
        )
