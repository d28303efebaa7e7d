"""What the report says beside its verdict: facts, doubts, legends, ticks, and that nothing is lost in print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from preference_run import preference_run

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.evaluation_summary import summary
from togi.evidence.after.play_evaluation import from_groups
from togi.evidence.findings import FILE, Finding, keep
from togi.evidence.read_run import RunData, read_run
from togi.report import render, verdict
from togi.report.curves import figures, smoothed
from togi.report.examples import training_groups
from togi.report.page import data_rows, environments, facts, rewards
from togi.report.plots import Line, legend, line_chart, number, share
from togi.report.results_table import results
from togi.report.verdict_sentences import doubts, sharper_or_abler
from togi.run_folder.files import RunFolder
from togi.types import Group, Message, Sampling, Score, Task, Trajectory, Turn


def data(**fields: Any) -> RunData:
    return RunData(folder=Path("run"), **fields)


def said(**fields: Any) -> str:
    return "\n".join(doubts(data(**fields), []))


def test_what_was_found_before_training_is_not_certain() -> None:
    findings = [{"level": "ok", "title": "16 GB of memory"}, {"level": "warn", "title": "Few attempts are right: 2%"}]
    text = said(doctor={"verdict": "Training can start. 1 point deserves a look, marked !.", "findings": findings})
    assert "The doctor, before training: Training can start. 1 point deserves a look" in text
    assert "Few attempts are right: 2%." in text
    assert "16 GB" not in text
    assert "doctor" not in said(doctor={"verdict": "Training can start.", "findings": findings[:1]})
    card = {"name": "grpo", "severity": "high", "weaknesses": [{"severity": "high"}, {"severity": "note"}]}
    assert "Attacks on the reward of grpo found 1 weakness, at worst high" in said(cards=(card,))
    assert "Attacks" not in said(cards=({"name": "grpo", "severity": None, "weaknesses": []},))


@pytest.mark.parametrize(
    ("tiers", "warned"),
    [
        ({"graders": "process", "programs": "process"}, "graders and programs ran"),
        ({"graders": "bubblewrap", "programs": "none"}, "programs ran"),
        ({"graders": "bubblewrap", "programs": "subset"}, ""),
        ({}, ""),
    ],
)
def test_a_run_without_a_sandbox_is_warned_of(tiers: dict[str, str], warned: str) -> None:
    text = said(manifest={"sandbox": tiers})
    assert (f"No sandbox: {warned} with all rights of the user" in text) if warned else ("sandbox" not in text)


def test_alarms_are_not_certain_and_the_worst_come_first() -> None:
    kinds = ["warning"] * 7 + ["critical"]
    alarms = tuple(
        {"stage": "grpo", "step": step, "signal": "length", "severity": kind, "text": "Longer.", "rollouts": []}
        for step, kind in enumerate(kinds)
    )
    found = doubts(data(alarms=alarms), [])[1:]
    assert found[0] == "Critical alarm at step 7 of grpo (length), as told above."
    assert found[1] == "Warning at step 0 of grpo: Longer."
    assert found[-1] == "2 more alarms: see below."


def test_the_doctors_findings_are_kept_for_the_report(tmp_path: Path) -> None:
    folder = preference_run(tmp_path / "run")
    keep(folder, "Training can start.", [("Machine", (Finding(level="warn", title="<b>Slow</b>"),))])
    assert (folder / FILE).is_file()
    page = render(read_run(folder))
    assert "&lt;b&gt;Slow&lt;/b&gt;" in page


def test_a_run_that_stopped_by_itself_says_why(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"stage": "grpo", "step": 8}\n')
    with RunFolder(tmp_path) as folder:
        folder.event("interrupted", step=8, why="grpo has collapsed at step 8. Answers are noise")
    assert any(line == "It stopped: grpo has collapsed at step 8. Answers are noise." for line in verdict(tmp_path))


def test_stages_that_name_their_own_reward_are_told_as_the_reward() -> None:
    stages = [{"name": "sft"}, {"name": "pairs", "reward": {"score": "annotator()"}}]
    assert rewards({"stage": stages}) == "pairs: annotator()"
    assert rewards({"reward": {"score": "number()"}, "stage": stages}) == "number(); pairs: annotator()"
    assert rewards({"stage": stages[:1]}) == "not recorded"


def test_environments_are_named() -> None:
    stages = [{"name": "a"}, {"name": "b", "env": {"use": "b.py:B"}}]
    assert environments({"stage": stages}) == "b: b.py:B"
    assert environments({"env": {"use": "a.py:A"}, "stage": stages, "evaluation": {"env": {"use": "c.py:C"}}}) == (
        "a.py:A; b: b.py:B; evaluation: c.py:C"
    )
    assert environments({"stage": stages[:1]}) == ""


def test_adapters_are_told_with_the_numbers_that_are_trained() -> None:
    model = {"source": "m", "parameters": 1000, "trainable": 25}
    found = dict(facts(data(recipe={"model": {"lora": {"rank": 8}}}, manifest={"model": model})))
    assert found["Trained weights"] == "low-rank adapters: 25 of 1000 parameters, 2.5% (rank = 8)"
    assert dict(facts(data(manifest={"model": model})))["Trained weights"] == "all"


def test_a_data_set_that_several_stages_use_is_listed_once() -> None:
    same = {"size": 20, "digest": "ab"}
    assert data_rows({"data": {"sft": same, "grpo": same, "evaluation": {"size": 5, "digest": "cd"}}}) == [
        ("sft, grpo", "20", "ab"),
        ("evaluation", "5", "cd"),
    ]


def test_lines_that_lie_on_each_other_are_told_apart() -> None:
    x = [1.0, 2.0, 3.0]
    one = Line(name="correct", tint="s2", x=x, y=[0.0, 0.5, 1.0])
    same = Line(name="number", tint="s1", x=x, y=[0.0, 0.5, 0.999], dash=1)
    other = Line(name="form", tint="s3", x=x, y=[1.0, 0.9, 1.0], dash=2)
    assert [name for name, _, _ in legend([one, same, other])] == ["correct", "number (the same as correct)", "form"]
    drawn = line_chart("t", [one, same])
    assert 'class="line s2"' in drawn
    assert 'class="line s1 d1"' in drawn


@pytest.mark.parametrize(
    ("y", "shown"),
    [([2.1101, 2.1109], number), ([0.99951, 0.99969], share), ([12345.1, 12345.9], number), ([-1234.5, 9.0], number)],
)
def test_ticks_differ_and_stay_inside_the_chart(y: list[float], shown: Any) -> None:
    drawn = line_chart("t", [Line(name="a", tint="s2", x=[0.0, 100000.0], y=y)], y_number=shown)
    ticks = re.findall(r'class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)"[^>]*>([^<]+)<', drawn)
    upright = [label for _, anchor, label in ticks if anchor == "end"]
    assert len(set(upright)) == len(upright) > 1
    for x, anchor, label in ticks:
        width = 6.0 * len(label)
        left = float(x) - (width if anchor == "end" else width / 2)
        assert left >= -1
        assert left + width <= 341


def test_the_number_beside_a_curve_is_where_its_thick_line_ends() -> None:
    rows = [{"stage": "s", "step": step, "loss": float(step)} for step in range(1, 21)]
    loss = next(one for one in figures(rows, False) if one.name == "loss")
    assert (smoothed(20), loss.now) == (3, "19")
    (short,) = figures(rows[:5], False)
    assert (smoothed(5), short.now) == (0, "5")


def test_a_demonstration_has_no_score(tmp_path: Path) -> None:
    run = read_run(preference_run(tmp_path / "run"))
    (group, *_) = training_groups(run, "sft")
    assert {attempt.value for attempt, _ in group.rows} == {"demonstration"}
    assert all(attempt.value.startswith("score ") for group in training_groups(run, "ppo") for attempt, _ in group.rows)


def evaluated(model: str, right: list[int], n: int = 8) -> EvaluationRecord:
    """Tasks of which so many of ``n`` attempts are right."""
    groups = []
    for index, count in enumerate(right):
        turn = Turn(prompt=(1,), completion=(2,), text="x", stop="eos")
        task = Task(id=str(index), prompt=(Message(role="user", content=str(index)),), answer="x")
        scores = tuple(Score(value=float(attempt < count)) for attempt in range(n))
        groups.append(Group(task=task, trajectories=(Trajectory(turns=(turn,), stop="eos"),) * n, scores=scores))
    return from_groups(groups, n, model=model, step=0, sampling=Sampling(), seconds=1.0)


def test_a_stage_that_only_made_the_model_surer_is_told_against_the_stage_before() -> None:
    base, before = evaluated("base", [0] * 40), evaluated("sft", [3] * 40)
    surer = evaluated("grpo", [8] * 30 + [0] * 10)
    assert sharper_or_abler(base, surer, 8)[0].startswith(
        "With 8 attempts at each task, grpo solves more tasks than base"
    )
    (line,) = sharper_or_abler(before, surer, 8)
    assert line.startswith(
        "Against sft, grpo is right more often at the first attempt, but with 8 attempts it solves fewer"
    )
    assert sharper_or_abler(surer, before, 8) == []


def test_results_are_two_tables_that_fit_a_page() -> None:
    table = results([summary(evaluated(name, [1, 2, 3])) for name in ("base", "sft", "grpo", "dpo")])
    assert table is not None
    assert [row.name for row in table.rows] == ["base", "sft", "grpo", "dpo"]
    assert all(len(values) == 4 for _, values in table.rest)
    assert "pass@8" in dict(table.rest)


def test_print_loses_nothing(tmp_path: Path) -> None:
    page = render(read_run(preference_run(tmp_path / "run")))
    rules = page[page.index("@media print") : page.index("</style>")]
    for rule in (
        "details::details-content { content-visibility: visible",
        ".scroll { overflow: visible",
        "max-height: none",
    ):
        assert rule in rules
    assert "nowrap" not in rules
