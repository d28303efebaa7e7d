"""Whether an answer is stated in its sentence, and not asked, supposed, reported or given as an example; it knows no
kind of answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile

from togi.graders import sentence_words
from togi.graders.answer_words import listed
from togi.graders.lexemes import UNITS, Lexeme


def _all(languages: Mapping[str, str]) -> frozenset[str]:
    return frozenset(phrase for phrases in languages.values() for phrase in listed(phrases))


OPENING, SETTING, DATE = _all(sentence_words.OPENINGS), _all(sentence_words.SETTINGS), _all(sentence_words.DATES)
ANSWER, OWNING = frozenset(listed(sentence_words.ANSWERS)), frozenset(listed(sentence_words.OWNERS))
DESCRIBING, ARTICLES = frozenset(listed(sentence_words.DESCRIBING)), frozenset(listed(sentence_words.ARTICLES))
NAMING = {"label", "bound", "sign", "scale"}  # "Step: 42", "max: 42", "loss: 42", "millions: 42"
FUNCTIONS = (r"\log", r"\ln", r"\sin", r"\cos", r"\tan", r"\sqrt", r"\exp", r"\cdot", r"\times")
WORKING = frozenset("-+*/^!√·×÷%²").union(FUNCTIONS)
PARTING = frozenset(",;、")
SHORTENED = {"sign", "scale", "bound", "near", "label"}  # what may be written with a full stop: "ca."


def ends(each: Lexeme, following: Lexeme | None) -> bool:
    """Whether a sentence ends with a mark."""
    return each.text in "!?。" or (each.text == "." and (following is None or not following.follows(each)))


def stated(before: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    """Whether the writer says what stands between ``before`` and ``after``, as a whole sentence or in one."""
    sentence, rest = _sentence(before), _rest(after)
    clause = _clause(sentence)
    words, said = ([each for each in part if each.kind == "word"] for part in (sentence, clause))
    supposed = any(each.effect == "condition" for each in (*clause, *rest))
    supposed |= any(each.effect == "moment" for each in said[:1])
    if supposed or any(each.effect == "report" for each in (*sentence, *rest)):
        return False
    other = _names(sentence, words, rest) or _changes_answer(said) or _somebodys(said) or _described(rest)
    return not (other or _asked(sentence, words, rest) or _set(sentence) or _dated(sentence, after))


def _sentence(before: Sequence[Lexeme]) -> Sequence[Lexeme]:
    """What precedes an answer in its sentence."""
    at = len(before) - 1
    while at >= 0 and not _ends_before(before, at):
        at -= 1
    return before[at + 1 :]


def _clause(sentence: Sequence[Lexeme]) -> Sequence[Lexeme]:
    """What precedes it since the last comma with words after it; "suppose, it is" is one clause."""
    spoken = False
    for at in range(len(sentence) - 1, -1, -1):
        leads = at and sentence[at - 1].effect == "condition"
        if sentence[at].text in PARTING and spoken and not leads:
            return sentence[at + 1 :]
        spoken |= sentence[at].kind == "word"
    return sentence


def _ends_before(before: Sequence[Lexeme], at: int) -> bool:
    """Whether a sentence ends with a lexeme, or before a line that begins with a word."""
    each, following = before[at], before[at + 1] if at + 1 < len(before) else None
    if following is not None and following.fresh and following.kind == "word" and each.text not in (*PARTING, ":"):
        return True
    short = at == len(before) - 1 and at and before[at - 1].effect in SHORTENED
    equated = following is not None and following.text == "="  # "x! = 42"
    return ends(each, following) and not (short or equated)


def _rest(after: Sequence[Lexeme]) -> list[Lexeme]:
    """What follows an answer in its sentence."""
    following = [*after[1:], None]
    return [each for each, _ in takewhile(lambda pair: not ends(*pair), zip(after, following, strict=False))]


def _asked(sentence: Sequence[Lexeme], words: Sequence[Lexeme], rest: Sequence[Lexeme]) -> bool:
    """Whether it begins as a question or a task does: "is it 42", "42, is it"; "is 42" alone completes a statement."""
    if any(each.text == "¿" for each in sentence):
        return True
    begins = " ".join(each.text.casefold() for each in words[:4])
    if not any(f"{begins} ".startswith(f"{opening} ") for opening in OPENING):
        return False
    return len(words) > 1 or any(each.kind == "word" for each in rest)


def _set(sentence: Sequence[Lexeme]) -> bool:
    """Whether a name has the value only there ("for x = 42"), or is part of what has it ("-x = 42")."""
    said = [each for each in sentence if each.text not in "$(["][-3:]
    if len(said) < 2 or said[-1].text != "=":
        return False
    if said[-2].text in WORKING:
        return True
    return len(said) == 3 and said[1].letter and (said[0].text in WORKING or said[0].text.casefold() in SETTING)


def _dated(sentence: Sequence[Lexeme], after: Sequence[Lexeme]) -> bool:
    """Whether a month or the like stands beside it: "May 5", "5. Mai", "5 de mayo"."""
    beside = [each for each in after[:2] if each.text not in (".", "de")]
    return any(each.text.casefold() in DATE for each in (*sentence[-1:], *beside[:1]))


def _names(sentence: Sequence[Lexeme], words: Sequence[Lexeme], rest: Sequence[Lexeme]) -> bool:
    """Whether the only word before names something else: "Step: 42", "max: 42", and "Apollo 42" as all that is said."""
    if len(words) != 1:
        return False
    if any(each.text in "=:" for each in sentence):
        return words[0].effect in NAMING
    name = words[0]
    if name.letter or name.effect or name.text.casefold() in UNITS or name.text >= "\u3000":
        return False
    return sentence[-1] is name and not any(each.kind == "word" or each.text in "$€" for each in rest)


def _changes_answer(words: Sequence[Lexeme]) -> bool:
    """Whether something is said of another number than the answer: "half the answer is 42", "x squared is 42"."""
    changing = any(each.effect in ("operator", "sign") for each in words)
    return changing and any(each.text.casefold() in ANSWER or each.letter for each in words)


def _somebodys(words: Sequence[Lexeme]) -> bool:
    """Whether the answer is somebody's: "Bob's answer is 42"; "the problem's answer" is everybody's."""
    return any(
        one.text.casefold().endswith("'s") and one.text.casefold() not in OWNING and other.text.casefold() in ANSWER
        for one, other in pairwise(words)
    )


def _described(rest: Sequence[Lexeme]) -> bool:
    """Whether it is only described: "42 is even"; "42 is the answer" gives it."""
    words = [each for each in rest if each.kind == "word"]
    described = len(words) > 1 and rest[0] is words[0] and words[0].text.casefold() in DESCRIBING
    told = [each for each in words[1:] if each.text.casefold() not in ARTICLES]
    return described and bool(told) and told[0].effect not in ("neutral", "copula")
