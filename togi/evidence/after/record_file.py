"""Files of what was measured, ``FOLDER/NAME.json``: written whole, read and checked. It knows no measurement."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from togi.run_folder.files import dumps, write_text


def write_record(folder: Path, name: str, record: Mapping[str, Any]) -> Path:
    """Write ``folder/NAME.json`` whole or not at all, and give its path. Raises ValueError for a name with a path."""
    target = folder / f"{name}.json"
    if target.parent != folder:
        raise ValueError(f"what was measured is kept in {folder.name}: its name may not contain a path, got {name!r}")
    write_text(target, dumps(record))
    return target


def read_record(
    path: Path, what: str, shape: type, faults: Callable[[dict[str, Any]], Iterator[str]], advice: str
) -> dict[str, Any]:
    """Read a file that holds all keys of the TypedDict ``shape`` and has none of the ``faults``.

    Raises ValueError that names the file, says what is wrong with it, and gives the ``advice``.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable {what} ({error}); {advice}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: not a readable {what}: it is a JSON object, got {type(data).__name__}; {advice}")
    missing = [key for key in shape.__annotations__ if key not in data]
    if missing:
        raise ValueError(f"{path}: not a readable {what}: it needs {', '.join(missing)}; {advice}")
    fault = next(faults(data), None)
    if fault:
        raise ValueError(f"{path}: {fault}; {advice}")
    return data
