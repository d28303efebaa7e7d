"""The tables of a TOML file that is no recipe, or what is wrong with it. It knows no key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from togi.recipe.key_lines import LONGEST, Unreadable, statements


def toml_of(path: Path, what: str) -> dict[str, Any]:
    """What the file says; ``what`` is the kind of file that is wanted. Raises ValueError, with its line."""
    try:
        with path.open("rb") as file:
            text = file.read(4 * LONGEST + 1).decode("utf-8-sig")
        if len(text) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} characters: long texts are files of their own")
        for _ in statements(text):  # what the parser would not end on is refused before it
            pass
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such {what}") from error
    except Unreadable as error:
        raise ValueError(f"{path}:{error.line}: {error}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
