"""A row under Togi's own column names: by the user's map, or by the shape of a known format. It makes no task.

A row keeps the columns it came with, for rewards; what is added here stands beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from togi.data.errors import RowError

COLUMNS = ("prompt", "completion", "completions", "messages", "text", "chosen", "rejected")
OWN = (
    *COLUMNS,
    *("answer", "label", "labels", "ranks", "scores"),
    *("margin", "chosen_probability", "score_chosen", "score_rejected", "system"),
    *("tools", "chat_template_kwargs", "enable_thinking"),
)
"""The names that Togi asks for."""

QUESTIONS = ("question", "problem", "instruction", "query", "input", "source", "task", "goal", "user", "Question")
DEMONSTRATIONS = ("output", "response", "solution", "demonstration", "assistant", "generation", "summary")
ANSWERS = ("ground_truth", "final_answer", "expected_answer", "gold", "target", "answers", "reference", "Answer")
THUMBS = ("desirable", "is_desirable", "thumb", "thumbs_up", "is_good", "good", "feedback")
_SUGGESTED = {"prompt": QUESTIONS, "completion": DEMONSTRATIONS, "answer": ANSWERS, "label": THUMBS}
"""What others call a column, by ours: told to the user, never guessed."""

_INSTRUCTIONS = (("input", "output"), ("context", "response"))  # Alpaca, Dolly
_MARKED = re.compile(r"#### ?([^\n]+)\s*\Z")


def under_our_names(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """The row with what ``columns`` and its own shape call by Togi's names. Raises RowError."""
    mapped = {ours: _found(row, theirs, ours) for ours, theirs in columns.items()}
    row = {**row, **mapped}
    found: dict[str, Any] = {}
    for read in (_instruction, _marked_answer, _conversations, _ground_truth):
        found |= {name: value for name, value in read(row).items() if row.get(name) is None or name not in mapped}
    return {**row, **found}


def column_line(row: Mapping[str, Any]) -> str:
    """The line of a recipe that says which of the row's columns is which; empty where none looks like a prompt."""
    if not any(isinstance(row.get(name), str | list) for name in QUESTIONS):
        return ""
    given = {
        ours: next((name for name in names if row.get(name) is not None), None)
        for ours, names in _SUGGESTED.items()
        if row.get(ours) is None
    }
    pairs = ", ".join(f"{ours} = {json.dumps(theirs)}" for ours, theirs in given.items() if theirs)
    return f"columns = {{ {pairs} }}"


def _found(row: Mapping[str, Any], path: str, ours: str) -> Any:
    """The value at a path such as ``reward_model.ground_truth``; a name goes into every object of a list, a number to
    one place of it. A column whose own name has dots comes first."""
    if path in row:
        return row[path]
    value: Any = row
    done: list[str] = []
    for part in path.split("."):
        value = _step(value, part, f"columns.{ours}: {'.'.join(done) or 'the row'}")
        done.append(part)
    return value


def _step(value: Any, part: str, place: str) -> Any:
    match value:
        case None:
            return None
        case Mapping():
            if part not in value:
                raise RowError(f'{place} has no "{part}"; it has {", ".join(map(str, value))[:500] or "nothing"}')
            return value[part]
        case list() if part.isdecimal():
            if int(part) >= len(value):
                raise RowError(f"{place} has {len(value)} members, and number {part} was wanted (the first is 0)")
            return value[int(part)]
        case list():
            return [_step(each, part, place) for each in value]
        case _:
            raise RowError(f'{place} is {value!r:.80}, which has no "{part}"')


def _instruction(row: Mapping[str, Any]) -> dict[str, Any]:
    """Alpaca's and Dolly's rows: an instruction, what it is about, and what was answered."""
    if row.get("prompt") is not None or not isinstance(row.get("instruction"), str):
        return {}
    for about, answer in _INSTRUCTIONS:
        if isinstance(row.get(answer), str) and isinstance(row.get(about, ""), str | None):
            if row.get("history"):
                raise RowError('"history" holds earlier turns: write the row as messages instead')
            asked = "\n\n".join(filter(None, (row["instruction"], row.get(about))))
            return {"prompt": asked, "completion": row[answer]}
    return {}


def _marked_answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """GSM8K's rows: the answer stands behind "####" at the end of a worked one, which is a demonstration."""
    question, answer = row.get("question"), row.get("answer")
    marked = _MARKED.search(answer) if isinstance(answer, str) else None
    if row.get("prompt") is not None or not isinstance(question, str) or marked is None:
        return {}
    return {"prompt": question, "completion": answer, "answer": marked[1].strip()}


def _conversations(row: Mapping[str, Any]) -> dict[str, Any]:
    """ShareGPT's rows, and pairs of answers to such a conversation."""
    said = next((row[name] for name in ("conversations", "conversation") if isinstance(row.get(name), list)), None)
    if said is None or row.get("prompt") is not None or row.get("messages") is not None:
        return {}
    return {"prompt" if row.get("chosen") is not None else "messages": said}


def _ground_truth(row: Mapping[str, Any]) -> dict[str, Any]:
    """verl's rows: the answer stands in the settings of its grader."""
    model = row.get("reward_model")
    if row.get("answer") is not None or not isinstance(model, Mapping) or model.get("ground_truth") is None:
        return {}
    return {"answer": model["ground_truth"]}
