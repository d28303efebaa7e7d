"""rubric(): weighted criteria, a part each, coarse grades, and rubrics that stand in the data."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from judge_doubles import TASK, Scripted, attempts

from togi.askers.asker import Reply
from togi.rewards import parse_reward
from togi.rewards.judge import judge_prompts as prompts, rubric
from togi.rewards.judge.rubric import Criterion, OpenRubric, criteria_of, read_criteria

CRITERIA = (Criterion(name="right", text="It is right.", weight=3.0), Criterion(name="brief", text="It is brief."))


def opened(asker: Scripted, spec: rubric, criteria: tuple[Criterion, ...] = ()) -> OpenRubric:
    return OpenRubric(spec, asker, criteria, prompts.RATE)


def test_grades_are_weighted_and_every_criterion_is_a_part() -> None:
    asker = Scripted(
        lambda text: Reply(logp={"0": math.log(0.25), "2": math.log(0.75)} if "is right" in text else {"1": 0.0})
    )
    (score,) = opened(asker, rubric("r.toml"), CRITERIA)(TASK, attempts("7"))
    assert score.parts == pytest.approx({"rubric": 0.6875, "rubric/right": 0.75, "rubric/brief": 0.5})
    assert score.value == pytest.approx((3 * 0.75 + 0.5) / 4)
    assert all(question.options == ("0", "1", "2") for question in asker.asked)
    plain = Scripted(lambda text: Reply(text="1" if "is right" in text else "0"))
    (score,) = opened(plain, rubric("r.toml", levels=2), CRITERIA)(TASK, attempts("7"))
    assert score.value == 0.75
    assert "1 if it is met." in plain.asked[0].messages[0].content


def test_a_criterion_without_a_verdict_leaves_no_score() -> None:
    asker = Scripted(lambda text: Reply(text="2" if "is right" in text or "> 8" in text else "hm"))
    reward = opened(asker, rubric("r.toml"), CRITERIA)
    scores = reward(TASK, attempts("7", *["8"] * 10))
    assert [score.status for score in scores] == ["unparseable", *["ok"] * 10]


def test_every_row_may_bring_its_own() -> None:
    spec = rubric(column="wanted")
    asker = Scripted(lambda text: Reply(text="2" if "seven" in text else "0"))
    reward = opened(asker, spec)
    rows = [{"seven": "Says seven.", "kind": {"criterion": "Is kind.", "weight": 0.5}}, ["Says eight."]]
    tasks = [replace(TASK, id=str(i), info={"wanted": row}) for i, row in enumerate(rows)]
    (one,), (other,) = reward.many([(task, attempts("7")) for task in tasks])
    assert one.parts == pytest.approx({"rubric": 2 / 3, "rubric/seven": 1.0, "rubric/kind": 0.0})
    assert other.parts == {"rubric": 0.0, "rubric/1": 0.0}
    with pytest.raises(ValueError, match='task t has no column "wanted"'):
        reward(TASK, attempts("7"))


def test_critiques_are_kept_by_criterion() -> None:
    asker = Scripted(lambda text: Reply(text=f"{'So' if 'is right' in text else 'Thus'} it is.\nVerdict: 2"))
    (score,) = opened(asker, rubric("r.toml", reason=True), CRITERIA)(TASK, attempts("7"))
    assert score.note == "right: So it is.\nbrief: Thus it is."


def test_a_file_of_criteria(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('brief = "It is brief."\n[right]\ncriterion = "It is right."\nweight = 3\n')
    assert read_criteria(tmp_path / "r.toml") == CRITERIA[::-1]
    assert parse_reward('rubric("r.toml", levels=2)', tmp_path) == rubric("r.toml", levels=2)
    (tmp_path / "r.toml").write_text("brief = ")
    with pytest.raises(ValueError, match=r"r\.toml cannot be read"):
        read_criteria(tmp_path / "r.toml")


@pytest.mark.parametrize(
    "given", [None, "text", [], {}, {"a": ""}, {"a": 1}, {"a": {"criterion": "x", "weight": 0}}, {"a": {"text": "x"}}]
)
def test_what_is_no_rubric(given: object) -> None:
    with pytest.raises(ValueError, match=r"^here: "):
        criteria_of(given, "here")


def test_impossible_settings() -> None:
    for settings in ({}, {"file": "r.toml", "column": "r"}, {"file": "r.toml", "levels": 10}):
        with pytest.raises(ValueError, match=r"criteria stand in|levels is 2"):
            rubric(**settings)
