"""Whether what stands around an answer leaves it as it is; it knows no kind of answer.

In prose an unknown word is a noun, and changes nothing; what is known to change an answer is doubt. In a place of the
answer's own, such as a tag, whatever is not known to change nothing is doubt.
"""

from __future__ import annotations

from collections.abc import Sequence

from togi.graders.lexemes import UNITS, Lexeme
from togi.graders.sentence import SHORTENED, ends, stated

ANYWHERE = {"denial", "alternative", "hedge", "numeral", "unread"}
BELONGING = {"sign", "scale", "operator", "bound", "percent"}
BESIDE = {"near", "label"}
PLAIN_LETTERS = ("a", "à", "y", "I")  # words of one letter; any other may be the name of a number
BEFORE = frozenset("$€£¥₹₩₽([\"“”«「『【'`:=,;.、。!?¿¡]→∴✅✓✔🎉") | {"---"}
AFTER = frozenset("$€£¥₹₩₽)]\"“”»」』】'`.,;:。、°✅✓✔🎉(-—∎■□") | {"---"}
QUOTES = frozenset("\"'”»」』")
CLOSED = {")": "(", "]": "["}
WINDOW = 3  # words after an answer that may be its unit or its scale


def doubtful(before: Sequence[Lexeme], after: Sequence[Lexeme], *, own: bool) -> bool:
    """Whether an answer is in doubt by what stands around it, in a place of its ``own`` or in prose."""
    return changed(before, after) or (own and not _alone(before, after))


def changed(before: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    """Whether prose around an answer changes it, denies it or gives another."""
    if any(each.effect in ANYWHERE for each in (*before, *after)):
        return True
    return changed_before(before) or _changed_after(before, after) or not stated(before, after)


def _alone(before: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    """Whether in a place of its own an answer stands among neutral words and marks only. What it is a number of may
    follow it, in one word, and what it is called may begin the place: "Cost: 42 plums"."""
    name = named(before)
    counted = next((each for each in after if not _neutral(each)), None)
    if counted and any(each.kind == "mark" and each.text not in "$°(" for each in after[: after.index(counted)]):
        return False
    rest = [*(each for each in before if each is not name), *(each for each in after if each is not counted)]
    return all(map(_neutral, rest)) and (counted is None or counted.kind == "word")


def named(before: Sequence[Lexeme]) -> Lexeme | None:
    """The word that an answer is the value of, where that is all that leads to it: "x = 42", "Cost: 42"."""
    words = [at for at, each in enumerate(before[:-1]) if each.kind == "word"]
    return before[words[0]] if words and before[words[0] + 1].text in ("=", ":") else None


def _neutral(each: Lexeme) -> bool:
    if each.kind == "word":
        return each.effect in ("neutral", "copula") or each.text.casefold() in UNITS
    return (
        each.kind == "mark"
        and (each.text in BEFORE or each.text in AFTER or each.text == "/")
        and each.text not in "-—?"
    )


def changed_before(before: Sequence[Lexeme]) -> bool:
    """Whether what leads to an answer changes it, up to what says something else: "the root of x is 42"."""
    touching = True  # nothing but marks stands between this lexeme and the answer
    beside = True  # no comma does either
    apart = False  # a bracket does: "42 (6 · 7 = 42)"
    said_of_it = True  # no "=" does either
    following: Lexeme | None = None
    for at in range(len(before) - 1, -1, -1):
        each = before[at]
        if each.kind == "mark":
            if touching and each.text not in BEFORE:
                return True
            if touching and at and each.text in "([" and _called(before[at - 1], each):
                return True
            if ends(each, following) and not (at and before[at - 1].effect in SHORTENED):
                return False
            said_of_it &= each.text not in ("=", ":", "→", "∴")
            beside &= each.text != ","
            apart |= each.text == "("
        elif touching and each.effect == "sign":
            return True
        elif not said_of_it or each.effect == "copula":
            return False
        elif each.kind == "number":
            return touching and not apart
        else:
            if each.effect in BELONGING or (touching and _variable(each)) or (beside and each.effect in BESIDE):
                return True
            touching = beside = False
        following = each
    return False


def _variable(each: Lexeme) -> bool:
    return each.letter and each.text not in PLAIN_LETTERS


def _called(name: Lexeme, bracket: Lexeme) -> bool:
    """Whether a bracket is that of a function: "f(42)"."""
    return bracket.follows(name) and name.kind == "word" and name.text.isascii()


def _changed_after(before: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    """Whether what follows an answer changes it: right beside it, by one of the next words, or by a later "wait"."""
    touching = near = True  # only marks lie between, and the sentence and its first words go on
    words = 0
    if after and _unopened(after[0], before):
        return True
    for at, each in enumerate(after):
        following = after[at + 1] if at + 1 < len(after) else None
        if each.effect == "revision" or (near and each.text == "?"):
            return True
        if each.kind == "mark":
            if touching and not harmless(each, following, before, first=at == 0):
                return True
            if ends(each, following):
                touching = near = False
            continue
        if touching and each.kind == "number":
            return not any(other.text == "(" for other in after[:at])
        words += 1
        near &= words <= WINDOW
        alone = each.letter and (following is None or following.text in ")]}.") and each.text != "I"
        named = (_variable(each) or alone) and not (at and after[at - 1].text in ("°", "/"))  # "°C", "km/h"
        named &= following is None or following.text != "="  # "42, so x = 42"
        if near and (each.effect in BELONGING or named):
            return True
        if at == 0 and (each.effect == "suffix" or (each.letter and following is None)):
            return True
        touching = False
    return False


def _unopened(each: Lexeme, before: Sequence[Lexeme]) -> bool:
    """Whether a bracket closes that was never opened: "42)" is the number of an item."""
    return each.text in CLOSED and not any(other.text == CLOSED[each.text] for other in before)


def harmless(each: Lexeme, following: Lexeme | None, before: Sequence[Lexeme], *, first: bool) -> bool:
    """Whether a mark after an answer, with nothing but such marks between them, says nothing of it."""
    if each.text in ("-", "—"):
        return following is not None and following.kind == "word" and not (following.letter or following.follows(each))
    if each.text in QUOTES:
        return not first or any(other.kind == "mark" and other.text in "\"'“«「『【" for other in before)
    if each.text == "." and following is not None and following.follows(each):
        return following.kind == "mark" and following.text in AFTER
    return each.text in AFTER
