"""One row to one task, by TRL's column names; it does not know where rows come from.

``prompt`` is text or a list of messages; beside it ``completion`` (a demonstration) or ``chosen`` and ``rejected`` (a
preference pair, whose common beginning is the prompt when there is none). ``messages`` is a conversation whose last
assistant message is the demonstration. ``text`` is raw text to learn from. Further columns go to rewards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from togi.data.errors import RowError
from togi.types import Message, Role, Task

COLUMNS = ("prompt", "completion", "messages", "text", "chosen", "rejected")
ROLES = tuple(role for role in get_args(Role) if role != "text")


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """How plain text is asked. Conversations (lists of messages) are taken as they are, but for ``system``.

    ``system`` is put before every task that has no system message. ``template`` is the user's message, with the
    task's text for ``{prompt}``. ``demonstrate`` names a function ``(row) -> completion text`` that writes the
    recorded answer from a row's columns, "/absolute/file.py:function" or "module:function"; it replaces a recorded
    one. ``format`` "chat" asks plain text as a user's message, since most models are chat models; "text" continues it
    as raw text, as TRL does; a completion is what follows it.
    """

    system: str | None = None
    template: str = "{prompt}"
    demonstrate: str | None = None
    format: Literal["chat", "text"] = "chat"

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise ValueError(f'a prompt template holds "{{prompt}}"; got {self.template!r}')
        if self.format == "text" and self.system is not None:
            raise ValueError('raw text has no system message: remove "system", or use format "chat"')


def make_task(
    row: Mapping[str, Any],
    identity: str,
    prompting: Prompting,
    demonstrate: Callable[[dict[str, Any]], str] | None = None,
    *,
    answer_column: str = "answer",
) -> Task:
    """The task of a row. Raises RowError."""
    prompt, recorded = _conversation(row, prompting)
    if demonstrate is not None:
        recorded = ((_answer(_demonstration(demonstrate, row), "demonstrate"),),)
    if any(not answer[-1].content for answer in recorded):
        raise RowError("the recorded answer is empty")
    if prompting.system is not None and prompt and prompt[0].role not in ("system", "developer", "text"):
        prompt = (Message(role="system", content=prompting.system), *prompt)
    taken = {*COLUMNS, answer_column}
    return Task(
        id=identity,
        prompt=prompt,
        answer=row.get(answer_column),
        recorded=recorded,
        info={name: value for name, value in row.items() if name not in taken},
    )


def prompt_key(task: Task) -> str:
    """What is asked as text that is equal for equal questions, whatever the system message; raw text is its own."""
    asked = [message for message in task.prompt if message.role not in ("system", "developer")]
    if not any(message.content for message in asked):
        asked = [message for answer in task.recorded for message in answer]
    return json.dumps([[message.role, message.content] for message in asked])


Conversation = tuple[Message, ...]


def _conversation(row: Mapping[str, Any], prompting: Prompting) -> tuple[Conversation, tuple[Conversation, ...]]:
    present = {name for name in COLUMNS if row.get(name) is not None}
    if "chosen" in present or "rejected" in present:
        return _pair(row, prompting)
    if "prompt" in present:
        prompt = _prompt(row["prompt"], prompting)
        if "completion" not in present:
            return prompt, ()
        return prompt, (_recorded(row["completion"], prompt, "completion"),)
    if "messages" in present:
        messages = _messages(row["messages"], "messages")
        if messages[-1].role != "assistant":
            return messages, ()
        return messages[:-1], (messages[-1:],)
    if "text" in present:
        if not isinstance(row["text"], str) or not row["text"]:
            raise RowError('"text" is text that is not empty')
        return (Message(role="text", content=""),), ((Message(role="assistant", content=row["text"]),),)
    raise RowError(
        f"there is no prompt: a row has prompt, messages, text, or chosen and rejected; this has {', '.join(row)}"
    )


def _pair(row: Mapping[str, Any], prompting: Prompting) -> tuple[Conversation, tuple[Conversation, ...]]:
    if row.get("chosen") is None or row.get("rejected") is None:
        raise RowError("a preference pair has both chosen and rejected")
    if row.get("prompt") is not None:
        prompt = _prompt(row["prompt"], prompting)
        return prompt, tuple(_recorded(row[name], prompt, name) for name in ("chosen", "rejected"))
    chosen, rejected = (_messages(row[name], name) for name in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if shared == 0:
        raise RowError("chosen and rejected begin differently, and there is no prompt")
    return chosen[:shared], (chosen[shared:], rejected[shared:])


def _prompt(value: Any, prompting: Prompting) -> Conversation:
    if isinstance(value, str):
        if not value.strip():
            raise RowError("the prompt is empty")
        role: Role = "user" if prompting.format == "chat" else "text"
        return (Message(role=role, content=prompting.template.replace("{prompt}", value)),)
    if prompting.template != "{prompt}":
        raise RowError("a template is for prompts that are plain text, and this prompt is not")
    messages = _messages(value, "prompt")
    if messages[-1].role == "assistant":
        raise RowError("the last message of a prompt is not the assistant's")
    return messages


def _recorded(value: Any, prompt: Conversation, column: str) -> Conversation:
    if isinstance(value, str):
        return (_answer(value, column),)
    messages = _messages(value, column)
    if len(messages) > len(prompt) and messages[: len(prompt)] == prompt:  # TRL's sets repeat the prompt
        messages = messages[len(prompt) :]
    if messages[-1].role != "assistant":
        raise RowError(f"the last message of \"{column}\" is the assistant's; this is the {messages[-1].role}'s")
    return messages


def _answer(text: Any, column: str) -> Message:
    if not isinstance(text, str):
        raise RowError(f"{column} gave {type(text).__name__}; text was wanted")
    return Message(role="assistant", content=text)


def _messages(value: Any, column: str) -> Conversation:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowError(f'"{column}" is text or a list of messages that is not empty; this is {_show(value)}')
    return tuple(_message(message, column) for message in value)


def _message(value: Any, column: str) -> Message:
    given = {name: each for name, each in value.items() if each is not None} if isinstance(value, Mapping) else {}
    if "role" not in given or "content" not in given:
        hint = '; rename "from" and "value"' if "from" in given else ""
        raise RowError(f'a message of "{column}" has role and content{hint}; this is {_show(value)}')
    if set(given) - {"role", "content"}:
        raise RowError(
            f'messages hold role and content only; "{column}" has {sorted(set(given) - {"role", "content"})}'
        )
    if given["role"] not in ROLES:
        raise RowError(f'the role "{given["role"]}" is none of {", ".join(ROLES)}')
    if not isinstance(given["content"], str):
        raise RowError(f'the content of a message is text; "{column}" has {_show(given["content"])}')
    return Message(role=given["role"], content=given["content"])


def _demonstration(demonstrate: Callable[[dict[str, Any]], str], row: Mapping[str, Any]) -> str:
    try:
        return demonstrate(dict(row))
    except Exception as error:  # a user's function on a user's row: say which row
        raise RowError(f"demonstrate raised {type(error).__name__}: {error}") from error


def _show(value: Any) -> str:
    return repr(value)[:80]
