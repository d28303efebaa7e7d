"""Foreign text made harmless to look at: what would act on a terminal or reorder a line is shown instead. No HTML.

Model output, data rows and error notes may hold terminal escapes, bidirectional overrides (Boucher and Anderson 2021,
arXiv 2111.00169), invisible characters and half surrogate pairs. Tabs and line feeds stay.
"""

from __future__ import annotations

import re

# C0 without tab and line feed, DEL and C1; soft hyphen, Arabic letter mark; zero width and directional marks; line and
# paragraph separators, embeddings and overrides; word joiner to isolates; variation selectors used as hidden payload;
# byte-order mark; surrogates; interlinear marks; tag characters and the variation-selector supplement.
ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e"
    "\ufeff\uffa0\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
MARKS = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def visible(text: str) -> str:
    """The text with every active or invisible character written as ``⟨U+202E⟩``, and piles of accents cut to four.

    A carriage return before a line feed is dropped: it is how some systems end a line.
    """
    plain = ACTIVE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))
    return MARKS.sub(r"\1", plain)


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters, visible, with a note of how much was left out."""
    if len(text) <= limit:
        return visible(text)
    return f"{visible(text[:limit])} … [{len(text) - limit:,} more characters not shown]"
