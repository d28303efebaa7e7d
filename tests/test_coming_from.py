"""docs/coming_from.md lists the names of other trainers exactly as the answers to them are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from togi.recipe.other_trainers import ELSEWHERE, Elsewhere

DOCS = (Path(__file__).parent.parent / "docs" / "coming_from.md").read_text(encoding="utf-8")


def rows() -> Iterator[str]:
    names: dict[Elsewhere, list[str]] = {}
    for name, there in ELSEWHERE.items():
        names.setdefault(there, []).append(f"`{name}`")
    for there, known in names.items():
        yield f"| {', '.join(known)} | {there.ours or '–'} | {there.advice} |"


def test_every_name_stands_there_and_nothing_else() -> None:
    listed = re.findall(r"^\| `.*\|$", DOCS, re.MULTILINE)
    assert listed == list(rows()), "docs/coming_from.md should hold these lines:\n" + "\n".join(rows())
