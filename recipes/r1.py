"""What a thought is paid for besides its answer on DeepSeek-R1's road: that it keeps to one language."""

from __future__ import annotations

import regex

LETTER, LATIN = regex.compile(r"\p{L}"), regex.compile(r"\p{Latin}")


def latin(task: object, completion: str) -> float:
    """The share of letters that are Latin ones, 0 without any. R1 counts words of the language that was asked for; a
    script is what of that can be seen without knowing words."""
    letters = LETTER.findall(completion)
    return sum(LATIN.match(letter) is not None for letter in letters) / len(letters) if letters else 0.0
