"""The grader of one letter among options; it runs in workers and knows no pool or task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from togi.graders.answer_place import place_of
from togi.graders.doubt import ANYWHERE, changed_before, harmless, named
from togi.graders.lexemes import Lexeme, fold, lexemes
from togi.graders.marks import UNPARSED, Mark
from togi.graders.sentence import ends, stated

BRACKETS = {"(": ")", "[": "]", '"': '"', "“": "”", "'": "'", "「": "」", "【": "】"}
QUIET = ("neutral", "copula")


def read_choice(text: str, options: str, *, own: bool = False) -> str | None:
    """The one letter of ``options`` that a text chooses, or None.

    "B", "b", "B.", "(B)", "**B**"; "B. Paris", "Answer: (B) Paris"; "The answer is B", "B is correct". Two letters, a
    letter that is part of something else ("Vitamin C", "a dog"), and whatever denies or doubts ("not B", "B?") choose
    nothing. In a place of its ``own`` no other words may stand before the letter.
    """
    found = lexemes(fold(text))
    letters = [at for at, each in enumerate(found) if each.letter and _stands(found, at, options)]
    if not letters or len({found[at].text.upper() for at in letters}) > 1:
        return None
    at = letters[0]
    before, after = found[:at], found[at + 1 :]
    chosen = found[at].text.upper()
    return chosen if chosen in options and _chosen(before, after, own) and not _doubted(before, after) else None


def _stands(found: Sequence[Lexeme], at: int, options: str) -> bool:
    """Whether a letter is the name of an option, and no word: "a dog", "I think"."""
    before, after = found[max(0, at - 1) : at], found[at + 1 : at + 2]
    letter = found[at].text
    if letter.islower():
        words = [each for each in found if each.kind != "mark"]
        led = bool(after) and after[0].text in (")", ".", ":") and all(each.kind == "mark" for each in found[:at])
        return letter.upper() in options and (len(words) == 1 or _bracketed(before, after) or led)
    article = bool(after) and after[0].kind == "word" and after[0].effect not in QUIET and not _bracketed(before, after)
    return not (letter in "AI" and article) and not (letter == "I" and "I" not in options)


def _bracketed(before: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    return bool(before) and bool(after) and after[0].text == BRACKETS.get(before[-1].text, "")


def _chosen(before: Sequence[Lexeme], after: Sequence[Lexeme], own: bool) -> bool:
    """Whether the words right beside a letter say that it is the answer, or that it begins with its option's text."""
    words = [each for each in before if each.kind != "mark"]
    if own and not all(each.effect in QUIET or each is named(before) for each in words):
        return False
    if _bracketed(before, after):
        return True
    said = not before or before[-1].kind == "mark" or before[-1].effect in QUIET
    parted = not after or after[0].kind == "mark"
    return said and (parted or after[0].effect in QUIET)


def _doubted(before: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    """Whether words around a letter deny it or give another. Numbers belong to the text of its option."""
    if any(each.effect in ANYWHERE - {"numeral"} and each.kind != "number" for each in (*before, *after)):
        return True
    if changed_before(before) or not stated(before, after):
        return True
    if after and after[0].text not in "!?" and (after[0].effect == "suffix" or _changed_by(after, before)):
        return True
    asked = next((at for at, each in enumerate(after) if each.kind == "mark" and ends(each, None)), None)
    return any(each.effect == "revision" for each in after) or (asked is not None and after[asked].text == "?")


def _changed_by(after: Sequence[Lexeme], before: Sequence[Lexeme]) -> bool:
    following = after[1] if len(after) > 1 else None
    return after[0].kind == "mark" and not harmless(after[0], following, before, first=True)


def choice(*, text: str, gold: Any, tag: str, marker: str, options: str) -> Mark:
    right = read_choice(gold, options) if isinstance(gold, str) else None
    if right is None:
        return {"bad_gold": f"the answer {gold!r} is not one of the letters {options}"}
    place = place_of(text, tag=tag, marker=marker)
    given = read_choice(place.text, options, own=place.own) if place else None
    return UNPARSED if given is None else {"value": float(given == right), "parsed": 1.0}
