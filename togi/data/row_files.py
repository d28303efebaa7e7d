"""Reads rows out of a file by its kind: JSON lines, one JSON list or object of rows, tables; it makes no task."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from togi.data.columns import COLUMNS
from togi.data.errors import DataError, Diagnostics, RowError
from togi.data.row_tables import dataset_rows, parquet_rows
from togi.data.row_values import LONGEST, Row, plain, refuse_too_many

DIGITS = 4000  # of a whole number
WHOLE = 256 << 20  # bytes of a file that is one JSON value, which is read at once
ROW_COLUMNS = (*COLUMNS, "conversations", "conversation", "tools", "functions")
"""Columns that may hold a list of objects, so that an object with one is a row."""
OTHERS = (
    (b"\x1f\x8b", "is gzip-compressed: unpack it first"),
    (b"PK", "is zip-compressed: unpack it first"),
    (b"\x28\xb5", "is zstd-compressed: unpack it first"),
    (b"BZ", "is bzip2-compressed: unpack it first"),
    (b"\xff\xfe", "is UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text: save it as UTF-8"),
    (b"version https://git-lfs", "is a pointer of Git LFS: fetch the file itself with git lfs pull"),
    (b"<", "is a page of the web: fetch the file itself"),
)
"""How files begin that hold no JSON lines, and what to do about them."""


def read_rows(path: Path, split: str, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    """Numbered rows: the line of a JSONL file, else the row, counted from 1. Bad rows go to ``problems``.

    Raises:
        DataError: the path is missing, empty or of an unknown kind, or a library for it is not installed.
    """
    if not path.exists():
        raise DataError(f"there is no {path}")
    if path.is_dir():
        return dataset_rows(path, split, problems)
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    if path.suffix == ".parquet":
        return parquet_rows(path, problems)
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return _json_rows(path, problems)
    raise DataError(f'{path}: a file of rows ends in .jsonl, .json or .parquet, and this one in "{path.suffix}"')


def _json_rows(path: Path, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        filled = (line.removeprefix(_BOM).strip() for line in lines(file, path) if line.strip())
        first, second = next(filled, b""), next(filled, b"")
    for start, what in OTHERS:
        if first.startswith(start):
            raise DataError(f"{path} {what}")
    # One value goes on in the next line or lists objects; a row that was cut short ends otherwise.
    goes_on = first.endswith((b"{", b"[", b",")) or first.startswith(b"[{") or (first.startswith(b"[ ") and not second)
    alone = path.suffix == ".json" and not second and first.endswith(b"}")
    return _listed_rows(path, problems) if goes_on or alone else _line_rows(path, problems)


def _line_rows(path: Path, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(lines(file, path), 1):
            line = line.removeprefix(_BOM) if number == 1 else line
            if not line.strip():
                continue
            try:
                yield number, read_json_row(line)
            except RowError as error:
                problems.add(f"{path}:{number}", str(error))


def _listed_rows(path: Path, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    """The rows of a file that is one JSON value, counted from 1."""
    size = path.stat().st_size
    if size > WHOLE:
        raise DataError(
            f"{path} is one JSON value of {size / 1e6:.0f} MB, and at most {WHOLE >> 20} MB are read at once: write "
            "each row on a line of its own, without commas between them"
        )
    refuse_too_many(path, 0, 4 * size)
    try:
        value = _json(path.read_bytes().removeprefix(_BOM))
    except RowError as error:
        raise DataError(f"{path} is not JSON lines, and as one JSON value: {error}") from error
    rows = value if isinstance(value, list) else _inner(path, value) or [value]
    refuse_too_many(path, len(rows), size)
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(f"{path} row {number}", f'a row is an object such as {{"prompt": …}}; this is {_kind(row)}')


def _inner(path: Path, value: Mapping[str, Any]) -> list[Any]:
    """The list of rows inside an object that is no row itself; empty when there is none. Raises DataError."""
    lists = {
        name: each
        for name, each in value.items()
        if isinstance(each, list) and each and all(isinstance(row, dict) for row in each)
    }
    if not lists or any(value.get(name) is not None for name in ROW_COLUMNS):
        return []
    if len(lists) > 1:
        raise DataError(
            f"{path} is one JSON object that holds several lists of objects, {', '.join(lists)}: write the rows of the "
            "one that is wanted to a file of their own"
        )
    return next(iter(lists.values()))


def lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file, of one that is too long as much as shows that it is; the rest of it is passed over.

    Raises DataError before they are more than memory holds.
    """
    taken = rows = 0
    while line := file.readline(LONGEST + 1):
        if line.strip():
            rows, taken = rows + 1, taken + len(line)
            refuse_too_many(path, rows, taken)
        yield line
        while len(line) > LONGEST and not line.endswith(b"\n"):
            line = file.readline(LONGEST + 1)


def read_json_row(line: bytes) -> Row:
    """The object on one line. Raises RowError."""
    if len(line) > LONGEST:
        raise RowError(f"the line has more than {LONGEST >> 20} MB; is this a file of JSON lines?")
    row = _json(line.rstrip(b"\r\n"))  # so that a line cut short is faulted at its end, not after it
    if not isinstance(row, dict):
        raise RowError(f'a row is an object such as {{"prompt": …}}; this is {_kind(row)}')
    return row


def _json(content: bytes) -> Any:
    """The value that the bytes are. Raises RowError."""
    try:
        return plain(json.loads(content.decode("utf-8"), object_pairs_hook=_pairs, **_NUMBERS))
    except UnicodeDecodeError as error:
        raise RowError(f"byte {error.start + 1} is not UTF-8") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise RowError(f"this is not JSON: {error.msg} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise RowError("this is not usable JSON: it is nested too deeply") from error
    except ValueError as error:
        raise RowError(str(error) if isinstance(error, RowError) else f"this is not usable JSON: {error}") from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise RowError(f'the key "{name[:100]}" stands twice')
    return row


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise RowError(f"{text[:40]} is too large for a number")
    return value


def _int(text: str) -> int:
    if len(text) > DIGITS:
        raise RowError(f"a number of {len(text):,} digits")
    return int(text)


def _constant(name: str) -> NoReturn:
    raise RowError(f"{name} is not JSON")


_BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8
_NUMBERS: Mapping[str, Any] = {"parse_constant": _constant, "parse_float": _float, "parse_int": _int}


def _kind(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
