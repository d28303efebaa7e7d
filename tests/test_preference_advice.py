"""Advice about pair sets: rules that see no content decide, labels contradict, texts repeat."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from togi.evidence.before import preference_advice as pairing
from togi.evidence.before.answer_features import first_word, shared_ends, traits_of
from togi.evidence.before.preference_advice import pair_findings
from togi.evidence.findings import Finding
from togi.types import Message, Task

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "omicron")


def pair(number: int, chosen: str, rejected: str, worth: tuple[float, float] = (1.0, 0.0), prompt: str = "") -> Task:
    return Task(
        id=str(number),
        prompt=(Message(role="user", content=prompt or f"question {number}"),),
        recorded=tuple((Message(role="assistant", content=text),) for text in (chosen, rejected)),
        worth=worth,
    )


def thumb(number: int, text: str, *, good: bool) -> Task:
    answer = (Message(role="assistant", content=text),)
    prompt = (Message(role="user", content=f"question {number}"),)
    return Task(id=str(number), prompt=prompt, recorded=(answer,), worth=(float(good),))


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def fair(count: int = 200, seed: int = 0) -> list[Task]:
    rng = random.Random(seed)
    return [pair(i, text(rng, rng.randint(5, 30)), text(rng, rng.randint(5, 30))) for i in range(count)]


def warnings(found: Sequence[Finding]) -> list[str]:
    return [finding.title for finding in found if finding.level != "ok"]


# Rules that see no content --------------------------------------------------------------------------------------------


def test_a_fair_set_is_not_complained_about() -> None:
    found = pair_findings(fair())
    assert warnings(found) == []
    assert any(finding.title == "form alone is not seen to tell the answers apart" for finding in found)
    assert pair_findings([Task(id="0", prompt=(Message(role="user", content="q"),))]) == []


def test_length_that_decides_is_a_finding_with_a_number() -> None:
    rng = random.Random(0)
    tasks = [pair(i, text(rng, 20 if i % 10 else 5), text(rng, 10)) for i in range(200)]
    (finding,) = (finding for finding in pair_findings(tasks) if finding.level == "warn")
    assert finding.title.startswith("the longer answer is chosen in 90% (interval ")
    assert "over 200 pairs of 200 prompts" in finding.detail
    assert "balance the pairs" in finding.advice
    shorter = [pair(i, task.recorded[1][0].content, task.recorded[0][0].content) for i, task in enumerate(tasks)]
    assert warnings(pair_findings(shorter))[0].startswith("the shorter answer is chosen in 90%")


def test_the_interval_allows_for_having_looked_at_many_rules() -> None:
    rng = random.Random(0)
    tasks = [pair(i, text(rng, 20), text(rng, 10)) for i in range(40)]
    assert warnings(pair_findings(tasks)) != []
    few = pair_findings(tasks[:5])  # Wilson's own 95% interval of 5 in 5 starts at 57%
    assert warnings(few) == []
    assert "is chosen in 100% (interval " in few[0].detail


@pytest.mark.parametrize(
    ("mark", "title"),
    [
        (lambda body: f"- {body}\n- {body}", "the answer with more l"),
        (lambda body: f"sure, {body}", 'the answer that starts with "sure" is chosen in 95.0%'),
        (lambda body: f"{body}?", "the answer that ends with a question is chosen in 95.0%"),
        (lambda body: f"**{body}**", "the answer with more Markdown emphasis is chosen in 95.0%"),
        (lambda body: f"```{body}```", "the answer with more code blocks is chosen in 95.0%"),
        (lambda body: f"{body} 12", "the answer with more numbers is chosen in 95.0%"),
        (lambda body: f"{body} I cannot {body}", "the answer that sounds like a refusal is chosen in 95.0%"),
        (lambda body: f"{body} 🙂", "the answer with more symbols beyond ASCII is chosen in 95.0%"),
    ],
)
def test_form_that_decides_is_a_finding(mark: Callable[[str], str], title: str) -> None:
    rng = random.Random(0)
    tasks = [
        pair(i, mark(text(rng, 10)) if i % 10 else text(rng, 10), text(rng, rng.randint(5, 40))) for i in range(300)
    ]
    assert any(each.startswith(title) for each in warnings(pair_findings(tasks)))


def test_the_unit_of_chance_is_the_prompt() -> None:
    rng = random.Random(0)
    tasks = [pair(i, text(rng, 20), text(rng, 10), prompt=f"q{i % 4}") for i in range(100)]
    found = pair_findings(tasks)
    assert "over 100 pairs of 4 prompts" in found[0].detail
    assert found[0].title == "length alone is not seen to tell the answers apart"
    assert any(finding.title == "100 pairs share only 4 prompts" for finding in found)


def test_rankings_count_all_their_pairs_once_a_prompt() -> None:
    answers = tuple((Message(role="assistant", content="x" * length),) for length in (4, 3, 2))
    rankings = [
        Task(id=str(i), prompt=(Message(role="user", content=str(i)),), recorded=answers, worth=(2, 1, 0))
        for i in range(50)
    ]
    found = pair_findings(rankings)
    assert found[0].title.startswith("the longer answer is chosen in 100%")
    assert "over 150 pairs of 50 prompts" in found[0].detail


# Texts and labels -----------------------------------------------------------------------------------------------------


def test_contradictions_and_repetitions() -> None:
    tasks = fair(40)
    both = [pair(100 + i, task.recorded[1][0].content, task.recorded[0][0].content, prompt=task.prompt[0].content)
            for i, task in enumerate(tasks[:3])]  # fmt: skip
    assert warnings(pair_findings([*tasks, *both])) == ["3 pairs stand in the data both ways round"]
    assert warnings(pair_findings([*tasks, *tasks[:10]])) == ["10 of 50 pairs are repetitions of another"]


def test_answers_that_hardly_differ() -> None:
    rng = random.Random(0)
    near = [pair(i, f"{(body := text(rng, 40))} x {body}", f"{body} y {body}") for i in range(40)]
    assert warnings(pair_findings(near)) == ["in 100% of pairs the answers are 90% the same text"]
    blank = [*fair(40), pair(99, "Alpha  beta", "alpha beta")]
    assert "1 of 41 pairs differ in space or capitals only" in warnings(pair_findings(blank))


def test_a_text_that_is_always_the_answer() -> None:
    same = (Message(role="assistant", content="beta alpha"),)
    tasks = [replace(task, recorded=(task.recorded[0], same)) if i % 2 else task for i, task in enumerate(fair(60))]
    assert "50% of rejected answers are the same text: beta alpha" in warnings(pair_findings(tasks))


def test_soft_labels_say_what_is_possible_at_best() -> None:
    tasks = [replace(task, worth=(0.8, 0.2)) for task in fair(40)]
    assert any("agrees with one label in 80%" in finding.title for finding in pair_findings(tasks))
    assert not any("probabilities" in finding.title for finding in pair_findings(fair(40)))
    even = [replace(task, worth=(0.5, 0.5)) for task in tasks[:3]]
    assert any(finding.title.startswith("3 of 43 pairs are even") for finding in pair_findings([*tasks, *even]))
    assert any(finding.title.startswith("3 of 3 pairs are even") for finding in pair_findings(even))


def test_thumbs() -> None:
    rng = random.Random(0)
    tasks = [thumb(i, text(rng, 20 if i % 5 else 10), good=bool(i % 5)) for i in range(200)]
    balance, length, *_ = pair_findings(tasks)
    assert (balance.level, balance.title) == ("ok", "160 answers are labelled good, 40 bad")
    assert length.title.startswith("the longer answer is the good one in 100%")
    lopsided = [*tasks, *(thumb(1000 + i, text(rng, 15), good=True) for i in range(240))]
    assert "settings = { undesirable_weight = 10.0 }" in pair_findings(lopsided)[0].advice
    assert warnings(pair_findings([*tasks, thumb(1, tasks[1].recorded[0][0].content, good=False)]))[-1] == (
        "1 answers are labelled both good and bad"
    )
    (alone,) = pair_findings(tasks[1:2])
    assert (alone.level, alone.title) == ("fail", "all 1 labelled answers are good")


def test_the_area_of_unpaired_answers_counts_ties_half() -> None:
    tasks = [
        thumb(i, "x" * length, good=good) for i, (length, good) in enumerate([(3, True), (5, True), (3, False)] * 40)
    ]
    length = next(finding for finding in pair_findings(tasks) if "longer" in finding.title)
    assert length.title.startswith("the longer answer is the good one in 75%")


def test_a_large_set_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "LOOKED_AT", 50)
    tasks = [pair(i, "a longer one", f"b {i}") for i in range(100)] + [
        pair(100 + i, f"b {i}", "a longer one") for i in range(100)
    ]
    found = pair_findings(tasks)
    assert "the longer answer is chosen in 50%" in found[0].detail
    assert "over 50 pairs of 50 prompts" in found[0].detail


def test_texts_are_measured() -> None:
    names, values = traits_of(["Sure!\n- one\n2. two", "no"])
    row = dict(zip((trait.more for trait in names), values[0], strict=True))
    assert row["the answer with more list items"] == 2
    assert row["the answer with more lines"] == 2
    assert row["the answer that starts with a capital"] == 1
    assert values[1].sum() == 2  # two characters long, and nothing else
    assert first_word("  «Sure», he said") == "sure"
    assert shared_ends("abcde", "abXde") == 0.8
    assert shared_ends("aa", "aaa") == pytest.approx(2 / 3)
    assert shared_ends("same", "same") == 1
    assert shared_ends("", "x") == 0
