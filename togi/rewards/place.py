"""Where a completion's answer stands: in a tag, after a marker, in a box, or anywhere; it reads no answer itself.

What stands outside of such a place must leave the answer as it is: "not <answer>42</answer>" and "\\boxed{42} or 43"
have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from togi.rewards.doubt import changed, ends
from togi.rewards.grade import answer_text
from togi.rewards.lexemes import Lexeme, fold, lexemes

LONGEST = 20_000  # characters of prose that are searched for an answer, and that may follow one
REACH = 300  # characters before a place that may belong to its clause
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
    content of ``\\boxed{}`` unless ``box`` is off, else all of the text.
    """
    content = answer_text(text, tag=tag, marker=marker)
    said = answer_text(text, tag="") or ""
    if content is None:
        return None
    if marker:
        before, _, after = said.partition(marker)
        after = after.partition(f"</{tag}>")[2] if tag else ""
    elif tag and f"<{tag}>" in said:
        before, _, after = said.partition(f"<{tag}>")
        after = after.partition(f"</{tag}>")[2]
    elif box and (found := boxes(said)):
        contents = {said[begin:end].strip() for begin, end in found}
        if len(contents) > 1 or "" in contents:
            return None
        content = contents.pop()
        before = re.sub(r"\\(?:boxed|fbox)\{\Z", "", said[: found[0][0]])
        after = " ".join(
            said[end + 1 : begin] for (_, end), (begin, _) in zip(found, [*found[1:], (None, 0)], strict=True)
        )
        after = re.sub(r"\\(?:boxed|fbox)\{(?=\s|\Z)", "", after)
    else:
        return Place(text=said, own=False) if len(said) <= LONGEST else None
    return None if _changed_outside(content, before, after) else Place(text=content, own=True)


def boxes(text: str) -> list[tuple[int, int]]:
    """Where the content of each ``\\boxed{}`` or ``\\fbox{}`` begins and ends, braces matched. One that is not closed
    is empty, and what stands in a box is its content."""
    found: list[tuple[int, int]] = []
    depth = 0
    for match in re.finditer(r"\\(?:boxed|fbox)\{|\\.|[{}]", text, re.DOTALL):
        if depth:
            depth += {"{": 1, "}": -1}.get(match[0][-1], 0) if match[0] in "{}" or len(match[0]) > 2 else 0
            if not depth:
                found[-1] = (found[-1][0], match.start())
        elif len(match[0]) > 2:
            depth = 1
            found.append((match.end(), match.end()))
    return found


def _changed_outside(content: str, before: str, after: str) -> bool:
    if len(after) > LONGEST:
        return True
    following = lexemes(fold(after))
    own = {each.text for each in lexemes(fold(content)) if each.kind == "number"}
    if any(each.kind == "number" and each.text not in own for each in following):
        return True
    said = [each for each in following if each.kind != "number"]
    return changed(_clause(lexemes(fold(before[-REACH:]))), said)


def _clause(before: Sequence[Lexeme]) -> list[Lexeme]:
    """The clause that leads to a place: the words of its sentence since the last comma, colon or line with a word after
    it. Its numbers are steps on the way, and what cannot be read is so too unless it stands right before the place."""
    clause: list[Lexeme] = []
    for at in range(len(before) - 1, -1, -1):
        each, following = before[at], clause[-1] if clause else None
        words = [other for other in clause if other.kind == "word"]
        parted = each.text in (",", "、", ";", ":") or (following is not None and following.fresh)
        if ends(each, following) or (parted and words and words[-1].text.casefold() not in JOINING):
            break
        if each.effect == "numeral" or each.kind == "number":
            each = each._replace(kind="number", effect="")
        elif each.effect == "unread" and words:
            each = each._replace(effect="")
        clause.append(each)
    return clause[::-1]
