"""The token budget of a task: the row's own, or drawn for its question. It knows no template and no reward."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from togi.data.errors import RowError

COLUMN, MARK = "budget", "{budget}"
Between = tuple[int, int]


def budget_of(row: Mapping[str, Any], between: Between | None) -> int:
    """The budget of a row: a whole number in its column "budget", else one drawn ``between`` the two, both included.

    What is drawn depends on the question alone, so that a question has the same budget wherever it is asked, and two
    splits that share it are still found. Raises RowError.
    """
    own = row.get(COLUMN)
    if own is not None:
        if isinstance(own, bool) or not isinstance(own, int) or own < 1:
            raise RowError(f'the column "{COLUMN}" is a whole number of tokens, at least 1; this is {own!r:.80}')
        return own
    if between is None:
        raise RowError(f'the prompt states a {MARK}: give the row a column "{COLUMN}", or set budget = [FEWEST, MOST]')
    least, most = between
    asked = json.dumps(row.get("prompt"), sort_keys=True, ensure_ascii=False).encode()
    drawn = int.from_bytes(hashlib.blake2b(b"budget\x1f" + asked, digest_size=8).digest(), "big")
    return least + drawn % (most - least + 1)
