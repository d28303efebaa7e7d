"""Which rows nearly repeat others, and which hold held-out questions: a table of each, one line a case."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from togi.data import DataError, Prompting
from togi.data.asked_text import question_of, whole_of, words_of
from togi.data.near_duplicates import find_repeats, jaccard, shingles
from togi.data.overlap import find_overlaps
from togi.data.row_to_task import make_task
from togi.types import Task

SHEEP = "A farmer has 17 sheep and all but 9 run away in the night. How many sheep does the farmer have left?"
CLIPS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?"
)
FORM = "Think step by step, then write the final answer behind four number signs and nothing else."


pytest.importorskip("datasketch")


def tasks(*rows: dict[str, Any] | str) -> list[Task]:
    asked = ({"prompt": row} if isinstance(row, str) else row for row in rows)
    return [make_task(row, f"rows:{number}", Prompting()) for number, row in enumerate(asked, start=1)]


def test_the_similarity_is_the_share_of_common_runs() -> None:
    one, other = shingles(words_of("a b c d e"), 2), shingles(words_of("a b c d f"), 2)
    assert (len(one), jaccard(one, other)) == (4, 3 / 5)
    assert shingles(words_of("Hi!"), 5) == {(("hi",), 0)}
    assert jaccard(shingles((), 3), shingles((), 3)) == 1.0
    assert jaccard(shingles(words_of("go go go"), 1), shingles(words_of("go go"), 1)) == 2 / 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What is 17 + 25?", "what is 17+ 25"),
        ("What is 17 * 25?", "what is 17* 25"),
        ("(3−4)/5 = x, 50%", "3− 4/ 5= x 50%"),
        ('"Well," he said - "no": [done].', "well he said- no done"),
        ("+ 4", "+ 4"),
        ("$5 and £6", "$ 5 and£ 6"),
        ("东京，日本。", "东 京 日 本"),
        ("don't", "don t"),
        ("?!", ""),
    ],
)
def test_words_have_the_signs_behind_them_and_no_marks(text: str, words: str) -> None:
    assert " ".join(words_of(text)) == words


ALIKE: list[tuple[str, Any, Any, bool]] = [
    ("the same", SHEEP, SHEEP, True),
    ("case and white space", SHEEP, "  " + SHEEP.upper().replace(" ", "  "), True),
    ("unseen signs", SHEEP, SHEEP.replace("farmer", "far\u200bmer"), True),
    ("a comma", SHEEP, SHEEP.replace("sheep and", "sheep, and"), True),
    ("a word", SHEEP, SHEEP.replace("night", "evening"), True),
    ("another question", SHEEP, CLIPS, False),
    ("another number, another answer", {"prompt": SHEEP, "answer": "9"},
     {"prompt": SHEEP.replace("but 9", "but 8"), "answer": "8"}, False),
    ("another number, no answers", SHEEP, SHEEP.replace("but 9", "but 8"), True),
    ("the same answer written otherwise", {"prompt": SHEEP, "answer": "Nine sheep"},
     {"prompt": SHEEP.replace("night", "evening"), "answer": "nine  SHEEP"}, True),
    ("an answer of another type", {"prompt": SHEEP, "answer": "9"}, {"prompt": SHEEP + "!", "answer": 9}, True),
    ("short questions", "What is 17 + 25?", "What is 17 + 26?", False),
    ("another sign", "What is 17 + 25?", "What is 17 - 25?", False),
    ("the same runs, another sum", {"prompt": "4+1+4+4:", "answer": "13"},
     {"prompt": "1+4+1+4+4:", "answer": "14"}, False),
    ("a longer sum", "1+1+1:", "1+1+1+1+1+1+1+1:", False),
    ("without spaces between words", "东京是日本最大的城市和首都，对不对？回答。",
     "东京是日本最大的城市和首都，对不对？请回答。", True),
    ("system messages do not count", {"prompt": SHEEP, "system": "Be brief."}, {"prompt": SHEEP}, True),
    ("a conversation", {"messages": [{"role": "user", "content": SHEEP}, {"role": "assistant", "content": "9"}]},
     {"prompt": SHEEP}, True),
    ("raw text", {"text": SHEEP}, {"text": SHEEP + " Nine."}, True),
    ("other demonstrations", {"prompt": SHEEP, "completion": "Nine."}, {"prompt": SHEEP, "completion": "9 left"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "repeats"), [row[1:] for row in ALIKE], ids=[row[0] for row in ALIKE])
def test_what_repeats_an_earlier_row(one: Any, other: Any, repeats: bool) -> None:
    found = find_repeats(tasks(one, other), 0.7, 3)
    assert [(each.row, each.of) for each in found] == ([(1, 0)] if repeats else [])


def test_the_same_question_with_another_answer_contradicts() -> None:
    found = find_repeats(
        tasks({"prompt": SHEEP, "answer": "9"}, {"prompt": SHEEP, "answer": "8"}, {"prompt": SHEEP, "answer": "9"}),
        0.7,
        3,
    )
    assert [(each.row, each.of, each.contradicts) for each in found] == [(1, 0, True), (2, 0, False)]


def test_answers_are_compared_where_the_whole_row_is() -> None:
    rows = tasks({"prompt": "Say it.", "completion": SHEEP}, {"prompt": "Say it.", "completion": CLIPS})
    assert len(find_repeats(rows, 0.7, 3, question_of)) == 1
    assert find_repeats(rows, 0.7, 3, whole_of) == []


def test_chains_of_small_changes_do_not_carry_on() -> None:
    words = [f"word{number}" for number in range(40)]
    chain = []
    for changed in range(0, 40, 3):
        chain.append(" ".join([f"new{number}" for number in range(changed)] + words[changed:]))
    found = find_repeats(tasks(*chain), 0.7, 3)
    assert {each.of for each in found}.isdisjoint({each.row for each in found})
    assert 0 < len(found) < len(chain) - 2


def test_no_pair_at_the_bound_is_missed() -> None:
    """MinHash only proposes: what it finds is what comparing all with all finds."""
    rng = random.Random(0)
    texts = []
    for _ in range(60):
        base = [str(rng.randrange(1000)) for _ in range(30)]
        texts.append(" ".join(base))
        for place in rng.sample(range(30), rng.choice([1, 2])):
            base[place] = "changed"
        texts.append(" ".join(base))
    found = {(each.row, each.of) for each in find_repeats(tasks(*texts), 0.7, 3)}
    sets = [shingles(words_of(text), 3) for text in texts]
    stay: list[int] = []
    exact = set()
    for row, own in enumerate(sets):
        of = next((other for other in stay if jaccard(own, sets[other]) >= 0.7), None)
        exact |= {(row, of)} if of is not None else set()
        stay += [row] if of is None else []
    assert found == exact
    assert 20 < len(found) < 60


@pytest.mark.parametrize(("similarity", "run"), [(0, 3), (1.1, 3), (-1, 3), (0.7, 0)])
def test_bounds_that_say_nothing_are_refused(similarity: float, run: int) -> None:
    with pytest.raises(DataError, match="got"):
        find_repeats(tasks(SHEEP), similarity, run)


# Held-out questions ---------------------------------------------------------------------------------------------------

OTHERS = ["Name the capital of Kenya in one word please now.", "Who wrote the old book about the white whale at sea?"]
HOLDS: list[tuple[str, Any, bool]] = [
    ("word for word", CLIPS, True),
    ("inside a longer text", f"Please solve this. {CLIPS} Write it down.", True),
    ("case, white space and marks", CLIPS.upper().replace(", and", " ,  and"), True),
    ("a word in the middle changed", CLIPS.replace("half as many", "twice as many"), True),
    ("two words changed", CLIPS.replace("half as", "twice as").replace("altogether", "in all"), True),
    ("in a recorded answer", {"prompt": "Recite a riddle.", "completion": CLIPS}, True),
    ("in a conversation", {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"},
     {"role": "user", "content": CLIPS}, {"role": "assistant", "content": "72"}]}, True),
    ("the first half", " ".join(CLIPS.split()[:18]), True),
    ("a third", " ".join(CLIPS.split()[:10]), False),
    ("the same words in another order", " ".join(sorted(CLIPS.split())), False),
    ("another question", SHEEP, False),
    ("the common form alone", FORM, False),
    ("another question in the common form", f"How far is it to the moon and back again in miles? {FORM}", False),
]  # fmt: skip


@pytest.mark.parametrize(("row", "holds"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_what_holds_a_held_out_question(row: Any, holds: bool) -> None:
    held_out = tasks(CLIPS, *(f"{question} {FORM}" for question in (*OTHERS, "What is the third prime after twenty?")))
    found = find_overlaps(tasks("Nothing here.", row), held_out, 8, 0.5)
    assert [(each.row, each.of) for each in found] == ([(1, 0)] if holds else [])


FORMED = [f"What is {number} + 25? {FORM}" for number in range(100)]
SHORT: list[tuple[str, Sequence[str], str, bool]] = [
    ("whole", ["What is 17 + 25?"], "What is 17 + 25?", True),
    ("inside", ["What is 17 + 25?"], "Answer in words: what is 17 + 25? Be brief.", True),
    ("another number", ["What is 17 + 25?"], "What is 17 + 26?", False),
    ("too short to stand inside", ["Why not?"], "Tell me why not? I ask.", False),
    ("so short, and all of it", ["Why not?"], "why NOT?", True),
    ("without any words", ["?"], "What?", False),
    ("one of several, all of one form", FORMED, f"What is 17 + 25? {FORM}", True),
    ("a part of a sum", ["5+4+3+2+4+5+3:"], "1+4+3+2+4+5+1:", False),
    ("another sign", ["What is 17 + 25?"], "What is 17 * 25?", False),
    ("none of several", FORMED, f"What is 170 + 25? {FORM}", False),
    ("held out three times", [CLIPS] * 3, CLIPS, True),
]  # fmt: skip


@pytest.mark.parametrize(("held_out", "row", "holds"), [row[1:] for row in SHORT], ids=[row[0] for row in SHORT])
def test_short_questions_and_forms(held_out: Sequence[str], row: str, holds: bool) -> None:
    assert bool(find_overlaps(tasks(row), tasks(*held_out), 8, 0.5)) is holds


def test_the_question_that_a_row_holds_most_of_is_named_with_the_stretch() -> None:
    held_out = tasks(SHEEP, CLIPS)
    (found,) = find_overlaps(tasks(f"{' '.join(SHEEP.split()[:14])} {CLIPS}"), held_out, 8, 0.5)
    assert (found.of, found.share) == (1, 1.0)
    assert found.longest.startswith("natalia sold clips to 48")
    assert found.longest.endswith("in april and may")
    (half,) = find_overlaps(tasks(CLIPS.replace("half as", "twice as")), tasks(CLIPS), 8, 0.5)
    assert half.longest == "as many clips in may how many clips did natalia sell altogether in april and may"
    assert 0.9 < half.share < 1


@pytest.mark.parametrize(("run", "share"), [(1, 0.5), (8, 0), (8, 1.5)])
def test_runs_and_shares_that_say_nothing_are_refused(run: int, share: float) -> None:
    with pytest.raises(DataError, match="got"):
        find_overlaps(tasks(SHEEP), tasks(CLIPS), run, share)
    with pytest.raises(DataError, match="no held-out questions"):
        find_overlaps(tasks(SHEEP), [], 8, 0.5)
