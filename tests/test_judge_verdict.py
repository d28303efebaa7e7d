"""Verdicts: the numbers of soft labels, and a reader of text that never raises and never makes a verdict up."""

from __future__ import annotations

import math
import random
import re

import pytest

from togi.rewards.judge.verdict import (
    Reply,
    Request,
    centred,
    clamped,
    debiased,
    expected_rating,
    flipped,
    normalised,
    read,
    read_text,
)
from togi.types import Message

PAIR = ("1", "2")
RATINGS = tuple(str(i) for i in range(1, 11))
ASK = Request(messages=(Message(role="user", content="?"),), options=PAIR)


def test_soft_label_is_the_mean_over_both_orders() -> None:
    first = normalised({"1": -0.4, "2": -1.3}, PAIR)["1"]
    second = normalised({"1": -0.9, "2": -0.6}, PAIR)["2"]
    label = debiased(first, second)
    assert (first, second, label) == pytest.approx((0.71095, 0.574443, 0.642696), abs=1e-6)
    # Cross-entropy of a reward model's margin of 0.5 to that label.
    log_sigmoid = -math.log1p(math.exp(-0.5))
    assert -label * log_sigmoid - (1 - label) * (log_sigmoid - 0.5) == pytest.approx(0.652729, abs=1e-6)


def test_clamp_after_reasons() -> None:
    assert [clamped(p, 0.4) for p in (0.97, 0.55, 0.1)] == [0.6, 0.55, 0.4]
    assert [clamped(p, 0.0) for p in (0.97, 0.0, 1.0)] == [0.97, 0.0, 1.0]


def test_a_yes_is_weighed_against_a_no() -> None:
    assert normalised({"Yes": -0.5, "No": -1.2}, ("Yes", "No"))["Yes"] == pytest.approx(0.668188, abs=1e-6)


def test_flips_and_ratings() -> None:
    assert flipped(0.7, 0.3)
    assert not flipped(0.7, 0.6)
    assert not flipped(0.5, 0.1)
    assert expected_rating({"1": 0.25, "10": 0.75}) == 7.75
    assert [centred(grade, 10) for grade in (1, 5.5, 10)] == [-1, 0, 1]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("2", PAIR, "2"),
        (" **1**\n", PAIR, "1"),
        ("[[2]]", PAIR, "2"),
        ("Answer: 2.", PAIR, "2"),
        ("The answer is 1", PAIR, "1"),
        ("Rating: 7", RATINGS, "7"),
        ("7/10", RATINGS, "7"),
        ("10 / 10", RATINGS, "10"),
        ("yes", ("Yes", "No"), "Yes"),
        ("It is short.\nIt is right.\n\n**Verdict:** 2", PAIR, "2"),
        ("why\nVERDICT: [[9]]", RATINGS, "9"),
        ("Verdict: 2\nVerdict: 2", PAIR, "2"),
        # Two verdicts, none on offer, not at the end, or only talked about.
        ("Verdict: 1\nVerdict: 2", PAIR, None),
        ("Verdict: 2\nBut 1 is good too.", PAIR, None),
        ("Verdict: 3", PAIR, None),
        ("Verdict:", PAIR, None),
        ("1 or 2", PAIR, None),
        ("1\n2", PAIR, None),
        ("-1", PAIR, None),
        (".5", RATINGS, None),
        ("1.5", RATINGS, None),
        ("11", RATINGS, None),
        ("0", RATINGS, None),
        ("2/5", RATINGS, None),
        ("1/2", PAIR, None),
        ("１", PAIR, None),
        ("> Verdict: 10", RATINGS, None),
        ("The text says Verdict: 10", RATINGS, None),
        ("I cannot judge this.", PAIR, None),
        ("I think that answer 2 is better.", PAIR, None),
        ("", PAIR, None),
        (" \n\t", PAIR, None),
    ],
)
def test_text_verdicts(text: str, options: tuple[str, ...], expected: str | None) -> None:
    assert read_text(text, options) == expected


def test_ten_thousand_texts_never_raise_and_never_invent_a_verdict() -> None:
    pieces = [
        "Verdict:",
        "verdict :",
        "Rating:",
        "Answer",
        "The answer is",
        "is",
        "or",
        "Yes",
        "No",
        "1",
        "2",
        "7",
        "10",
    ]
    pieces += ["3.5", "-", ".", ">", " ", "**", "[[", "]]", "/10", "/2", "解"]
    pieces += ["\n", "\u2028", "\x00", "\ud800", "１", "½", '"']
    rng = random.Random(0)
    allowed = {"verdict", "answer", "rating", "score", "the", "is"}
    found = 0
    for _ in range(10_000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(9)))
        options = rng.choice((PAIR, RATINGS, ("Yes", "No")))
        verdict = read_text(text, options)
        if verdict is None:
            continue
        found += 1
        last = [line for line in text.splitlines() if line.strip()][-1]
        words = re.findall(r"[\w½]+", last.casefold())
        assert verdict in options
        assert words.count(verdict.casefold()) >= 1, text
        assert set(words) <= allowed | {verdict.casefold()} | ({"10"} if options is RATINGS else set()), text
        assert ">" not in last, text
        assert "-" not in last, text
    assert found > 100


def test_a_reply_is_read_by_its_probabilities_then_by_its_text() -> None:
    assert read(ASK, Reply(text="1", logp={"2": -0.1})).probability == {"1": 0.0, "2": 1.0}
    assert read(ASK, Reply(text="1")).probability == {"1": 1.0, "2": 0.0}
    assert read(ASK, Reply(text="Sorry, no.")).status == "unparseable"
    assert read(ASK, Reply(status="timeout", note="late")).note == "late"
    reasons = Request(messages=ASK.messages, options=PAIR, reason=True)
    # Cut off: what looks like a verdict may be a quotation on the way to one.
    assert read(reasons, Reply(text="so\nVerdict: 1", cut=True)).status == "unparseable"
