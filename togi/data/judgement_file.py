"""Judgements of people as JSON lines: the file format, and reading and writing it. It knows no task and no page.

A line is one judgement, with everything needed to understand it alone: the prompt, both answers and who wrote them,
which of them was shown on the left and which on the right, who judged, when, and how. Lines are only ever appended.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Literal, get_args

from togi.data.conversations import Conversation, check_answer, read_messages, show
from togi.data.errors import DataError, Diagnostics, RowError
from togi.data.row_files import lines, read_json_row
from togi.types import Message

SCHEMA = "togi.judgement.1"
PAIR_SCHEMA = "togi.pair.1"
Verdict = Literal["left", "right", "tie", "both_bad", "skip"]
_NEEDED = {"schema", "id", "pair", "time", "who", "prompt", "left", "right", "verdict"}
_OPTIONAL = {"comment", "seconds"}
_PAIR_KEYS = {"schema", "id", "prompt", "left", "right"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer: what ``author`` (a model, a run, a person) wrote to the prompt. ``id`` says which answer it is,
    whatever side it is shown on."""

    id: str
    author: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers to be compared, on the sides they are shown on."""

    id: str
    prompt: tuple[Message, ...]
    left: Answer
    right: Answer


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What ``who`` (a pseudonym) said of a pair at ``time`` (with a time zone), after ``seconds``.

    ``both_bad`` is a tie where neither answer is any good; ``skip`` is no verdict at all.
    """

    id: str
    pair: Pair
    time: datetime
    who: str
    verdict: Verdict
    comment: str = ""
    seconds: float | None = None


