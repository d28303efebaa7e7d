"""Foreign text as Markdown that shows it and does nothing else. It knows no run.

Names, rewards and error notes of a run may hold marks, links, HTML or formulas, and places on somebody's machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from togi.credentials import without_secrets
from togi.harmless_text import visible

# CommonMark lets a backslash stand before every ASCII punctuation mark. These begin or end something, there or in what
# hubs add (names of people, formulas, links of bare addresses); the last ones only where a line begins.
_MARKS = re.compile(r"[\\`*_\[\]<>|~&$@#]|:(?=//)|(?i:(?<=www))\.|^[-+=]|(?:(?<=^\d)|(?<=^\d\d))[.)](?= |$)")
# A path with spaces has an end only where it is a whole text, or stands in quotes.
_WHOLE = r"(?:^|(?<=['\"]))(?:~/|/(?=\S)|[A-Za-z]:\\)(?:[^/\\'\",;()]+[/\\])*"
_BARE = r"(?<![\w.~/:])(?:~/(?:[^/\s'\",;()]+/)*|/(?:[^/\s'\",;()]+/)+)|(?<!\w)[A-Za-z]:\\(?:[^\\\s'\",;()]+\\)*"
_FOLDERS = re.compile(f"{_WHOLE}|{_BARE}")


def without_folders(text: str) -> str:
    """The text with the folders of absolute paths left out: where a file lay on a machine is nobody else's to know."""
    return _FOLDERS.sub("", text)


def plain(text: str) -> str:
    """The text on one line, with nothing in it that is read as a mark."""
    return _MARKS.sub(r"\\\g<0>", " ".join(visible(without_secrets(without_folders(text))).split()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every cell is foreign. No rows make no table."""
    lines = [[plain(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    drawn = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in drawn)


def listed(texts: Iterable[str]) -> str:
    """A list of foreign texts."""
    return "\n".join(f"- {plain(text)}" for text in texts)
