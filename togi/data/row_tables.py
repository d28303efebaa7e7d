"""Reads rows out of tables: parquet files, folders saved by `datasets`, data sets of the hub, copies of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from togi.data.errors import DataError, Diagnostics, RowError
from togi.data.row_values import LONGEST, Row, plain, refuse_too_many
from togi.extras import lacking

AT_ONCE = 64  # rows of a table that are unpacked together
MOST_COLUMNS = 10_000
SAVED = ("dataset_info.json", "dataset_dict.json")
"""What a folder that `datasets` saved has one of."""


def parquet_rows(path: Path, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
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


def _refuse_too_wide(path: Path | str, columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise DataError(f"{path} has {columns:,} columns, at most {MOST_COLUMNS:,} are read: leave some out")


def dataset_rows(path: Path, split: str, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    if not any((path / name).is_file() for name in SAVED):
        raise DataError(
            f"{path} is not a folder saved by `datasets`: it has none of {', '.join(SAVED)}; a copy of a data set of "
            f'the hub is given as hub = "{path}"'
        )
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
    yield from _rows_of(found, path, problems)


def hub_rows(
    name: str, subset: str | None, split: str, revision: str | None, problems: Diagnostics
) -> Iterator[tuple[int, Row]]:
    """Numbered rows of a data set of the hub, from its cache where it was read before, or of a folder like one.

    Raises DataError: the library is not installed, or does not find or cannot read what is asked for.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(lacking(f"the hub's data set {name}", "datasets")) from error
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(name, subset, split=split, revision=revision)
    except Exception as error:
        # The boundary to foreign files and the network: the library raises what each of them raises.
        raise DataError(_unread(name, error)) from error
    yield from _rows_of(found, name, problems)


def _unread(name: str, error: Exception) -> str:
    """Why a data set of the hub is not there: what the library said, and what to do."""
    said = " ".join(str(error).split())[:600]
    if "config" in said.casefold() and "split" not in said.casefold():
        advice = 'name its subset: subset = "…"'
    elif "split" in said.casefold():
        advice = 'name one of its splits: split = "…"'
    else:
        advice = (
            'is the name right, and the hub in reach? Without network, give a folder that is a copy: hub = "./folder"'
        )
    return f"the hub's data set {name} cannot be read: {said}; {advice}"


def _rows_of(found: Any, place: Path | str, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    _refuse_too_wide(place, len(found.column_names))
    refuse_too_many(place, len(found), found.data.nbytes * len(found) // max(found.data.num_rows, 1))
    yield from _plain_rows(place, iter(found), problems)


def _plain_rows(path: Path | str, rows: Iterator[Row], problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(rows, 1):
        try:
            yield number, plain(row)
        except RowError as error:
            problems.add(f"{path} row {number}", str(error))
