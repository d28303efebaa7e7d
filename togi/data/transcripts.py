"""Anthropic's transcripts ("\\n\\nHuman: … \\n\\nAssistant: …") to messages; it does not know which turn is an answer.

The form is that of Bai et al. 2022 (arXiv:2204.05862). A turn starts at the beginning of a paragraph and the speakers
take turns, so "Human:" inside a paragraph, or in a turn of the human's own, is text. Space around a turn is no part
of it; a turn may be empty. What stands before the first turn is not allowed.
"""

from __future__ import annotations

import re

from togi.data.errors import RowError
from togi.types import Message, Role

ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_OPENING = re.compile(r"\s*Human:")
_TURN = re.compile(r"(?:\A\s*|\r?\n\r?\n)(Human|Assistant):")


def is_transcript(text: str) -> bool:
    """Whether the text opens with a human's turn and has an assistant's: a lone "Human:" is an ordinary word."""
    return bool(_OPENING.match(text)) and "Assistant" in _TURN.findall(text)


def read_transcript(text: str) -> tuple[Message, ...]:
    """The turns, the human's first. Raises RowError when the text is no transcript."""
    if not _OPENING.match(text):
        raise RowError(f'a transcript starts with "Human:"; this one with {text[:40]!r}')
    messages: list[Message] = []
    starts = list(_TURN.finditer(text))
    turns = starts[:1]
    for found in starts[1:]:
        if found[1] != turns[-1][1]:
            turns.append(found)
    ends = [found.start() for found in turns[1:]] + [len(text)]
    for found, end in zip(turns, ends, strict=True):
        messages.append(Message(role=ROLES[found[1]], content=text[found.end() : end].strip()))
    return tuple(messages)


def read_question(text: str) -> tuple[Message, ...] | None:
    """The turns of a transcript that ends where the assistant is to answer ("…\\n\\nAssistant:"), else None."""
    if not is_transcript(text):
        return None
    messages = read_transcript(text)
    return messages[:-1] if messages[-1] == Message(role="assistant", content="") else None
