"""What a task asks and answers as plain text and as words, to compare tasks by. It knows no file.

Marks of a sentence (commas, brackets, quotes) do not tell texts apart. Signs that calculate do ("17 + 25" is not
"17 * 25"), and belong to the word before them, so that a formula is not longer than it reads.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable

from togi.types import Message, Task
from togi.unicode_words import pieces

Words = tuple[str, ...]
CALCULATES = frozenset("*/%&#@\\-")
"""Marks by Unicode that calculate or name in texts that people write."""


def question_of(task: Task) -> str:
    """What is asked, without system messages; raw text is its own question."""
    return _joined(message for message in task.prompt if message.role not in ("system", "developer")) or written_of(
        task
    )


def written_of(task: Task) -> str:
    """The recorded answers."""
    return _joined(message for answer in task.recorded for message in answer)


def whole_of(task: Task) -> str:
    """What is asked and the recorded answers."""
    question, written = question_of(task), written_of(task)
    return question if question == written else "\n".join(filter(None, (question, written)))


def words_of(text: str) -> Words:
    """The words of a text, each with the signs behind it; case, white space and marks do not count."""
    words: list[str] = []
    for piece in pieces(text):
        if piece[0].isalnum() or unicodedata.category(piece[0])[0] not in "PS":
            words.append(piece)
        elif piece in CALCULATES or unicodedata.category(piece[0])[0] == "S":
            words.append(words.pop() + piece if words else piece)
    return tuple(words)


def answer_words(task: Task) -> Words | None:
    """A task's own answer as words; None where it has none. Case and white space do not count."""
    if task.answer is None:
        return None
    answer = task.answer if isinstance(task.answer, str) else json.dumps(task.answer, sort_keys=True)
    return tuple(pieces(answer))


def _joined(messages: Iterable[Message]) -> str:
    return "\n".join(message.content for message in messages if message.content)
