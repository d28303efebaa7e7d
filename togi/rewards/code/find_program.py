"""The program in a completion, found by its fences; it does not run, parse or judge it."""

from __future__ import annotations

import textwrap

from togi.graders.marks import answer_text

FENCE = "```"
PYTHON = ("python", "python3", "py")


def program(text: str) -> str | None:
    """The last closed ```` ```python ```` block of the answer, else its last block without a language, else all of an
    answer that follows ``</think>`` or stands in ``<answer>``; None when there is no such thing, or it is empty.

    A block that was not closed is no program: the completion was cut off in it. What stands inside the thinking never
    counts, and thinking that was not closed has no answer after it.
    """
    answer = answer_text(text)
    if answer is None:
        return None
    blocks, open_block = _blocks(answer)
    for languages in (PYTHON, ("",)):
        found = [body for language, body in blocks if language in languages]
        if found:
            return found[-1] if found[-1].strip() else None
    marked = "</think>" in text or "<answer>" in text
    return answer if marked and not blocks and not open_block else None


def _blocks(text: str) -> tuple[list[tuple[str, str]], bool]:
    """(language, body) of each closed block, and whether one is still open at the end."""
    blocks: list[tuple[str, str]] = []
    language: str | None = None
    body: list[str] = []
    for line in text.split("\n"):
        mark = line.strip()
        if language is None:
            if mark.startswith(FENCE):
                language, body = mark[len(FENCE) :].strip().lower(), []
        elif mark == FENCE:
            blocks.append((language, textwrap.dedent("\n".join(body)) + "\n"))
            language = None
        else:
            body.append(line)
    return blocks, language is not None
