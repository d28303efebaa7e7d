"""Diversity: counted by hand, unmoved by length, and a word on whether answers became more alike."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from togi.evidence.after.diversity import (
    compare_diversity,
    distinct_share,
    diversity,
    drawn_entropy,
    fair_sizes,
    measures,
    words,
)
from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, ScoreRecord, TaskRecord


def task(texts: list[str], name: str = "t", stop: str = "eos") -> TaskRecord:
    score = ScoreRecord(value=1.0, parts={}, status="ok", note="")
    attempts = [AttemptRecord(completion=text, tokens=len(text), stop=stop, score=score) for text in texts]
    return TaskRecord(id=name, prompt=name, answer=None, attempts=attempts)


def record(model: str, texts: list[list[str]]) -> EvaluationRecord:
    return EvaluationRecord(
        model=model,
        step=0,
        attempts=len(texts[0]),
        pass_mark=1.0,
        sampling={"temperature": 1.0},
        tasks=[task(each, str(number)) for number, each in enumerate(texts)],
        seconds=0.0,
        tokens=0,
    )


def test_words_are_words_in_any_script() -> None:
    assert words("Don't STOP, Élan 2!") == ("don", "'", "t", "stop", ",", "élan", "2", "!")
    assert words(" \n") == ()


def test_the_mean_over_all_draws_is_exact() -> None:
    things = list("aaabbc")
    counts = np.array(sorted(Counter(things).values()))
    for size in (1, 2, 4, 6):
        draws = list(itertools.combinations(things, size))
        assert distinct_share(counts, size) == pytest.approx(np.mean([len(set(draw)) / size for draw in draws]))

        def entropy(draw: tuple[str, ...]) -> float:
            return -sum(n / len(draw) * math.log(n / len(draw)) for n in Counter(draw).values())

        assert drawn_entropy(counts, size) == pytest.approx(np.mean([entropy(draw) for draw in draws]))


def test_length_alone_does_not_move_distinct_words() -> None:
    rng = np.random.default_rng(0)
    vocabulary = [f"w{index}" for index in range(300)]

    def texts(length: int) -> list[list[str]]:
        return [[" ".join(rng.choice(vocabulary, length)) for _ in range(4)] for _ in range(80)]

    short, long = record("short", texts(15)), record("long", texts(120))
    sizes = fair_sizes([short, long])
    assert sizes == {1: 60, 2: 56, 3: 52}
    a, b = (diversity(one, sizes).measures["distinct-1"] for one in (short, long))
    assert a.point == pytest.approx(b.point, abs=0.02)
    plain = [np.mean([len(set(t.split())) / len(t.split()) for ts in texts(n) for t in ts]) for n in (15, 120)]
    assert plain[0] - plain[1] > 0.1  # what the plain share would have said
    change = compare_diversity(short, long)
    assert change.measures["distinct-1"].low < 0 < change.measures["distinct-1"].high


def test_attempts_at_one_task_are_held_against_each_other() -> None:
    found = measures(task(["a b", "a b", "a c"]), {})
    assert found["duplicates"] == pytest.approx(1 / 3)
    assert found["similarity"] == pytest.approx((1 + 1 / 5 + 1 / 5) / 3)
    assert measures(task(["", "", ""]), {}) == {"similarity": 1.0, "duplicates": 1.0}
    assert measures(task(["a b"]), {1: 2}) == {"distinct-1": 1.0, "entropy-1": pytest.approx(math.log(2))}
    assert measures(task(["a b", "a b"], stop="error"), {1: 2}) == {}
    assert measures(task(["a"]), {1: 2}) == {}


def test_word_pairs_do_not_reach_over_attempts() -> None:
    assert fair_sizes([record("m", [["a", "b"], ["a", "b"]])]) == {1: 2}
    assert fair_sizes([record("m", [["a b c", "d e f"]])]) == {1: 6, 2: 4, 3: 2}


def varied(model: str, choices: int) -> EvaluationRecord:
    rng = np.random.default_rng(choices)
    return record(model, [[f"the word is {rng.integers(choices)} today" for _ in range(4)] for _ in range(60)])


def test_answers_that_grow_alike_are_found() -> None:
    before, same, after = varied("before", 50), varied("same", 51), varied("after", 2)
    assert compare_diversity(before, after).verdict == "alike"
    assert compare_diversity(after, before).verdict == "varied"
    assert compare_diversity(before, same).verdict == "unclear"
    change = compare_diversity(before, after).measures
    assert change["duplicates"].low > 0.2
    assert change["distinct-1"].high < 0
    assert change["entropy-2"].high < 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="attempts a task"):
        compare_diversity(record("a", [["x"]]), record("b", [["x", "y"]]))
    with pytest.raises(ValueError, match="different tasks"):
        compare_diversity(record("a", [["x"]]), record("b", [["x"], ["y"]]))
    assert compare_diversity(record("a", [["x y"]]), record("b", [["z y"]])).verdict == "unclear"
