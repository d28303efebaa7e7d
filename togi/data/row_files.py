"""Reads rows out of JSONL files, parquet files and folders saved by `datasets`; it does not know what columns mean."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NoReturn

from togi.data.errors import DataError, Diagnostics, RowError
from togi.extras import lacking
from togi.memory import memory_limit

Row = Mapping[str, Any]
LONGEST = 16 << 20  # bytes of a line, or of a row: a book has one
ROW = 1000  # bytes that a row takes in memory beside its text, which is held twice
AT_ONCE = 64  # rows of a table that are unpacked together
MOST_COLUMNS = 10_000
DIGITS = 4000  # of a whole number
OTHERS = (
    (b"\x1f\x8b", "is gzip-compressed: unpack it first"),
    (b"PK", "is zip-compressed: unpack it first"),
    (b"\x28\xb5", "is zstd-compressed: unpack it first"),
    (b"BZ", "is bzip2-compressed: unpack it first"),
    (b"\xff\xfe", "is UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text: save it as UTF-8"),
    (b"version https://git-lfs", "is a pointer of Git LFS: fetch the file itself with git lfs pull"),
    (b"<", "is a page of the web: fetch the file itself"),
    (b"[", "is one JSON list: write each row on a line of its own, without commas between them"),
)
"""How files begin that hold no JSON lines, and what to do about them."""
SAVED = ("dataset_info.json", "dataset_dict.json")
"""What a folder that `datasets` saved has one of."""


def read_rows(path: Path, split: str, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    """Numbered rows: the line of a JSONL file, else the row, counted from 1. Bad rows go to ``problems``.

    Raises:
        DataError: the path is missing, empty or of an unknown kind, or a library for it is not installed.
    """
    if not path.exists():
        raise DataError(f"there is no {path}")
    if path.is_dir():
        return _dataset_rows(path, split, problems)
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    if path.suffix == ".parquet":
        return _parquet_rows(path, problems)
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return _json_rows(path, problems)
    raise DataError(f'{path}: a file of rows ends in .jsonl or .parquet, and this one in "{path.suffix}"')


def _json_rows(path: Path, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(lines(file, path), 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # what some editors put before UTF-8
                for start, what in OTHERS:
                    if line.startswith(start):
                        raise DataError(f"{path} {what}")
            if not line.strip():
                continue
            try:
                yield number, read_json_row(line)
            except RowError as error:
                problems.add(f"{path}:{number}", str(error))


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


def refuse_too_many(path: Path, rows: int, size: int) -> None:
    """Raise DataError when so many rows, of ``size`` bytes in all, take more than half of the memory there is."""
    taken, limit = ROW * rows + 2 * size, memory_limit() // 2
    if taken > limit:
        raise DataError(
            f"{path}: {rows:,} rows or more, which take {taken / 1e9:.1f} GB in memory; at most {limit / 1e9:.1f} GB, "
            "half of what there is, are for them: make a file of fewer rows"
        )


def read_json_row(line: bytes) -> Row:
    """The object on one line. Raises RowError."""
    if len(line) > LONGEST:
        raise RowError(f"the line has more than {LONGEST >> 20} MB; is this a file of JSON lines?")
    try:
        text = line.decode("utf-8").rstrip("\r\n")  # so that a line cut short is faulted at its end, not after it
    except UnicodeDecodeError as error:
        raise RowError(f"byte {error.start + 1} is not UTF-8") from error
    try:
        row = plain(json.loads(text, object_pairs_hook=_pairs, **_NUMBERS))
    except json.JSONDecodeError as error:
        raise RowError(f"this is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise RowError("this is not usable JSON: it is nested too deeply") from error
    except ValueError as error:
        raise RowError(str(error) if isinstance(error, RowError) else f"this is not usable JSON: {error}") from error
    if not isinstance(row, dict):
        raise RowError(f'a row is an object such as {{"prompt": …}}; this is {_kind(row)}')
    return row


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


_NUMBERS: Mapping[str, Any] = {"parse_constant": _constant, "parse_float": _float, "parse_int": _int}


def _parquet_rows(path: Path, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(lacking(f"the parquet file {path}", "parquet")) from error
    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file: {error}") from error
    with file:
        _refuse_too_wide(path, file.metadata.num_columns)
        refuse_too_many(path, file.metadata.num_rows, 0)
        try:
            yield from _plain_rows(path, _unpacked(file, path), problems)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def _unpacked(file: Any, path: Path) -> Iterator[Row]:
    """The rows of a parquet file, a few at once: a small file may hold one long text a million times."""
    rows = size = 0
    for batch in file.iter_batches(batch_size=AT_ONCE):
        rows, size = rows + batch.num_rows, size + batch.nbytes
        refuse_too_many(path, rows, size)
        if batch.nbytes > LONGEST * batch.num_rows:
            raise DataError(f"{path}: rows of more than {LONGEST >> 20} MB each: make them shorter")
        yield from batch.to_pylist()


def _refuse_too_wide(path: Path, columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise DataError(f"{path} has {columns:,} columns, at most {MOST_COLUMNS:,} are read: leave some out")


def _dataset_rows(path: Path, split: str, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    if not any((path / name).is_file() for name in SAVED):
        raise DataError(f"{path} is not a folder saved by `datasets`: it has none of {', '.join(SAVED)}")
    try:
        import datasets
    except ImportError as error:
        raise DataError(lacking(f"the `datasets` folder {path}", "datasets")) from error
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:
        # The boundary to foreign files: the library raises anything from KeyError to ArrowInvalid on damaged ones.
        raise DataError(f"{path} is not a folder saved by `datasets`: {error}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise DataError(f'{path} has no split "{split}"; it has {", ".join(found)}: name one of their folders')
        found = found[split]
    _refuse_too_wide(path, len(found.column_names))
    refuse_too_many(path, len(found), found.data.nbytes * len(found) // max(found.data.num_rows, 1))
    yield from _plain_rows(path, iter(found), problems)


def _plain_rows(path: Path, rows: Iterator[Row], problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(rows, 1):
        try:
            yield number, plain(row)
        except RowError as error:
            problems.add(f"{path} row {number}", str(error))


def plain(value: Any) -> Any:
    """The value as JSON: dates and decimals as text, nan (a missing number in tables) as None. Raises RowError."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise RowError("the text holds half of a surrogate pair, which is no character")
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=repr)
    if isinstance(value, date | time | timedelta | Decimal):
        return str(value)
    raise RowError(f"a value of type {type(value).__name__} is not text, a number, a list or an object")


def _kind(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
