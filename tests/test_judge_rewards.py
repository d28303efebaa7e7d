"""judge() and preference() as rewards: what verdicts are worth, what is missing, and when a run stops."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from judge_doubles import TASK, Scripted, attempts, compared, graded, sides, soft
from judge_server import fails, good, said, serving
from tiny_text import byte_level, tiny_llama

from togi.askers.asker import AskerWarning, Reply
from togi.engines.native import NativeEngine
from togi.rewards import form, gate, parse_reward, part_names
from togi.rewards.algebra import Surroundings
from togi.rewards.judge import Judge, JudgeOutage, judge, preference
from togi.rewards.judge.outage import ENOUGH, Losses
from togi.rewards.judge.verdict import Verdict
from togi.tokenization import Chat


def test_a_pair_is_shown_in_both_orders_and_averaged() -> None:
    logp = {("a", "b"): {"1": -0.4, "2": -1.3}, ("b", "a"): {"1": -0.9, "2": -0.6}}
    asker = Scripted(lambda text: Reply(logp=logp[sides(text)]))
    scores = compared(asker)(TASK, attempts("a", "b"))
    assert [score.value for score in scores] == pytest.approx([0.642696, 1 - 0.642696], abs=1e-6)
    assert [score.parts["preference_flipped"] for score in scores] == [0, 0]
    assert asker.calls == 1


def test_a_judge_that_only_looks_at_the_place_says_nothing() -> None:
    scores = compared(Scripted(lambda _: soft(0.9)))(TASK, attempts("a", "b", "c"))
    assert [score.value for score in scores] == pytest.approx([0.5] * 3)
    assert [score.parts["preference_flipped"] for score in scores] == [1, 1, 1]


def test_siblings_are_compared_all_or_on_a_ring() -> None:
    strength = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0, "e": 16.0}

    def reply(text: str) -> Reply:
        first, second = sides(text)
        return soft(strength[first] / (strength[first] + strength[second]))

    asker = Scripted(reply)
    texts = list(strength)
    scores = compared(asker)(TASK, attempts(*texts))
    assert len(asker.asked) == 5 * 4
    for text, score in zip(texts, scores, strict=True):
        others = [strength[text] / (strength[text] + strength[other]) for other in texts if other != text]
        assert score.value == pytest.approx(sum(others) / 4)
    ring = Scripted(reply)
    near = compared(ring, preference(opponents=1))(TASK, attempts(*texts))
    assert len(ring.asked) == 5 * 2
    assert near[0].value == pytest.approx((1 / 3 + 1 / 17) / 2)


def test_equal_answers_are_even_unasked_and_one_alone_abstains() -> None:
    asker = Scripted(lambda _: soft(0.8))
    assert [score.value for score in compared(asker)(TASK, attempts("a", "a"))] == [0.5, 0.5]
    (alone,) = compared(asker)(TASK, attempts("a"))
    assert (alone.status, asker.calls) == ("abstain", 0)
    assert math.isnan(alone.value)


def test_labels_are_clamped() -> None:
    raw = {"a": 0.97, "b": 0.55, "c": 0.1}
    for text, p in raw.items():
        asker = Scripted(lambda text_, p=p, text=text: soft(p if sides(text_)[0] == text else 1 - p))
        scores = compared(asker, preference(clamp=0.4))(TASK, attempts(text, "x"))
        assert scores[0].value == pytest.approx({"a": 0.6, "b": 0.55, "c": 0.4}[text])


def test_principles_are_averaged_or_drawn() -> None:
    criteria = tuple(f"rule {i}" for i in range(16))
    asker = Scripted(lambda text: soft(0.9 if "rule 3\n" in text and sides(text)[0] == "a" else 0.5))
    everything = compared(asker, preference(draws=0), criteria)(TASK, attempts("a", "b"))
    assert len(asker.asked) == 32
    assert everything[0].value == pytest.approx((15 * 0.5 + (0.9 + 0.5) / 2) / 16)
    drawn = set()
    for number in range(40):
        asker = Scripted(lambda _: soft(0.5))
        compared(asker, preference(draws=2), criteria)(replace(TASK, id=str(number)), attempts("a", "b"))
        rules = {question.messages[0].content.split("What counts: ")[1].split("\n")[0] for question in asker.asked}
        assert len(rules) == 2
        drawn |= rules
        again = Scripted(lambda _: soft(0.5))
        compared(again, preference(draws=2), criteria)(replace(TASK, id=str(number)), attempts("b", "a"))
        assert {question.messages for question in again.asked} == {question.messages for question in asker.asked}
    assert drawn == set(criteria)


def test_grades_are_expected_ratings() -> None:
    asker = Scripted(
        lambda text: Reply(logp={"1": math.log(0.25), "10": math.log(0.75)} if "> a" in text else {"4": 0})
    )
    scores = graded(asker)(TASK, attempts("a", "b"))
    assert [score.value for score in scores] == pytest.approx([2 * 6.75 / 9 - 1, 2 * 3 / 9 - 1])
    assert [score.parts for score in scores] == [{"judge": score.value} for score in scores]
    words = graded(Scripted(lambda _: Reply(text="Rating: 7")), judge(verdict="text"))
    assert words(TASK, attempts("a"))[0].value == pytest.approx(2 * 6 / 9 - 1)
    yes = graded(Scripted(lambda _: Reply(logp={"Yes": -0.5, "No": -1.2})), judge(yes_no=True))
    assert yes(TASK, attempts("a"))[0].value == pytest.approx(0.668188, abs=1e-6)


def test_many_tasks_are_one_call_and_equal_one_by_one() -> None:
    asker = Scripted(lambda text: Reply(text=str(1 + len(text) % 10)))
    asked = [(replace(TASK, id=str(i)), attempts(*("x" * (j + i) for j in range(1, 4)))) for i in range(3)]
    together = graded(asker).many(asked)
    assert asker.calls == 1
    assert together == [graded(asker)(*each) for each in asked]
    assert graded(asker).many([]) == []


def test_a_missing_verdict_is_never_a_zero() -> None:
    lost = Reply(status="timeout", note="late")
    grades = graded(Scripted(lambda text: lost if "> b" in text else Reply(text="5")))
    with pytest.warns(AskerWarning):
        scores = [grades(TASK, attempts("a", "b")), *(grades(TASK, attempts("a")) for _ in range(ENOUGH - 2))][0]
    assert [score.status for score in scores] == ["ok", "timeout"]
    assert math.isnan(scores[1].value)
    assert scores[1].note == "judge: late"
    # One order of one pair is missing: the pair counts for nobody, the others go on.
    half = compared(Scripted(lambda text: lost if sides(text) == ("b", "a") else soft(0.6)))
    values = half(TASK, attempts("a", "b", "c"))
    assert [score.status for score in values] == ["ok"] * 3
    assert [score.value for score in values] == pytest.approx([0.5] * 3)
    both = compared(Scripted(lambda text: lost if sides(text) == ("b", "a") else soft(0.6)))(TASK, attempts("a", "b"))
    assert [score.status for score in both] == ["timeout"] * 2


@pytest.mark.parametrize(
    ("lost", "asked", "what"), [(4, 100, None), (5, 100, "warn"), (19, 100, "warn"), (20, 100, "stop")]
)
def test_thresholds_of_lost_verdicts(lost: int, asked: int, what: str | None) -> None:
    verdicts = [Verdict(status="timeout", note="late")] * lost + [Verdict()] * (asked - lost)
    losses = Losses("judge")
    if what == "stop":
        with pytest.raises(JudgeOutage, match=f"{lost} of {asked} questions .*timeout: late.*same command again"):
            losses.add(verdicts)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses.add(verdicts)
    said = [str(each.message).partition(" to the judge")[0] for each in caught]
    assert said == ([f"judge: {lost} of {asked} questions"] if what == "warn" else [])


def test_small_calls_are_added_up_and_a_total_loss_stops_at_once() -> None:
    losses, bad = Losses("judge"), Verdict(status="error", note="down")
    for _ in range(4):
        losses.add([bad, Verdict(), Verdict(), Verdict()])
    with pytest.raises(JudgeOutage, match="5 of 20"):
        losses.add([bad, Verdict(), Verdict(), Verdict()])
    with pytest.raises(JudgeOutage, match="2 of 2"):
        Losses("judge").add([bad, bad])
    Losses("judge").add([bad])
    Losses("judge").add([])


def test_judges_stand_in_expressions(tmp_path: Path) -> None:
    text = 'gate(preference("Which is kinder?", principles="rules.txt", draws=0, reason=true, clamp=0.4), by=form())'
    parsed = parse_reward(f'{text} + 0.5 * judge("Is it kind?", model="m", base_url="http://127.0.0.1:1/v1")', tmp_path)
    assert part_names(parsed) == ("preference", "form", "judge")
    assert [leaf.base for leaf in parsed.leaves if isinstance(leaf, Judge)] == [tmp_path, tmp_path]
    with pytest.raises(ValueError, match='has no parameter "modl"; did you mean "model"'):
        parse_reward('judge(modl="m")', tmp_path)
    with pytest.raises(ValueError, match='"scale" is of type int'):
        parse_reward("judge(scale=0.5)", tmp_path)


def test_an_equal_judge_may_stand_twice(at: Surroundings) -> None:
    twice = 2 * preference(verdict="text") + gate(preference(verdict="text"), by=form())
    assert part_names(twice.opened(at)) == ("preference", "form")


# Opened in a stage.


@pytest.fixture
def at(tmp_path: Path) -> Surroundings:
    tokenizer = byte_level()
    engine = NativeEngine(tiny_llama(), tokenizer, frozenset({2}))
    return Surroundings(
        engine=engine, chat=Chat(tokenizer, frozenset({2})), folder=tmp_path / "run", dtype=torch.float32
    )


def test_a_server_is_opened_from_the_reward_and_a_resumed_run_repeats_nothing(at: Surroundings) -> None:
    with serving(good(said("1", {"1": 0.75, "2": 0.25}))) as fake:
        spec = preference(model="m", base_url=fake.url)
        first = spec.opened(at)(TASK, attempts("a", "b", "c"))
        assert [score.value for score in first] == pytest.approx([0.5] * 3)
        assert (at.folder / "judge.sqlite").exists()
        assert spec.opened(at)(TASK, attempts("a", "b", "c")) == first
        assert len(fake.requests) == 6
        assert all(body["logprobs"] and body["temperature"] == 0 for _, body in fake.requests)


def test_an_outage_stops_and_can_be_resumed(at: Surroundings) -> None:
    with serving(good(said("5", {"5": 1.0})), [fails(403)] * 3) as fake:
        spec = judge(model="m", base_url=fake.url, concurrency=1)
        reward, more = spec.opened(at), attempts(*map(str, range(100, 110)))
        reward(TASK, attempts(*map(str, range(ENOUGH - 8))))
        fake.script[:] = [fails(403)] * 8
        with pytest.raises(JudgeOutage, match="HTTP 403"):
            reward(TASK, more)
        assert all(score.status == "ok" for score in reward(TASK, more))


def test_the_key_is_in_no_message(at: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-canary-0123456789"
    monkeypatch.setenv("JUDGE_KEY", key)
    with serving(fails(401, body=key.encode())) as fake:
        reward = judge(model="m", base_url=fake.url, key_env="JUDGE_KEY", most_tokens=1000).opened(at)
        with pytest.raises(JudgeOutage) as caught:
            reward(TASK, attempts("a", "b"))
        assert "[key]" in str(caught.value)
        assert key not in f"{caught.value!r} {caught.value.__context__!r} {reward!r} {vars(reward)}"


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda: judge(verdict="logits"), 'verdict is "tokens" or "text"'),
        (lambda: judge(base_url="https://h/v1"), "model is the name"),
        (lambda: judge(key_env="K"), "give its base_url"),
        (lambda: judge(model="m", base_url="https://h/v1", key_env="K"), "costs money: say how much"),
        (lambda: judge(model="m", base_url="https://h/v1", most_money=5), "most_money needs input_price"),
        (lambda: judge(scale=11), "scale is a whole number of 2 to 10"),
        (lambda: preference(clamp=0.5), "clamp from 0"),
        (lambda: preference(seconds=0), "seconds more than 0"),
    ],
)
def test_impossible_settings(reward: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reward()


def test_a_judge_that_is_not_opened_says_so() -> None:
    with pytest.raises(ValueError, match=r"call opened\(Surroundings"):
        judge()(TASK, attempts("a"))


def test_a_constitution_and_a_template(at: Surroundings, tmp_path: Path) -> None:
    parts = "critique: c\nrevision: r\nquestion: Which is kinder?\n"
    (tmp_path / "rules.txt").write_text(f"[kind]\n{parts}[short]\n{parts.replace('kinder', 'shorter')}")
    (tmp_path / "ask.txt").write_text("{rubric}\n{answer_1}\n--\n{answer_2}")
    with serving(good(said("1", {"1": 0.5, "2": 0.5}))) as fake:
        spec = preference(
            principles="rules.txt", draws=0, template="ask.txt", model="m", base_url=fake.url, base=tmp_path
        )
        spec.opened(at)(TASK, attempts("a", "b"))
        shown = sorted(body["messages"][0]["content"].split("\n\n")[0] for _, body in fake.requests)
    assert shown == [
        f"Which is {rule}?\n> {a}\n--\n> {b}" for rule in ("kinder", "shorter") for a, b in (("a", "b"), ("b", "a"))
    ]
