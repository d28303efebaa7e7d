"""Checks of instructions that a program can check, one function a kind; they run in workers and know no task.

A constraint is an object: ``{"kind": "words", "min": 10, "max": 50}``. A kind's keys are its function's parameters;
a text is what follows the thinking, without what nobody sees, and is never blank. Of what has to be there only what
surely is counts; of what must not be there, letters that look like it count too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from togi import unicode_words
from togi.graders.marks import UNPARSED, Mark, answer_text
from togi.graders.texts import parse_json

Check = Callable[..., bool]
ENDLESS = 10**9


CASES: Mapping[str, Callable[[str], bool]] = {
    "upper": str.isupper,
    "lower": str.islower,
    "title": lambda word: word[0].isupper() or word[0].isdigit(),
}


def words(text: str, *, min: int = 0, max: int = ENDLESS) -> bool:
    """As ``unicode_words`` tells words apart: in scripts without spaces each letter is one."""
    return min <= len(unicode_words.words(text)) <= max


def sentences(text: str, *, min: int = 0, max: int = ENDLESS) -> bool:
    """A sentence ends with . ! ? … ؟ before white space, with 。 ！ ？ । or at the end; what stands after the last end
    is one more."""
    pieces = re.split(r"(?<=[.!?…؟])[\"'”’)\]]*\s+|(?<=[。！？｡।])", text.strip())
    return min <= sum(bool(unicode_words.words(piece)) for piece in pieces) <= max


def paragraphs(text: str, *, min: int = 0, max: int = ENDLESS) -> bool:
    return min <= sum(bool(part.strip()) for part in re.split(r"\n[ \t]*\n", text)) <= max


def characters(text: str, *, min: int = 0, max: int = ENDLESS) -> bool:
    """As many as a reader counts: a letter with its marks is one."""
    return min <= unicode_words.characters(text) <= max


def lines(text: str, *, min: int = 0, max: int = ENDLESS) -> bool:
    return min <= sum(bool(line.strip()) for line in text.splitlines()) <= max


def include(text: str, *, words: Sequence[str], min: int = 1, max: int = ENDLESS) -> bool:
    """Each of the words or phrases stands there, whole, so many times; case and width do not count."""
    counts = [unicode_words.times(word, text) for word in words]
    return all(min <= sure and most <= max for sure, most in counts)


def exclude(text: str, *, words: Sequence[str]) -> bool:
    return not any(most for _, most in (unicode_words.times(word, text) for word in words))


def letter(text: str, *, letter: str, min: int = 0, max: int = ENDLESS) -> bool:
    sure, most = unicode_words.letters(letter, text)
    return min <= sure and most <= max


def bullets(text: str, *, min: int = 1, max: int = ENDLESS) -> bool:
    """Lines that begin with "- ", "* " or "• "."""
    return min <= len(re.findall(r"^[ \t]*[-*•][ \t]+\S", text, re.MULTILINE)) <= max


def numbered(text: str, *, min: int = 1, max: int = ENDLESS) -> bool:
    """Lines that begin with 1. or 1), counted up from 1; full-width marks need no space behind them."""
    found = re.findall(r"^[ \t\u3000]*(\d{1,4})(?:[.)][ \t]+|[．）、][ \t\u3000]*)\S", text, re.MULTILINE)
    return min <= len(found) <= max and [int(n) for n in found] == list(range(1, len(found) + 1))


def headings(text: str, *, min: int = 1, max: int = ENDLESS) -> bool:
    """Markdown headings."""
    return min <= len(re.findall(r"^#{1,6} +\S", text, re.MULTILINE)) <= max


def highlights(text: str, *, min: int = 1, max: int = ENDLESS) -> bool:
    """Spans in *asterisks* or **two**."""
    return min <= len(re.findall(r"(?<!\*)(\*{1,2})(?![\s*])[^*\n]+(?<!\s)\1(?!\*)", text)) <= max


def placeholders(text: str, *, min: int = 1, max: int = ENDLESS) -> bool:
    """Spans in [square brackets]."""
    return min <= len(re.findall(r"\[[^\[\]\n]+\]", text)) <= max


def title(text: str) -> bool:
    """A title in <<double angular brackets>>, on a line of its own."""
    return bool(re.search(r"^[ \t]*<<[^<>\n]*\w[^<>\n]*>>[ \t]*$", text, re.MULTILINE))


def json(text: str) -> bool:
    """Nothing but one JSON value, bare or in a code fence."""
    return parse_json(text)[1]


def quoted(text: str) -> bool:
    """All of it in one pair of double quotation marks."""
    text = text.strip()
    return len(text) > 2 and text[0] + text[-1] in ('""', "“”", "«»", "„“", "「」", "『』")


def starts(text: str, *, text_: str) -> bool:
    return text.strip().startswith(text_)


def ends(text: str, *, text_: str) -> bool:
    return text.strip().endswith(text_)


def case(text: str, *, form: str) -> bool:
    """``form`` is "upper", "lower" or "title": of letters that know case, of which there is at least one."""
    cased = [word for word in unicode_words.words(text) if word.upper() != word.lower()]
    return bool(cased) and all(CASES[form](word) for word in cased)


def capitals(text: str, *, min: int = 0, max: int = ENDLESS) -> bool:
    """Words of at least two letters that are all capitals."""
    return min <= sum(len(word) > 1 and word.isupper() for word in unicode_words.words(text)) <= max


def no_commas(text: str) -> bool:
    """No comma of any script, nor a low quotation mark that looks like one."""
    return not any(each == "‚" or "COMMA" in unicodedata.name(each, "") for each in set(text))


def script(text: str, *, name: str) -> bool:
    """There are letters, all of the script: one of Unicode's, or "cjk", "chinese", "korean", "japanese" (three)."""
    known = unicode_words.script(name)
    return known is not None and any(map(str.isalpha, text)) and known.fullmatch(text) is not None


CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        words, sentences, paragraphs, characters, lines, include, exclude, letter, bullets, numbered, headings,
        highlights, placeholders, title, json, quoted, starts, ends, case, capitals, no_commas, script,
    )
}  # fmt: skip


def follows(*, text: str, constraints: Sequence[Mapping[str, Any]], partial: bool) -> Mark:
    """Each kind is a part; of several constraints of one kind the least. A blank answer keeps none of them."""
    answer = unicode_words.visible(answer_text(text, tag="") or "")
    parts: dict[str, float] = {}
    kept = 0
    for constraint in constraints:
        kind, keys = constraint["kind"], {key: value for key, value in constraint.items() if key != "kind"}
        if "text" in keys:
            keys["text_"] = keys.pop("text")
        met = bool(answer) and CHECKS[kind](answer, **keys)
        kept += met
        parts[kind] = min(parts.get(kind, 1.0), float(met))
    if not answer:
        return {**UNPARSED, "parts": parts}
    value = kept / len(constraints) if partial else float(kept == len(constraints))
    return {"value": value, "parsed": 1.0, "parts": parts}
