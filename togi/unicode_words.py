"""What Unicode says of a text: what of it can be seen, its words in any script, and which letters look alike.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no spaces between words. There each letter is a word, with its
marks, and a run of Katakana is one, as in Unicode's own rule (UAX #29); no dictionary is asked. It knows no reward.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import regex

_LETTER = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts without spaces, a word each
_KATAKANA = r"\p{Katakana}\u30fc\uff70"  # and the sign that lengthens a vowel
_RUN = rf"[\w--[{_LETTER}{_KATAKANA}]]"
_WORDS = rf"[{_LETTER}][\p{{M}}\u30fc]*|[{_KATAKANA}]+"
WORD = regex.compile(rf"{_WORDS}|{_RUN}+(?:['’\-]{_RUN}+)*", regex.V1)
PIECE = regex.compile(rf"{_WORDS}|{_RUN}+|[^\w\s]", regex.V1)

# A joiner and a style within an emoji belong to what is seen; BRAILLE PATTERN BLANK is a sign without ink.
_UNSEEN = regex.compile(
    r"(?<!\p{Extended_Pictographic}\ufe0f?)\u200d|(?<!\p{Emoji})\ufe0f"
    r"|[[\p{Default_Ignorable_Code_Point}\p{Cc}\u2800]--[\s\u200d\ufe0f]]",
    regex.V1,
)
_INK = regex.compile(r"[\p{L}\p{N}\p{P}\p{S}]")

# Letters of other scripts that are drawn like Latin ones; what NFKC maps (full width, bold, circled) is not among them.
_ALIKE: dict[str, str] = {
    "A": "АΑᎪ", "a": "аαɑ", "B": "ВΒᏴ", "C": "СᏟ", "c": "сϲ", "d": "ԁ", "E": "ЕΕᎬ", "e": "еε", "G": "Ꮐ", "g": "ɡց",
    "H": "НΗᎻ", "h": "һհ", "I": "ІΙ", "i": "іιıɩ", "J": "ЈᎫ", "j": "јյ", "K": "КΚᏦ", "k": "кκ", "L": "Ꮮ", "l": "ӏ",
    "M": "МΜᎷ", "m": "м", "N": "Ν", "n": "ηո", "O": "ОΟՕ", "o": "оοօ", "P": "РΡᏢ", "p": "рρ", "q": "ԛզ", "R": "Ꭱ",
    "S": "ЅᏚ", "s": "ѕ", "T": "ТΤᎢ", "t": "тτ", "u": "υսʋ", "V": "ѴᏙ", "v": "ѵν", "W": "ԜᎳ", "w": "ԝω", "X": "ХΧ",
    "x": "хχ", "Y": "ҮΥ", "y": "уγү", "Z": "ΖᏃ", "b": "Ьь", "f": "ƒ",
}  # fmt: skip
_PLAIN = {ord(other): latin for latin, others in _ALIKE.items() for other in others}
_SMALL = "LATIN LETTER SMALL CAPITAL "
_DIGITS = {"0": "o", "1": "l", "3": "e", "4": "a", "5": "s", "7": "t"}
_DIGIT = regex.compile(r"(?<=\p{L})[013457]|[013457](?=\p{L})")

_SEVERAL = {
    "cjk": ("Han",), "chinese": ("Han", "Bopomofo"), "japanese": ("Han", "Hiragana", "Katakana"), "korean": ("Hangul",),
}  # fmt: skip
SCRIPTS = (
    "latin", "greek", "cyrillic", "armenian", "hebrew", "arabic", "devanagari", "bengali", "tamil", "telugu", "thai",
    "lao", "khmer", "myanmar", "georgian", "ethiopic", "hangul", "han", "hiragana", "katakana", *_SEVERAL,
)  # fmt: skip
"""Names of scripts that many people need; ``script`` knows all that Unicode has."""


def words(text: str) -> list[str]:
    """The words of what is seen of a text; "don't" and "twenty-one" are one each."""
    return list(WORD.findall(visible(text)))


def pieces(text: str) -> list[str]:
    """Words and punctuation marks, each mark by itself; case does not count."""
    return list(PIECE.findall(visible(text).casefold()))


def visible(text: str) -> str:
    """The text without what nobody sees: zero-width signs, fillers, control characters. White space stays."""
    return str(_UNSEEN.sub("", text))


def blank(text: str) -> bool:
    """Whether a reader sees nothing there: no letter, digit, mark or sign."""
    return not _INK.search(visible(text))


def ink(text: str) -> int:
    """How many letters, digits, marks and signs a reader sees."""
    return len(_INK.findall(visible(text)))


def characters(text: str) -> int:
    """As many as a reader counts: a letter with its marks is one, an emoji of several parts too."""
    return len(regex.findall(r"\X", visible(text).strip()))


def times(phrase: str, text: str) -> tuple[int, int]:
    """How often a word or phrase stands in a text, whole and in any case and width: for sure, and at the most, which
    counts letters that only look like its own.

    Where words have no spaces a phrase stands wherever its letters do. In Korean what follows a word may be a particle.
    """
    sure = _count(_folded(phrase), _folded(text))
    return sure, max(sure, _count(_drawn(phrase), _drawn(text)))


def letters(letter: str, text: str) -> tuple[int, int]:
    """How often a letter stands in a text, as ``times`` counts."""
    sure = _folded(text).count(_folded(letter))
    return sure, max(sure, _drawn(text).count(_drawn(letter)))


@cache
def script(name: str) -> regex.Pattern[str] | None:
    """What matches a text whose letters are all of this script; None for a name that is none."""
    wanted = _SEVERAL.get(name.casefold(), (name,))
    if not all(regex.fullmatch(r"[A-Za-z_ ]+", each) for each in wanted):
        return None
    inside = "".join(rf"\p{{Script_Extensions={each}}}" for each in wanted)
    try:
        return regex.compile(rf"(?:\P{{Alphabetic}}|[{inside}])*")
    except regex.error:
        return None


def _count(phrase: str, text: str) -> int:
    inner = r"\s+".join(map(regex.escape, phrase.split()))
    before, after = _edge(phrase.strip()[:1]), _edge(phrase.strip()[-1:])
    ahead = "" if regex.fullmatch(r"\p{Hangul}", phrase.strip()[-1:]) else f"(?!{after})" * bool(after)
    return len(regex.findall(f"(?<!{before})" * bool(before) + inner + ahead, text, regex.V1)) if inner else 0


def _edge(character: str) -> str:
    """What may not stand beside a word's first or last letter, or it would be another word; empty for no such thing."""
    if regex.fullmatch(rf"[{_LETTER}]", character):
        return ""
    for joined in (rf"[{_KATAKANA}]", r"\p{Hangul}"):
        if regex.fullmatch(joined, character):
            return joined
    return rf"[\w--[{_LETTER}{_KATAKANA}\p{{Hangul}}]]"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible(text)).casefold())


def _drawn(text: str) -> str:
    """The text as its letters look: of Latin ones' shape, without marks that make no letter of their own."""
    text = unicodedata.normalize("NFKC", visible(text)).translate(_PLAIN)
    text = "".join(_small(each) if each > "\x7f" else each for each in text)
    text = _DIGIT.sub(lambda found: _DIGITS[found[0]], text)
    return str(regex.sub(r"\p{Mn}", "", text.casefold()))


def _small(character: str) -> str:
    name = unicodedata.name(character, "")
    return name.removeprefix(_SMALL) if len(name) == len(_SMALL) + 1 and name.startswith(_SMALL) else character
