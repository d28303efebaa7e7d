"""Where a completion's answer stands: in a tag, after a marker, in a box, or anywhere; it reads no answer itself.

What stands outside of such a place must leave the answer as it is: "not <answer>42</answer>" and "\\boxed{42} or 43"
have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from togi.graders.calculation import with_results
from togi.graders.doubt import changed
from togi.graders.lexemes import CROSSES, Lexeme, fold, lexemes
from togi.graders.marks import answer_text
from togi.graders.sentence import ends
from togi.sandbox.workers.worker_call import TooLong

LONGEST = 10_000  # characters that are searched for an answer, and that may follow one
MOST = 100  # boxes
REACH = 300  # characters before a place that may belong to its clause
BOX = re.compile(r"\\(?:boxed|fbox)\{")
TAG = re.compile(r"</?(?!(?:del|s|strike)>)[A-Za-z][\w-]*>|<\|[\w-]*\|>")  # other than those that cross out
JOINING = ("that", "dass", "ob", "que", "whether")  # a clause that begins so belongs to the one before


@dataclass(frozen=True, kw_only=True)
class Place:
    """The text of an answer. In a place of its ``own`` nothing but the answer belongs there."""

    text: str
    own: bool


def place_of(text: str, *, tag: str = "answer", marker: str = "", box: bool = True) -> Place | None:
    """The place of a completion's answer after its thinking; None where there is none, more than one, or where what
    stands around it changes the answer.

    It is ``<tag>…</tag>`` where such a tag is written, and what follows ``marker`` when one is asked for, else the
    content of ``\\boxed{}`` unless ``box`` is off, else all of the text. Raises TooLong.
    """
    content = answer_text(text, tag=tag, marker=marker)
    said = answer_text(text, tag="") or ""
    if content is None:
        return None
    if marker:
        before, _, after = said.partition(marker)
        before += ":"  # a marker parts the answer from the steps that lead to it
        after = after.partition(f"</{tag}>")[2] if tag else ""
    elif tag and f"<{tag}>" in said:
        before, _, after = said.partition(f"<{tag}>")
        after = after.partition(f"</{tag}>")[2]
    elif box and (found := boxes(said)):
        contents = {said[begin:end].strip() for begin, end in found}
        if len(contents) > 1 or "" in contents:
            return None
        content = contents.pop()
        before = said[: said.rindex("\\", 0, found[0][0])]
        between = [BOX.sub("", said[one + 1 : other]) for (_, one), (other, _) in pairwise(found)]
        after = " ".join([*between, said[found[-1][1] + 1 :]])
    else:
        if box:
            _check_length(said)
        return Place(text=said, own=False)
    if box:
        _check_length(content)
    if _changed_outside(content, before, after):
        return None
    return Place(text=content, own=True)


def boxes(text: str) -> list[tuple[int, int]]:
    """Where the content of each ``\\boxed{}`` or ``\\fbox{}`` begins and ends, braces matched: what stands in a box is
    content. One that is not closed is empty, and the last that is looked for."""
    found: list[tuple[int, int]] = []
    at = 0
    while len(found) < MOST and (opening := BOX.search(text, at)):
        begin = opening.end()
        found.append((begin, _closed(text, begin)))
        if found[-1][1] == begin:
            break
        at = found[-1][1]
    return found


def _closed(text: str, begin: int) -> int:
    """Where the brace that closes a box stands; where the box begins if none does."""
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, begin, begin + LONGEST):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return match.start()
    return begin


def _check_length(text: str) -> None:
    """Raises TooLong for a text longer than what is searched; some characters fold to many."""
    if len(text) > LONGEST or len(fold(text)) > LONGEST:
        raise TooLong(f"an answer, or what follows it, of more than {LONGEST} characters is not read")


def _changed_outside(content: str, before: str, after: str) -> bool:
    _check_length(after)
    if before.rstrip(" \t$*([\\").endswith("\n"):
        before += ":"  # the last line of the steps may end in a number
    before, after = _without_emphasis(before, after)
    before, after = TAG.sub(" . ", before[-REACH:]), TAG.sub(" ", after)
    following = with_results(lexemes(fold(after)))
    others = {each.text for each in following if each.kind == "number"}
    if others:
        _check_length(content)
        if others - {each.text for each in lexemes(fold(content))}:
            return True
    return changed(_clause(lexemes(fold(before))), [each for each in following if each.kind != "number"])


def _without_emphasis(before: str, after: str) -> tuple[str, str]:
    """The same without asterisks that are put around a place and the words beside it."""
    if before.count("**") % 2 and after.count("**") % 2:
        at = before.rindex("**")
        return before[:at] + before[at + 2 :], after.replace("**", "", 1)
    return before, after


def _clause(before: Sequence[Lexeme]) -> list[Lexeme]:
    """The clause that leads to a place: the words of its sentence since the last comma, colon or line with a word after
    it. Its numbers are steps on the way, as are a "when" and what equals the place. What cannot be read is so too,
    unless it stands right before the place."""
    clause: list[Lexeme] = []
    for at in range(len(before) - 1, -1, -1):
        each, following = before[at], clause[-1] if clause else None
        words = [other for other in clause if other.kind == "word"]
        parted = each.text in (",", "、", ";", ":") or (following is not None and following.fresh)
        if ends(each, following) or (parted and words and words[-1].text.casefold() not in JOINING):
            break
        if each.effect == "numeral" or each.kind == "number":
            each = each._replace(kind="number", effect="")
        elif each.effect == "moment" or (each.effect == "unread" and words and each.text not in CROSSES):
            each = each._replace(effect="")
        clause.append(each)
    return _without_formula(clause[::-1])


def _without_formula(clause: list[Lexeme]) -> list[Lexeme]:
    """The same without the left side of an equation whose right side is the place: "x + y ="; a lone name stays."""
    end = len(clause) - 1
    while end > 0 and clause[end].text in "$([":
        end -= 1
    if end < 1 or clause[end].text != "=":
        return clause
    begin = end
    while begin and (clause[begin - 1].letter or (clause[begin - 1].kind != "word" and not clause[begin - 1].effect)):
        begin -= 1
    worked = any(each.kind == "mark" and each.text != "$" for each in clause[begin:end])
    return clause[:begin] + clause[end:] if worked else clause
