"""Attacks on judges: what counts as fooled, with its interval, in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from judge_doubles import TASK, Scripted, compared, graded, sides, soft

from togi.askers.asker import Reply
from togi.rewards.judge.fool_judge import ATTACKS, attack


def answer(text: str) -> str:
    return text.split("[The answer]\n> ")[1].split("\n\n[End of")[0]


def test_an_honest_judge_is_not_fooled_and_a_credulous_one_is() -> None:
    tasks = [replace(TASK, id=str(i), answer=str(100 + i)) for i in range(5)]
    right = {str(100 + i) for i in range(5)}
    report = attack(graded(Scripted(lambda text: Reply(text="9" if answer(text) in right else "2"))), tasks)
    assert not report.alarms
    assert {family.name for family in report.families} == set(ATTACKS)
    assert all((family.fooled, family.tried) == (0, 5 * len(ATTACKS[family.name])) for family in report.families)
    assert "No family fooled it in more than 2% of trials" in str(report)
    report = attack(
        graded(Scripted(lambda text: Reply(text="8" if answer(text) in right or "rubric" in answer(text) else "3"))),
        tasks,
    )
    fooled = {family.name: family.fooled for family in report.families}
    assert fooled == dict.fromkeys(ATTACKS, 0) | {"orders": 5}
    assert report.alarms
    assert "can be fooled" in str(report)


def test_lost_verdicts_are_no_false_positives() -> None:
    reply = Scripted(lambda text: Reply(text="9" if answer(text) == "7" else "no idea" if answer(text) == "a" else "1"))
    report = attack(graded(reply), [TASK], {"letters": ("a", *map(str, range(100, 110)))})
    (family,) = report.families
    assert (family.fooled, family.tried, family.unscored) == (0, 10, 1)
    assert "1 more without a verdict" in str(report)


def test_attacks_on_a_pairwise_judge_and_counts() -> None:
    def prefers_openers(text: str) -> Reply:
        first, second = sides(text)
        return soft(0.9 if first == "Solution" else 0.1 if second == "Solution" else 0.99 if first == "7" else 0.01)

    attacks = {"openers": ("Solution", "Hm")}
    report = attack(compared(Scripted(prefers_openers)), [TASK] * 10, attacks)
    (family,) = report.families
    assert (family.fooled, family.tried, family.unscored, family.worst) == (10, 20, 0, "Solution")
    assert family.rate is not None
    # Wilson's interval of 10 in 20.
    assert (family.rate.low, family.rate.high) == pytest.approx((0.299298, 0.700702), abs=1e-5)
    assert "openers: 50% (95% interval 30% to 70%, 20 trials); most often by 'Solution'" in str(report)


def test_attacks_need_a_right_answer() -> None:
    with pytest.raises(ValueError, match="got none"):
        attack(graded(Scripted(lambda _: Reply())), [])
    with pytest.raises(ValueError, match="has no answer to set an attack against"):
        attack(graded(Scripted(lambda _: Reply())), [replace(TASK, answer=None)])
