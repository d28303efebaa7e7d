"""What a row may hold, and how much all rows may take; it does not know where they come from or what columns mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from togi.data.errors import DataError, RowError
from togi.memory import memory_limit

Row = Mapping[str, Any]
LONGEST = 16 << 20  # bytes of a line, or of a row: a book has one
ROW = 1000  # bytes that a row takes in memory beside its text, which is held twice


def refuse_too_many(path: Path | str, rows: int, size: int) -> None:
    """Raise DataError when so many rows, of ``size`` bytes in all, take more than half of the memory there is."""
    taken, limit = ROW * rows + 2 * size, memory_limit() // 2
    if taken > limit:
        raise DataError(
            f"{path}: {rows:,} rows or more, which take {taken / 1e9:.1f} GB in memory; at most {limit / 1e9:.1f} GB, "
            "half of what there is, are for them: make a file of fewer rows"
        )


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
