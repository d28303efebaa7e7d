"""What is said where an optional part is not installed. It knows no part; their names stand in pyproject.toml."""

from __future__ import annotations


def install(extra: str) -> str:
    return f"in Togi's own folder, run pip install -c constraints.txt -e '.[{extra}]'"


def lacking(what: str, extra: str) -> str:
    return f"{what} needs the {extra} extra: {install(extra)}"
