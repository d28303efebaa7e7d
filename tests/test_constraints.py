"""Instructions that a program can check: each kind kept and broken, and what a row may ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from togi.graders.constraints import CHECKS
from togi.rewards import exact, follows, gate
from togi.rewards.algebra import Composable
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Score, Task, Trajectory, Turn


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=10.0) as pool:
        yield pool


def grade(reward: Composable, constraints: Any, *texts: str) -> list[Score]:
    info = {"constraints": constraints}
    task = Task(id="train:1", prompt=(Message(role="user", content="?"),), answer="yes", info=info)
    turns = [Turn(prompt=(1,), completion=(2,), text=text, stop="eos") for text in texts]
    return reward(task, [Trajectory(turns=(turn,), stop="eos") for turn in turns])


# Constraint, a text that keeps it, texts that do not.
CASES: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"kind": "words", "min": 2, "max": 3}, "well-known don't", ["one", "one two three four", "— — —"]),
    ({"kind": "sentences", "min": 2, "max": 2}, 'One. "Two!" ', ["One.", "One. Two. Three", "... ..."]),
    ({"kind": "paragraphs", "min": 2, "max": 2}, "a\n \nb", ["a\nb", "a\n\nb\n\nc"]),
    ({"kind": "characters", "max": 3}, " abc ", ["abcd"]),
    ({"kind": "lines", "min": 2}, "a\nb", ["a\n\n"]),
    ({"kind": "include", "words": ["cat", "big dog"]}, "A Cat, a big dog.", ["cats big dog", "cat dog"]),
    ({"kind": "include", "words": ["cat"], "min": 2, "max": 2}, "cat cat", ["cat", "cat cat cat"]),
    ({"kind": "exclude", "words": ["very"]}, "every", ["VERY good"]),
    ({"kind": "letter", "letter": "e", "max": 1}, "bEd", ["eel"]),
    ({"kind": "bullets", "min": 2, "max": 2}, "so:\n- a\n* b", ["- a", "-a\n-b", "- a\n- b\n- c", "- \n- "]),
    ({"kind": "numbered", "min": 2}, "1. a\n2) b", ["1. a", "1. a\n1. b", "2. a\n1. b"]),
    ({"kind": "headings"}, "# A\ntext", ["#A", "text"]),
    ({"kind": "highlights", "min": 2}, "*a* and **b c**", ["*a*", "* a * and * b *", "2*3*4 x"]),
    ({"kind": "placeholders"}, "Dear [name]", ["Dear []", "Dear name"]),
    ({"kind": "title"}, "<<My day>>\nIt was good.", ["<< >>", "My <<day>>", "# My day"]),
    ({"kind": "json"}, '```json\n{"a": 1}\n```', ['Here: {"a": 1}', "{"]),
    ({"kind": "quoted"}, '"all of it"', ['"some" of it', '""', '"']),
    ({"kind": "starts", "text": "Dear"}, " Dear you", ["dear you"]),
    ({"kind": "ends", "text": "Bye."}, "So. Bye.\n", ["Bye. Now"]),
    ({"kind": "case", "form": "upper"}, "ALL OF 3 IT", ["ALL of it", "123", "!"]),
    ({"kind": "case", "form": "lower"}, "all of it", ["All of it"]),
    ({"kind": "case", "form": "title"}, "The Big 3", ["The big"]),
    ({"kind": "capitals", "min": 1, "max": 1}, "I am BIG", ["I am", "A BIG DOG"]),
    ({"kind": "no_commas"}, "one two", ["one, two", "一，二"]),
    ({"kind": "script", "name": "cyrillic"}, "Привет, 5!", ["Привет abc", "hello", "123"]),
    ({"kind": "script", "name": "cjk"}, "你好", ["こんにちは"]),
    ({"kind": "script", "name": "japanese"}, "東京タワーへ行く。", ["Tokyo タワー"]),
    ({"kind": "words", "min": 3, "max": 6}, "私は猫が好き", ["猫", "私は猫がとても好き", "a\u200bb c"]),
    ({"kind": "sentences", "min": 2, "max": 2}, "猫です。好きです！", ["猫です"]),
    ({"kind": "characters", "min": 4}, "猫が好き", ["猫\u200b\u200b\u3164好", "e\u0301e\u0301"]),
    ({"kind": "include", "words": ["猫"]}, "私は猫が好き", ["私は犬が好き"]),
    ({"kind": "include", "words": ["cat"]}, "ｃａｔ", ["cаt"]),
    ({"kind": "exclude", "words": ["very"]}, "every", ["vеry", "v\u200bery", "ｖｅｒｙ", "𝓿𝓮𝓻𝔂", "ᴠᴇʀʏ", "v̶e̶r̶y̶"]),
    ({"kind": "exclude", "words": ["猫"]}, "私は犬が好き", ["私は猫が好き"]),
    ({"kind": "letter", "letter": "e", "max": 0}, "nothing", ["bеd", "bｅd"]),
    ({"kind": "numbered", "min": 2}, "１．猫\n２．犬", ["１．猫\n３．犬"]),
    ({"kind": "quoted"}, "「猫です」", ["「猫」です"]),
    ({"kind": "no_commas"}, "一 二", ["一、二", "a‚ b", "a، b", "a﹐b"]),
    ({"kind": "capitals", "max": 0}, "i am big", ["I am B\u200bIG"]),
]  # fmt: skip


def test_every_kind_has_a_case() -> None:
    assert {case[0]["kind"] for case in CASES} == set(CHECKS)


@pytest.mark.parametrize(
    ("constraint", "kept", "broken"), CASES, ids=lambda x: x["kind"] if isinstance(x, dict) else ""
)
def test_kinds(pool: Pool, constraint: dict[str, Any], kept: str, broken: list[str]) -> None:
    scores = grade(follows(pool=pool), [constraint], kept, *broken, "\u200b\u3164", f"<think>{kept}")
    assert all(score.status == "ok" for score in scores), scores
    assert [score.value for score in scores] == [1] + [0] * (len(broken) + 2)
    assert [score.parts["parsed"] for score in scores] == [1] * (len(broken) + 1) + [0, 0]
    assert all(score.parts[f"follows/{constraint['kind']}"] == score.value for score in scores)


BOTH = [{"kind": "words", "max": 3}, {"kind": "ends", "text": "!"}, {"kind": "ends", "text": "so!"}]


def test_all_constraints_count_and_each_kind_is_a_part(pool: Pool) -> None:
    first, second = grade(follows(pool=pool), BOTH, "<think>well</think>be it so!", "yes!")
    assert (first.value, second.value) == (1, 0)
    wanted = {"follows": 0, "follows/words": 1, "follows/ends": 0, "correct": 0, "parsed": 1}
    assert dict(second.parts) == wanted
    (partial,) = grade(follows(partial=True, pool=pool), BOTH, "yes!")
    assert partial.value == pytest.approx(2 / 3)
    assert partial.parts["follows/ends"] == 0


def test_constraints_gate_a_right_answer(pool: Pool) -> None:
    scores = grade(
        gate(exact(pool=pool), by=follows(pool=pool)), [{"kind": "case", "form": "lower"}], "yes", "YES", "no"
    )
    assert [score.value for score in scores] == [1, 0, 0]
    assert [score.parts["correct"] for score in scores] == [1, 0, 0]


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (None, "task train:1 has no constraints"),
        ([], "wanted a list"),
        ([{"kind": "word", "max": 3}], 'did you mean "words"'),
        (["words"], "its kind is one of words, sentences"),
        ([{"kind": "words", "most": 3}], 'no key "most"; its keys are min, max'),
        ([{"kind": "words", "max": "3"}], "\"max\" is '3'; wanted int"),
        ([{"kind": "words", "max": -1}], "wanted int"),
        ([{"kind": "include", "words": "cat"}], "texts in a list"),
        ([{"kind": "exclude"}], "it lacks words"),
        ([{"kind": "starts"}], "it lacks text"),
        ([{"kind": "case", "form": "small"}], "one of upper, lower, title"),
        ([{"kind": "script", "name": "klingon"}], "a script of Unicode, as latin, greek"),
        ([{"kind": "script", "name": "japnese"}], 'did you mean "japanese"'),
    ],
)
def test_constraints_that_are_none_are_refused(constraints: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        grade(follows(), constraints, "x")
