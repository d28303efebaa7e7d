"""What can be seen of an answer without reading it: its length, its form, its first word. It knows no preference."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from togi.unicode_words import WORD

Array = NDArray[np.float64]
FIRST_WORDS = 20
_LIST = re.compile(r"\n[ \t]*(?:[-*•]|\d+[.)])\s")  # a literal first character lets the scan skip ahead
_NUMBER = re.compile(r"\d+")
_REFUSAL = re.compile(r"\b(?:sorry|apologi[sz]e|cannot|can't|can’t|unable|as an ai)\b")
_OPENING = 200  # characters in which a refusal shows


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A number of every answer. ``more`` and ``less`` name the answer of two that has the higher or the lower one."""

    more: str
    less: str
    form: bool = True


LENGTH = Trait(more="the longer answer", less="the shorter answer", form=False)
_TRAITS: tuple[tuple[Trait, Callable[[str], float]], ...] = (
    (LENGTH, len),
    (Trait(more="the answer with more lines", less="the answer with fewer lines"), lambda text: text.count("\n")),
    (
        Trait(more="the answer with more list items", less="the answer with fewer list items"),
        lambda text: len(_LIST.findall("\n" + text)),
    ),
    (
        Trait(more="the answer with more Markdown emphasis", less="the answer with less Markdown emphasis"),
        lambda text: text.count("**") + ("\n" + text).count("\n#"),
    ),
    (
        Trait(more="the answer with more code blocks", less="the answer with fewer code blocks"),
        lambda text: text.count("```"),
    ),
    (
        Trait(more="the answer that ends with a question", less="the answer that does not end with a question"),
        lambda text: text.rstrip().endswith("?"),
    ),
    (
        Trait(more="the answer that ends like a sentence", less="the answer that does not end like a sentence"),
        lambda text: text.rstrip().endswith((".", "!", "?", "…", "。", '."', ".)")),
    ),
    (
        Trait(more="the answer that starts with a capital", less="the answer that does not start with a capital"),
        lambda text: text.lstrip()[:1].isupper(),
    ),
    (
        Trait(more="the answer with more numbers", less="the answer with fewer numbers"),
        lambda text: len(_NUMBER.findall(text)),
    ),
    (
        Trait(more="the answer with more exclamation marks", less="the answer with fewer exclamation marks"),
        lambda text: text.count("!"),
    ),
    (
        Trait(more="the answer with more symbols beyond ASCII", less="the answer with fewer symbols beyond ASCII"),
        lambda text: 0 if text.isascii() else sum(character > "\x7f" for character in text),
    ),
    (
        Trait(more="the answer that sounds like a refusal", less="the answer that does not sound like a refusal"),
        lambda text: bool(_REFUSAL.search(text[:_OPENING].lower())),
    ),
)


def traits_of(answers: Sequence[str]) -> tuple[list[Trait], Array]:
    """(the traits, their values [answers, traits]); the last ones say whether an answer starts with a frequent word."""
    columns = [[float(read(text)) for text in answers] for _, read in _TRAITS]
    names = [trait for trait, _ in _TRAITS]
    firsts = [first_word(text) for text in answers]
    for word, count in Counter(firsts).most_common(FIRST_WORDS):
        if word and count > 1:
            names.append(
                Trait(
                    more=f'the answer that starts with "{word}"', less=f'the answer that does not start with "{word}"'
                )
            )
            columns.append([float(first == word) for first in firsts])
    return names, np.asarray(columns, np.float64).T


def first_word(text: str) -> str:
    """The first word in small letters, or nothing."""
    found = WORD.search(text)
    return found[0].lower()[:30] if found else ""


def shared_ends(one: str, other: str) -> float:
    """The share of the longer text that stands alike at the beginning and the end of both."""
    shorter, longer = sorted((one, other), key=len)
    start = _longest(len(shorter), lambda n: shorter[:n] == longer[:n])
    rest = len(shorter) - start
    end = _longest(rest, lambda n: shorter[len(shorter) - n :] == longer[len(longer) - n :])
    return (start + end) / max(1, len(longer))


def _longest(limit: int, alike: Callable[[int], bool]) -> int:
    """The largest n up to ``limit`` with alike(n), which holds up to some n and not beyond."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if alike(middle) else (low, middle - 1)
    return low
