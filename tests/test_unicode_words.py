"""Words, characters and look-alikes in many scripts, and what nobody sees."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from togi.unicode_words import SCRIPTS, blank, characters, ink, letters, pieces, script, times, visible, words

WORDS = [
    ("The cat sat.", ["The", "cat", "sat"]),
    ("don't twenty-one — 3.14", ["don't", "twenty-one", "3", "14"]),
    ("naïve cafe\u0301", ["naïve", "cafe\u0301"]),
    ("私は猫が好き。", ["私", "は", "猫", "が", "好", "き"]),
    ("東京タワーでPython3を学ぶ", ["東", "京", "タワー", "で", "Python3", "を", "学", "ぶ"]),
    ("らーめん", ["らー", "め", "ん"]),
    ("我爱北京", ["我", "爱", "北", "京"]),
    ("한국어를 배운다", ["한국어를", "배운다"]),
    ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
    ("ไทย ไทย", ["ไ", "ท", "ย", "ไ", "ท", "ย"]),
    ("می\u200cروم خانه", ["میروم", "خانه"]),
    ("pad\u200bded\u2060", ["padded"]),
    ("— … !!", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "wanted"), WORDS)
def test_words(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


def test_pieces_are_words_and_marks_without_case() -> None:
    assert pieces("Don't! 猫だ。") == ["don", "'", "t", "!", "猫", "だ", "。"]
    assert pieces("no\u200b no") == ["no", "no"]


# A phrase, a text, how often it stands there for sure, and at the most.
TIMES = [
    ("very", "Very VERY every", 2, 2),
    ("very", "ｖｅｒｙ 𝐯𝐞𝐫𝐲 ⓥⓔⓡⓨ", 3, 3),
    ("very", "v\u200bery ve\u00adry", 2, 2),
    ("very", "vеry νery ᴠᴇʀʏ VΕRY v̲e̲r̲y̲", 0, 5),
    ("cool", "c00l cооl", 0, 2),
    ("cat", "c4t concat cats", 0, 1),
    ("schon", "schön", 0, 0),
    ("straße", "STRASSE", 1, 1),
    ("big dog", "a Big\n dog, big dogs", 1, 1),
    ("C++", "C++, not C", 1, 1),
    ("猫", "私は猫が好き", 1, 1),
    ("Python", "私はPythonが好き。Pythonコード Pythons", 2, 2),
    ("ツリー", "クリスマスツリーとツリー", 1, 1),
    ("고양이", "고양이가 고양이를 새끼고양이", 2, 2),
    ("и", "он и она", 1, 1),
    ("कम", "कम कमरा", 1, 1),
]


@pytest.mark.parametrize(("phrase", "text", "sure", "most"), TIMES)
def test_times(phrase: str, text: str, sure: int, most: int) -> None:
    assert times(phrase, text) == (sure, most)


def test_letters() -> None:
    assert letters("e", "Eel ｅ") == (3, 3)
    assert letters("e", "еel") == (1, 2)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (" ab ", 2),
        ("e\u0301", 1),
        ("👩\u200d👩\u200d👧", 1),
        ("a\u200b\u200bb", 2),
        ("한글", 2),
        ("ｶﾞ", 1),
        ("\u3164", 0),
    ],
)
def test_characters(text: str, count: int) -> None:
    assert characters(text) == count


UNSEEN = [
    "",
    " \n\t",
    "\u200b\u200c\u200d",
    "\u3164\uffa0\u115f",
    "\u2800\u2800",
    "\u0301",
    "\x00\x1b",
    "\ufe0f",
    "\U000e0041",
]


@pytest.mark.parametrize("text", UNSEEN)
def test_blank(text: str) -> None:
    assert blank(text)
    assert ink(text) == 0


@pytest.mark.parametrize("text", ["a", "…", "。", "❤\ufe0f", "字", "٣", "\u200b.\u200b"])
def test_not_blank(text: str) -> None:
    assert not blank(text)
    assert ink(text) == 1


@given(st.text(max_size=40), st.sampled_from(["\u200b", "\u2060", "\u00ad", "\u3164", "\x07"]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_is_unseen_changes_nothing(text: str, unseen: str) -> None:
    padded = unseen.join(["", *visible(text), ""])
    assert words(padded) == words(visible(text))
    assert visible(padded) == visible(visible(text))


SCRIPTED = [
    ("latin", "Grüße, Ａb 5!", "Gruß мир"),
    ("cyrillic", "Привет, 5!", "Привет abc"),
    ("greek", "Αθήνα 5", "Aθήνα"),
    ("japanese", "東京タワーで、らーめん々 1", "東京 Tower"),
    ("chinese", "你好。", "你好です"),
    ("cjk", "你好", "こんにちは"),
    ("korean", "안녕하세요!", "안녕 hi"),
    ("hiragana", "らーめん", "ラーメン"),
    ("devanagari", "हिन्दी भाषा", "हिन्दी bhasha"),
    ("Old Italic", "𐌀𐌁", "ab"),
    ("Arab", "مرحبا", "hi"),
]


@pytest.mark.parametrize(("name", "kept", "broken"), SCRIPTED)
def test_scripts(name: str, kept: str, broken: str) -> None:
    known = script(name)
    assert known is not None
    assert known.fullmatch(kept)
    assert not known.fullmatch(broken)


@pytest.mark.parametrize("name", ["klingon", "jpan", "", "latin}x", "L", "english", "no such"])
def test_names_that_are_no_script(name: str) -> None:
    assert script(name) is None


def test_names_that_are_offered_are_known() -> None:
    assert all(script(name) for name in SCRIPTS)
