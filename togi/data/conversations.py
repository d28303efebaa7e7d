"""A value of a column to messages: plain text, lists of messages, transcripts. It does not know what a row is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from togi.data.errors import RowError
from togi.data.tool_calls import read_calls
from togi.data.transcripts import is_transcript, read_question, read_transcript
from togi.types import Message, Role

ROLES = tuple(role for role in get_args(Role) if role != "text")
SPEAKERS = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
    **dict.fromkeys(("observation", "function_response"), "tool"),
}
"""ShareGPT's speakers, by ours."""
Conversation = tuple[Message, ...]


def read_prompt(value: Any, template: str, *, chat: bool) -> Conversation:
    """What is asked. Text goes through the template, as a user's message or as raw text; messages are taken as they
    are, and so is, in a chat, a transcript that ends with "Assistant:"."""
    if isinstance(value, str):
        if not value.strip():
            raise RowError("the prompt is empty")
        question = read_question(value) if chat else None
        if question is None:
            return (Message(role="user" if chat else "text", content=template.replace("{prompt}", value)),)
        _no_template(template)
        return question
    _no_template(template)
    messages = read_messages(value, "prompt")
    if messages[-1].role == "assistant":
        raise RowError("the last message of a prompt is not the assistant's")
    return messages


def read_answer(value: Any, prompt: Conversation, column: str) -> Conversation:
    """One answer to the prompt, from text or messages; messages may repeat the prompt, as TRL's sets do."""
    if isinstance(value, str):
        return (text_answer(value, column),)
    messages = read_messages([value] if isinstance(value, Mapping) else value, column)
    if len(messages) > len(prompt) and messages[: len(prompt)] == prompt:
        messages = messages[len(prompt) :]
    return check_answer(messages, column)


def read_pair(chosen: Any, rejected: Any, *, chat: bool) -> tuple[Conversation, tuple[Conversation, Conversation]]:
    """A prompt and two answers from two whole conversations: their common beginning is the prompt."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not chat:
            return _raw_pair(chosen, rejected)
        if is_transcript(chosen) and is_transcript(rejected):
            return _common(read_transcript(chosen), read_transcript(rejected))
        raise RowError(
            'there is no prompt: name its column, such as columns = { prompt = "question" }, or use prompt format '
            '"text" to continue raw text, where the common beginning of chosen and rejected is the prompt'
        )
    return _common(read_messages(chosen, "chosen"), read_messages(rejected, "rejected"))


def text_answer(text: Any, column: str) -> Message:
    if not isinstance(text, str):
        raise RowError(f"{column} gave {type(text).__name__}; text was wanted")
    if not text.strip():
        raise RowError(f'the recorded answer is empty (column "{column}")')
    return Message(role="assistant", content=text)


def check_answer(messages: Conversation, column: str) -> Conversation:
    """An answer starts and ends with what the assistant says. Raises RowError."""
    for place, message in (("last", messages[-1]), ("first", messages[0])):
        if message.role != "assistant":
            raise RowError(f"the {place} message of \"{column}\" is the assistant's; this is the {message.role}'s")
    if not messages[-1].tool_calls:
        text_answer(messages[-1].content, column)
    return messages


def read_messages(value: Any, column: str) -> Conversation:
    """A list of objects with role and content. Raises RowError."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowError(f'"{column}" is text or a list of messages that is not empty; this is {show(value)}')
    return tuple(_message(message, column) for message in value)


def show(value: Any) -> str:
    return repr(value)[:80]


def _common(chosen: Conversation, rejected: Conversation) -> tuple[Conversation, tuple[Conversation, Conversation]]:
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if shared == 0:
        raise RowError("chosen and rejected begin differently, and there is no prompt")
    pair = chosen[shared:], rejected[shared:]
    if {pair[0][0].role, pair[1][0].role} != {"assistant"}:
        raise RowError(
            f"chosen and rejected answer different questions: their message {shared + 1} differs and is not the "
            "assistant's in both"
        )
    return chosen[:shared], (check_answer(pair[0], "chosen"), check_answer(pair[1], "rejected"))


def _raw_pair(chosen: str, rejected: str) -> tuple[Conversation, tuple[Conversation, Conversation]]:
    """Raw text: the prompt ends before the first word that differs, and a space before that word is the answer's."""
    end = 0
    while end < min(len(chosen), len(rejected)) and chosen[end] == rejected[end]:
        end += 1
    while end and not (chosen[end - 1].isspace() or all(text[end : end + 1].isspace() for text in (chosen, rejected))):
        end -= 1
    end = len(chosen[:end].rstrip(" "))
    if end == 0:
        raise RowError("chosen and rejected begin differently, and there is no prompt")
    prompt = (Message(role="text", content=chosen[:end]),)
    return prompt, ((text_answer(chosen[end:], "chosen"),), (text_answer(rejected[end:], "rejected"),))


def _no_template(template: str) -> None:
    if template != "{prompt}":
        raise RowError("a template is for prompts that are plain text, and this prompt is not")


def _message(value: Any, column: str) -> Message:
    given = {name: each for name, each in value.items() if each is not None} if isinstance(value, Mapping) else {}
    given = _named(given)
    calls = read_calls(given, column)
    if calls:
        given.setdefault("content", "")
    if "role" not in given or "content" not in given:
        raise RowError(f'a message of "{column}" has role and content (or from and value); this is {show(value)}')
    role = "tool" if given["role"] == "function" else given["role"]
    known = ("role", "content", "tool_call_id", "name") if role == "tool" else ("role", "content")
    if unknown := sorted(set(given) - set(known)):
        raise RowError(
            f'messages hold role and content, and tool_calls or what a tool gave back; "{column}" has {unknown}'
        )
    if role not in ROLES:
        raise RowError(f'the role "{role}" is none of {", ".join(ROLES)}')
    if calls and role != "assistant":
        raise RowError(f'tool_calls are the assistant\'s; "{column}" has some of role "{role}"')
    content = _text(given["content"])
    if content is None:
        raise RowError(f'the content of a message is text; "{column}" has {show(given["content"])}')
    ids = {name: str(given.get(name, "")) for name in ("tool_call_id", "name")}
    return Message(role=cast(Role, role), content=content, tool_calls=calls, **ids)


def _named(given: dict[str, Any]) -> dict[str, Any]:
    """A message under OpenAI's names, from ShareGPT's: "from" says who speaks, and "value" what."""
    if "role" in given or "from" not in given:
        return given
    speaker = given["from"]
    if speaker == "function_call":
        return {"role": "assistant", "tool_calls": given.get("value")}
    named = {"role": SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker}
    return named | {"content" if name == "value" else name: each for name, each in given.items() if name != "from"}


def _text(content: Any) -> str | None:
    """Text, or the text of parts that are all text (OpenAI's form of a message that may hold pictures)."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    if len(parts) < len(content) or not all(isinstance(part, str) for part in parts):
        return None
    return "".join(map(str, parts))