def write_judgement(path: Path, judgement: Judgement) -> None:
    """Append one line and see it to the disk; writers wait for each other, so lines are never mixed.

    A last line that an earlier writer did not finish is removed, with a warning. Raises DataError for a judgement that
    could not be read back.
    """
    line = json.dumps(_judgement_row(judgement), ensure_ascii=False)
    try:
        _read_judgement(read_json_row(line.encode("utf-8")))
    except (RowError, UnicodeEncodeError) as error:
        raise DataError(f"judgement {judgement.id}: {error}") from error
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _mend(file, path)
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_judgements(path: Path) -> list[Judgement]:
    """All judgements in the order they were made. A last line that was not written to its end is left out, with a
    warning.

    Raises:
        DataError: lines that are no judgements, an id that stands twice, or one pair with two contents.
    """
    problems = Diagnostics()
    judgements: list[Judgement] = []
    lines: dict[str, int] = {}
    pairs: dict[str, tuple[object, int]] = {}
    for number, row in _rows(path, problems):
        try:
            one = _read_judgement(row)
            if lines.setdefault(one.id, number) != number:
                raise RowError(f'the id "{one.id}" stands already in line {lines[one.id]}')
            content = (one.pair.prompt, {(answer.id, answer.messages) for answer in (one.pair.left, one.pair.right)})
            first, where = pairs.setdefault(one.pair.id, (content, number))
            if first != content:
                raise RowError(f'the pair "{one.pair.id}" has another prompt or other answers in line {where}')
        except RowError as error:
            problems.add(f"{path}:{number}", str(error))
            continue
        judgements.append(one)
    problems.stop_if_any()
    return judgements


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """A batch of pairs for people to judge, one a line."""
    rows = ({"schema": PAIR_SCHEMA, "id": pair.id, **_sides(pair)} for pair in pairs)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a batch. Raises DataError."""
    problems = Diagnostics()
    pairs = []
    for number, row in _rows(path, problems):
        try:
            _keys(row, PAIR_SCHEMA, _PAIR_KEYS, set())
            pairs.append(_read_pair(row, row["id"]))
        except RowError as error:
            problems.add(f"{path}:{number}", str(error))
    problems.stop_if_any()
    return pairs


def holds_judgements(path: Path) -> bool:
    """Whether the first line of a file of JSON lines says that it is a judgement, of any version."""
    if not path.is_file() or path.suffix not in (".jsonl", ".ndjson", ".json"):
        return False
    with path.open("rb") as file:
        line = next((line for line in lines(file, path) if line.strip()), b"")
    try:
        schema = read_json_row(line.removeprefix(b"\xef\xbb\xbf")).get("schema")
    except RowError:
        return False
    return isinstance(schema, str) and schema.startswith("togi.judgement.")


def _rows(path: Path, problems: Diagnostics) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        read = list(lines(file, path))
    for number, line in enumerate(read, 1):
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        try:
            yield number, read_json_row(line)
        except RowError as error:
            if number == len(read) and not line.endswith(b"\n"):
                warnings.warn(
                    f"{path}:{number}: the last line is not whole and is left out: {_cut(line)}", stacklevel=3
                )
            else:
                problems.add(f"{path}:{number}", str(error))


def _mend(file: IO[bytes], path: Path) -> None:
    """Make the file end with a whole line."""
    size = file.seek(0, os.SEEK_END)
    if size == 0 or (file.seek(size - 1), file.read(1))[1] == b"\n":
        return
    file.seek(0)
    *_, last = file
    try:
        read_json_row(last)
    except RowError:
        warnings.warn(f"{path}: the last line is not whole and is removed: {_cut(last)}", stacklevel=3)
        file.truncate(size - len(last))
    else:
        file.write(b"\n")


def _cut(line: bytes) -> str:
    return repr(line[:200].decode("utf-8", errors="replace"))


def _judgement_row(one: Judgement) -> dict[str, Any]:
    if one.time.utcoffset() is None:
        raise DataError(f"judgement {one.id}: its time has no time zone; use datetime.now(UTC)")
    return {
        "schema": SCHEMA,
        "id": one.id,
        "pair": one.pair.id,
        "time": one.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "who": one.who,
        "verdict": one.verdict,
        "comment": one.comment,
        "seconds": one.seconds,
        **_sides(one.pair),
    }


def _sides(pair: Pair) -> dict[str, Any]:
    return {"prompt": rows_of(pair.prompt), "left": _answer_row(pair.left), "right": _answer_row(pair.right)}


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {"id": answer.id, "author": answer.author, "messages": rows_of(answer.messages)}


def rows_of(messages: Conversation) -> list[dict[str, str]]:
    """Messages as plain data."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _read_judgement(row: Mapping[str, Any]) -> Judgement:
    _keys(row, SCHEMA, _NEEDED, _OPTIONAL)
    if row["verdict"] not in get_args(Verdict):
        raise RowError(f'"verdict" is one of {", ".join(get_args(Verdict))}; this is {show(row["verdict"])}')
    seconds = row.get("seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0):
        raise RowError(f'"seconds" is a number of at least 0, or null; this is {show(seconds)}')
    return Judgement(
        id=_name(row, "id"),
        pair=_read_pair(row, row["pair"]),
        time=_time(row["time"]),
        who=_name(row, "who"),
        verdict=row["verdict"],
        comment=_text(row.get("comment") or "", "comment"),
        seconds=seconds,
    )


def _read_pair(row: Mapping[str, Any], identity: Any) -> Pair:
    left, right = _read_answer(row, "left"), _read_answer(row, "right")
    if left.id == right.id:
        raise RowError(f'left and right are different answers with an id each; both have "{left.id}"')
    if not isinstance(identity, str) or not identity:
        raise RowError(f"a pair's id is text that is not empty; this is {show(identity)}")
    return Pair(id=identity, prompt=_read_prompt(row["prompt"]), left=left, right=right)


def _read_prompt(value: Any) -> Conversation:
    match value:
        case [{"role": "text", "content": str(content), **rest}] if content and not rest:
            return (Message(role="text", content=content),)
        case _:
            return read_messages(value, "prompt")


def _read_answer(row: Mapping[str, Any], side: str) -> Answer:
    value = row[side]
    if not isinstance(value, Mapping) or set(value) != {"id", "author", "messages"}:
        raise RowError(f'"{side}" has id, author and messages; this is {show(value)}')
    messages = check_answer(read_messages(value["messages"], side), side)
    return Answer(id=_name(value, "id"), author=_text(value["author"], "author"), messages=messages)


def _keys(row: Mapping[str, Any], schema: str, needed: set[str], optional: set[str]) -> None:
    if row.get("schema") != schema:
        raise RowError(f'"schema" is "{schema}" in files that this version reads; this is {show(row.get("schema"))}')
    missing = sorted(needed - set(row))
    if missing:
        raise RowError(f'there is no "{missing[0]}"')
    for name in row:
        if name not in needed | optional:
            close = difflib.get_close_matches(name, needed | optional, n=1)
            raise RowError(f'unknown key "{name}"' + (f'; did you mean "{close[0]}"?' if close else ""))


def _name(row: Mapping[str, Any], key: str) -> str:
    text = _text(row[key], key)
    if not text:
        raise RowError(f'"{key}" is empty')
    return text


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise RowError(f'"{key}" is text; this is {show(value)}')
    return value


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value, "time"))
    except ValueError as error:
        raise RowError(f'"time" is a date and time such as 2026-01-31T09:30:00Z; this is {show(value)}') from error
    if time.utcoffset() != timedelta(0):
        raise RowError(f'"time" is in UTC and ends with Z; this is {show(value)}')
    return time
