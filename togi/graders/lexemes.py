"""Text to lexemes: numbers, words and marks, each with its effect on an answer beside it; it looks for no answer.

Widths, dashes and accents are folded first, and marks that change nothing (LaTeX's fonts and spaces, emphasis, line
breaks) are dropped. What cannot be read as text of the languages in the table is "unread": other scripts, hidden
characters, numerals that are no decimal digits, "3x", "1.2.3".
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from togi.graders import answer_words
from togi.graders.answer_words import Effect, listed, table

DEEPEST = 4  # fonts and boxes within each other that are taken away
LONGEST = 400  # characters of a number; beyond, arithmetic on it would be the model's way to stall the grader
UNITS = frozenset(listed(answer_words.UNITS))
NUMERAL = "\ue000"  # stands for a numeral that is no decimal digit: ² ½ ④ Ⅻ
CJK = "々〇\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANJI_NUMERALS = "〇零一二两兩三四五六七八九十百千万萬億亿"
CROSSES = "❌✗✘✖❎🚫👎⛔🙅"
DENYING = CROSSES + "≠¬∉⊘"
FOLDED = dict.fromkeys(map(ord, "\u2010\u2012\u2013\u2043\u02d7\u2796\u2212"), "-")
FOLDED |= dict.fromkeys(map(ord, "\u2044\u2215"), "/") | dict.fromkeys(map(ord, "\u2018\u2019\u02bc"), "'")
SUPERSCRIPT = {"¹": "1", "²": "2", "³": "3"}

WRAPPERS = (
    r"text|textbf|textit|textrm|textsf|texttt|textnormal|mathbf|mathrm|mathit|mathsf|mathtt|mathnormal|operatorname|mbox|"
    r"boxed|fbox|displaystyle|textstyle|bf|rm|it|left|right|bigl?|bigr|Bigl?|Bigr|quad|qquad|bold|boldsymbol|emph|underline"
)
LETTER = rf"(?:(?![{CJK}])[^\W\d_])"
CURRENCY = r"(?:\\?\$|[€£¥₹₩₽])"
DIGITS = rf"\.?[\d{NUMERAL}](?:[\d{NUMERAL}.,/:'_]*[\d{NUMERAL}])?(?:[eE][+-]?\d+)?"
LATIN = re.compile(r"[a-zæœøłđı']+(?:\^\{?-?\d\}?)?")
FRACTION = r"\\[dt]?frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*\d+\s*\}|\d)"
LEXEME = re.compile(
    rf"""(?P<color>\\(?:text)?color\s*\{{\s*[a-zA-Z]+\s*\}})
    | (?P<wrapper>\\(?:{WRAPPERS})(?![a-zA-Z]))
    | (?P<dropped>\\[,;:!\ ()\[\]\\] | </?(?:b|strong|i|em|p|span|u)\s*/?> | <br\s*/?> | (?<={LETTER})-(?={LETTER})
                | (?<![\d{NUMERAL}])\ufe0f | \#+(?=\s))
    | (?P<number>(?:(?<![0-9A-Za-z)\]}}%°])[+-])?{CURRENCY}?(?:{DIGITS}|{FRACTION}))
    | (?P<abbreviation>(?<!\w)(?:e\.\s?g|i\.\s?e|[zZ]\.\s?B|p\.\s?e[xj]|d\.\s?h|A\.D|B\.C)\.)
    | (?P<cjk>[{CJK}]+)
    | (?P<word>{LETTER}+(?:'{LETTER}+)*(?:(?<={LETTER}{LETTER})\^\{{?-?\d\}}?)?)
    | (?P<negation>(?<!\S)!(?=\S) | &\#?\w+;)
    | (?P<mark>\\[a-zA-Z]+ | \\. | \*+ | _+
               | `+ | \#+ | ~+ | \.{{2,}} | -{{3,}} | ={{3,}} | -{{1,2}}> | ==> | [<>=!]= | =[<>] | \S)""",
    re.VERBOSE,
)
ROW = re.compile(r"^[ \t]*\|(?:[^|\n]*\|){2,}[ \t]*$", re.MULTILINE)  # of a table
PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
READ = re.compile(
    rf"(?P<sign>[+-]?){CURRENCY}?"
    rf"(?:(?P<top>\d+)/(?P<bottom>\d+)|(?P<plain>{PLAIN})(?:[eE](?P<power>[+-]?\d{{1,3}}))?)"
)
MEANT = {
    r"\%": "%",
    r"\$": "$",
    "->": "→",
    "-->": "→",
    "==>": "→",
    r"\to": "→",
    r"\rightarrow": "→",
    r"\Rightarrow": "→",
    r"\implies": "→",
}
MEANT |= {r"\therefore": "∴", "⇒": "→", "⟹": "→", r"\degree": "°", r"\{": "{", r"\}": "}"}


class Lexeme(NamedTuple):
    """``text`` as written, but folded. ``effect`` is the table's, "unread", or empty for unknown words and for marks,
    which mean what they mean by where they stand. ``fresh`` begins a line."""

    kind: Literal["number", "word", "mark"]
    text: str
    effect: Effect | Literal["unread", ""]
    start: int
    end: int
    fresh: bool

    def follows(self, other: Lexeme) -> bool:
        """Whether nothing stands between the other and this one."""
        return self.start == other.end

    @property
    def letter(self) -> bool:
        """Whether it may be the name of something in mathematics."""
        return self.kind == "word" and len(self.text) == 1 and not re.match(f"[{CJK}]", self.text)


def fold(text: str) -> str:
    """The text with one width, one minus and one apostrophe; "m²" is "m^2", other numerals that are no digits are one
    mark each, and a thousands comma as LaTeX writes it is a comma."""
    text = re.sub(r"(?<=[A-Za-z])(⁻?)([¹²³])", lambda m: f"^{'-' if m[1] else ''}{SUPERSCRIPT[m[2]]}", text)
    text = "".join(NUMERAL if _is_numeral(character) else character for character in text)
    text = unicodedata.normalize("NFKC", text).translate(FOLDED)
    text = re.sub(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)", "°", text)
    return re.sub(r"(?<=\d)(?:\{,\}|,\\!)(?=\d)", ",", text)


def plain(text: str) -> str:
    """A folded text without LaTeX's fonts, colours, boxes, spaces and dollars, and without emphasis around it."""
    text = text.replace(r"\{", "\ue001").replace(r"\}", "\ue002").replace(r"\%", "%")
    text = re.sub(r"(?<![\d\s])\\[dt]?frac\{(-?\d+)\}\{(\d+)\}|^\\[dt]?frac\{(-?\d+)\}\{(\d+)\}", _as_quotient, text)
    text = re.sub(r"\\(?:text)?color\s*\{\s*[a-zA-Z]+\s*\}", "", text)
    for _ in range(DEEPEST):
        text, count = re.subn(rf"\\(?:{WRAPPERS})\s*\{{([^{{}}]*)\}}", r" \1 ", text)
        if not count:
            break
    text = re.sub(rf"\\(?:{WRAPPERS})(?![a-zA-Z])|\\[,;:!\s()\[\]]|\\?\$", " ", text)
    return text.replace("\ue001", "{").replace("\ue002", "}").strip().strip("*`_ \n").strip()


def _as_quotient(fraction: re.Match[str]) -> str:
    top, bottom = (part for part in fraction.groups() if part)
    return f"{top}/{bottom}"


def _is_numeral(character: str) -> bool:
    return character == NUMERAL or (unicodedata.category(character) in ("No", "Nl") and character != "〇")


def lexemes(text: str) -> list[Lexeme]:
    """The lexemes of a folded text."""
    text = ROW.sub(lambda row: row[0].replace("|", " "), text)
    found: list[Lexeme] = []
    opened: list[bool] = []  # for each open brace, whether it only groups what a font or a box is put around
    wrapped, read = False, 0
    for match in LEXEME.finditer(text):
        kind, start, end = str(match.lastgroup), match.start(), match.end()
        written = match[0]
        fresh = "\n" in text[read:start] or not found
        if kind == "mark" and written == "{":
            opened.append(wrapped or re.match(r"\s*\\(?:color|textcolor|bf|rm|it)\b", text[end : end + 20]) is not None)
            if opened[-1]:
                wrapped, read = False, end
                continue
        elif kind == "mark" and written == "}" and opened and opened.pop():
            read = end
            continue
        wrapped = kind in ("color", "wrapper")
        if wrapped or kind == "dropped":
            continue
        read = end
        if kind == "cjk":
            found += _unspaced(written, start, fresh, found)
        elif kind in ("word", "abbreviation"):
            word = written if kind == "word" else re.sub(r"[.\s]", "", written)
            found.append(Lexeme("word", word, _effect(word), start, end, fresh))
        elif kind == "number":
            found.append(Lexeme("number", written, "" if value(written) is not None else "unread", start, end, fresh))
        else:
            mark = MEANT.get(written, written)
            found.append(
                Lexeme("mark", mark, "unread" if kind == "negation" or _hidden(mark) else "", start, end, fresh)
            )
    return _phrases(_without_emphasis(found, text))


def value(number: str) -> Fraction | None:
    """What a number says: signs, thousands commas, decimals, exponents, fractions, and digits of one script."""
    number = re.sub(r"\s", "", number)
    fraction = re.fullmatch(rf"([+-]?){CURRENCY}?\\[dt]?frac(?:\{{(-?)(\d+)\}}|(\d))(?:\{{(\d+)\}}|(\d))", number)
    if fraction:
        sign, inner, *parts = fraction.groups()
        top, bottom = (part for part in parts if part)
        number = f"{'-' if (sign == '-') != (inner == '-') else ''}{top}/{bottom}"
    match = READ.fullmatch(number) if len(number) <= LONGEST else None
    if match is None or len({ord(c) - unicodedata.digit(c) for c in number if c.isdecimal()}) > 1:
        return None
    if match["top"]:
        if int(match["bottom"]) == 0:
            return None
        found = Fraction(int(match["top"]), int(match["bottom"]))
    else:
        found = Fraction(match["plain"].replace(",", "")) * Fraction(10) ** int(match["power"] or 0)
    return -found if match["sign"] == "-" else found


# Words ---------------------------------------------------------------------------------------------------------------


def _bare(word: str) -> str:
    """A word in small letters, without accents."""
    parts = (unicodedata.normalize("NFD", character) for character in word.casefold())
    return "".join(part[0] if part[0].isascii() and part[0].isalpha() else part for part in parts)


PHRASES = table()
PHRASES = {tuple(map(_bare, words)): effect for words, effect in reversed(PHRASES.items())} | PHRASES
LONGER: dict[str, list[tuple[str, ...]]] = defaultdict(list)  # phrases of several words by the first, longest first
UNSPACED: dict[str, list[str]] = defaultdict(list)  # phrases of scripts without spaces by the first character
for _words in sorted(PHRASES, key=len, reverse=True):
    if len(_words) > 1:
        LONGER[_words[0]].append(_words)
for _word in sorted((words[0] for words in PHRASES if len(words) == 1), key=len, reverse=True):
    if re.match(f"[{CJK}]", _word):
        UNSPACED[_word[0]].append(_word)


def _known(word: str) -> str:
    """A word as the table has it: with its accents where they are listed."""
    folded = word.casefold()
    return folded if (folded,) in PHRASES else _bare(word)


def _effect(word: str) -> Effect | Literal["unread", ""]:
    if not LATIN.fullmatch(_bare(word)):
        return "unread"
    if (effect := PHRASES.get((_known(word),))) is not None:
        return effect
    if word.casefold().endswith("n't"):
        return "denial"
    if "'" in word:
        parts = word.split("'")
        effects = ["denial" if part.casefold() == "n" else _effect(part) for part in parts]
        changing = [effect for effect in effects if effect not in ("", "neutral", "copula")]
        if changing:
            return changing[0]
        return "neutral" if all(effect or len(part) <= 2 for effect, part in zip(effects, parts, strict=True)) else ""
    if re.fullmatch(r"[IVXLCDM]{2,}", word):
        return "numeral"
    return ""


def _unspaced(run: str, start: int, fresh: bool, before: Sequence[Lexeme]) -> Iterator[Lexeme]:
    """The phrases of a run of Chinese or Japanese, and what stands between them as unknown words."""
    at = begin = 0

    def unknown(end: int) -> Iterator[Lexeme]:
        if begin < end:
            yield Lexeme("word", run[begin:end], "", start + begin, start + end, fresh and begin == 0)

    while at < len(run):
        numerals = re.compile(f"[{KANJI_NUMERALS}]+").match(run, at)
        phrase = next(
            (each for each in UNSPACED.get(run[at], ()) if run.startswith(each, at) and _whole(run, at, each)), ""
        )
        effect: Effect | Literal[""] = PHRASES[(phrase,)] if phrase else ""
        if numerals and len(phrase) < 2 and (len(numerals[0]) > 1 or _isolated(run, at)):
            directly = at == 0 and bool(before) and before[-1].end == start
            if len(numerals[0]) > 1 or not (directly and effect):
                phrase, effect = numerals[0], "numeral"
        if phrase:
            yield from unknown(at)
            yield Lexeme("word", phrase, effect, start + at, start + at + len(phrase), fresh and at == 0)
            begin = at + len(phrase)
        at += len(phrase) or 1
    yield from unknown(len(run))


def _whole(run: str, at: int, phrase: str) -> bool:
    """Whether a phrase in katakana is a whole word: "ー" within メートル is no minus."""
    if not re.fullmatch("[\u30a1-\u30ff]+", phrase):
        return True
    around = run[at - 1 : at] + run[at + len(phrase) : at + len(phrase) + 1]
    return not re.search("[\u30a1-\u30ff]", around)


def _isolated(run: str, at: int) -> bool:
    """Whether a numeral stands for itself, and is no part of another word; 一 is too common a part."""
    return run[at] != "一" and not re.search("[\u3400-\u9fff]", run[max(0, at - 1) : at] + run[at + 1 : at + 2])


def _phrases(found: list[Lexeme]) -> list[Lexeme]:
    """The same lexemes, but phrases of several words are one."""
    joined: list[Lexeme] = []
    at = 0
    while at < len(found):
        first, size = found[at], 1
        if first.kind == "word":
            for words in LONGER.get(_known(first.text), LONGER.get(_bare(first.text), ())):
                following = found[at : at + len(words)]
                if len(following) == len(words) and all(
                    each.kind == "word" and word in (each.text.casefold(), _bare(each.text))
                    for each, word in zip(following, words, strict=True)
                ):
                    size = len(words)
                    last = following[-1]
                    first = Lexeme("word", " ".join(words), PHRASES[words], first.start, last.end, first.fresh)
                    break
        joined.append(first)
        at += size
    return joined


# Marks ---------------------------------------------------------------------------------------------------------------


def _hidden(mark: str) -> bool:
    """Whether a mark cannot be seen, or crosses out or denies what is beside it."""
    if (
        mark in DENYING
        or mark.startswith("~~")
        or mark in ("!=", "\\neq", "\\ne", "\\cancel", "\\not", "\\neg", "\\sout")
    ):
        return True
    return len(mark) == 1 and unicodedata.category(mark)[0] in "CM"


def _without_emphasis(found: list[Lexeme], text: str) -> list[Lexeme]:
    """The same without pairs of asterisks and underscores around something, and without marks of code."""

    def grips(each: Lexeme) -> bool:
        left, right = text[max(0, each.start - 1) : each.start], text[each.end : each.end + 1]
        apart = not left.strip() and not right.strip()
        between = re.match(r"[0-9A-Za-z)}\]]", left) and re.match(r"[0-9A-Za-z({\[\\]", right)
        return not apart and not between

    runs = [each for each in found if each.kind == "mark" and each.text[0] in "*_"]
    paired = {
        mark
        for mark in {each.text for each in runs}
        if sum(each.text == mark for each in runs) % 2 == 0 and all(grips(each) for each in runs if each.text == mark)
    }
    return [each for each in found if each.kind != "mark" or not (each.text in paired or each.text[0] == "`")]
