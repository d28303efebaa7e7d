"""The report: one offline page that is true of whole, young and damaged runs, and inert to hostile text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from preference_run import preference_run
from sealed import seal

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, write_evaluation
from togi.evidence.after.evaluation_summary import summary
from togi.evidence.after.play_evaluation import from_groups
from togi.evidence.after.run_cost import cost
from togi.evidence.read_run import RunData, read_run
from togi.harmless_text import shortened, visible
from togi.report import render, verdict, write_report
from togi.report.cost_section import cost_facts
from togi.report.examples import examples, training_groups
from togi.report.page import unscored_table
from togi.report.plots import STACKS, Line, line_chart, number, stacked_chart, strip, ticks
from togi.report.stage_sentences import observations
from togi.report.verdict_sentences import doubts
from togi.run_folder.files import RunFolder, dumps
from togi.statistics import Interval
from togi.types import Group, Message, Sampling, Score, Task, Trajectory, Turn

HOSTILE = "<script>alert(1)</script></pre><img src=https://evil.example/x>\x1b[31m\u202egnp.exe\u2066\u200b & ![x](https://e.example)"
RECIPE = """
name = "made-up-run"
seed = 7
[model]
source = "made-up-model"
dtype = "auto"
[reward]
score = "gate(number(), by=form())"
[[stage]]
name = "cold_start"
algorithm = "sft"
steps = 16
tasks_per_step = 16
learning_rate = 3e-5
[[stage]]
name = "grpo"
algorithm = "grpo"
steps = 40
tasks_per_step = 12
attempts = 8
learning_rate = 1e-5
"""


def evaluation(model: str, rate: float, form: float, rng: np.random.Generator, tasks: int = 60) -> EvaluationRecord:
    """A made-up evaluation: tasks of differing difficulty around a mean success rate."""
    groups = []
    for index in range(tasks):
        chance = float(np.clip(rate + 0.4 * (np.random.default_rng(index).random() - 0.5), 0, 1)) if rate else 0.0
        attempts, scores = [], []
        for _ in range(4):
            well, right = rng.random() < form, rng.random() < chance / max(form, 0.01)
            gold = 3 * index + 4
            said = gold if right else gold + int(rng.integers(1, 9))
            body = f"<think>{index} + {2 * index + 4} = {said}.</think>\n<answer>{said}</answer>"
            text = body if well else f"Sure! Here is how to solve it. First we take the {index} shells and then"
            size = int(rng.integers(22, 40)) if well else 64
            turn = Turn(prompt=(1, 2), completion=(5,) * size, text=text, stop="eos" if well else "length")
            lost = rng.random() < 0.004
            parts = {"number": float(right), "form": float(well)}
            good = Score(value=float(well and right), parts=parts)
            attempts.append(Trajectory(turns=(turn,), stop=turn.stop))
            scores.append(Score(value=float("nan"), status="timeout", note="no answer in 2 s") if lost else good)
        question = f"Ana has {index} shells. Ana finds {2 * index + 4} more. How many shells does Ana have now?"
        task = Task(id=f"test-{index:03d}", prompt=(Message(role="user", content=question),), answer=str(3 * index + 4))
        groups.append(Group(task=task, trajectories=tuple(attempts), scores=tuple(scores)))
    sampling = Sampling(max_tokens=64)
    return from_groups(groups, 4, model=model, step=0, sampling=sampling, seconds=11.5)


def metrics(stage: str, steps: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, steps + 1):
        done, noise = step / steps, float(rng.normal()) * 0.04
        row: dict[str, Any] = {"stage": stage, "step": step, "loss": 1.4 - done + noise, "learning_rate": 1e-5}
        row |= {"grad_norm": 2.1 - done + 3 * noise, "num_tokens": 2100.0, "skipped_steps": 0.0}
        row |= {"completions/mean_length": 41 - 8 * done + 20 * noise, "completions/clipped_ratio": 0.02}
        if stage == "grpo":
            reward = 0.25 + 0.4 * done + noise
            row |= {"reward": reward, "rewards/number/mean": reward + 0.05, "rewards/form/mean": 0.93 + 0.06 * done}
            row |= {"frac_reward_zero_std": 0.2 + 0.5 * done + noise, "kl": 0.002 + 0.03 * done + abs(noise) / 9}
            row |= {"entropy": 0.6 - 0.3 * done, "clip_ratio/region_mean": 0.01, "unscored/timeout": 0.002}
            row |= {"reward_std": 0.3, "sampling/sampling_logp_difference/mean": 0.004 + abs(noise) / 50}
        rows.append(row)
    return rows


def rollouts(stage: str, step: int, text: str | None = None) -> list[dict[str, Any]]:
    rows = []
    for attempt in range(4):
        right = attempt % 2 == 0
        said = text or f"<think>4 + 5 = {9 if right else 8}.</think>\n<answer>{9 if right else 8}</answer>"
        score = {"value": float(right), "parts": {"number": float(right), "form": 1.0}, "status": "ok", "note": ""}
        row = {"stage": stage, "step": step, "task": "train-17", "group": 0, "attempt": attempt, "tokens": 31}
        row |= {"prompt": "<|im_start|>user\nBen has 4 coins. Ben gets 5 more.<|im_end|>\n", "completion": said}
        row |= {"stop": "eos", "score": score, "advantage": 0.87 if right else -0.87, "answer": "9"}
        rows.append(row | {"logp_mean": None if stage == "cold_start" else -0.3})
    return rows


def made_up_run(folder: Path, text: str | None = None) -> Path:
    """A whole run folder of invented numbers, in the form that training writes."""
    rng = np.random.default_rng(0)
    (folder / "rollouts").mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    plan = {"base": (0.0, 0.02), "cold_start": (0.24, 0.93), "grpo": (0.55, 0.99)}
    for model, (rate, form) in plan.items():
        write_evaluation(folder, evaluation(model, rate, form, rng))
    for stage, steps in (("cold_start", 16), ("grpo", 40)):
        with (folder / "metrics.jsonl").open("a") as file:
            file.writelines(dumps(row) + "\n" for row in metrics(stage, steps, rng))
        sample = 0.02 if stage == "cold_start" else 4.1
        with (folder / "timings.jsonl").open("a") as file:
            for step in range(1, steps + 1):
                seconds = {"sample": sample, "annotate": 0.4, "credit": 0.001, "learn": 3.3, "keep": 0.02}
                row = {
                    "stage": stage,
                    "step": step,
                    "seconds": seconds,
                    "tokens": 2900,
                    "drawn": 2900,
                    "memory_gb": 2.31,
                }
                file.write(dumps(row) + "\n")
        for step in (1, steps):
            path = folder / "rollouts" / f"{stage}-{step:06d}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rollouts(stage, step, text)))
    digest = "9f2c" * 16
    data = {name: {"digest": digest, "size": size} for name, size in (("cold_start", 1200), ("evaluation", 60))}
    manifest = {"name": "made-up-run", "started": "2030-01-02T03:04:05Z", "seed": 7, "recipe_digest": digest}
    manifest |= {"versions": {"python": "3.11.7", "torch": "2.9.0"}, "machine": {"cores": 2, "processor": "made up"}}
    manifest |= {"model": {"source": "made-up-model", "parameters": 134515008, "digest": digest}, "data": data}
    manifest |= {"files": {"grpo": {"rewards.py": digest}, "evaluation": {}}}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"dtype": "bfloat16"}))
    with RunFolder(folder) as open_folder:
        open_folder.event("started", recipe=digest)
        open_folder.event("stage_done", name="grpo", model=digest)
    seal(folder, steps=56)
    return folder


class Links(HTMLParser):
    """Everything in a page that a browser would fetch or run, and every tag's nesting."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object", "embed", "link", "video", "audio", "form", "base"):
            self.found.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "action", "style") or name.startswith("on"):
                self.found.append(f"{tag} {name}")
            if name == "href" and not str(value).startswith("#"):
                self.found.append(f"{tag} {value}")
        if tag not in ("meta", "line", "circle", "polyline", "polygon", "rect", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline", "polygon", "rect"):
            assert self.open.pop() == tag


def links(page: str) -> list[str]:
    parser = Links()
    parser.feed(page)
    assert parser.open == []
    return parser.found


def test_a_whole_run_is_told_in_words_and_pictures(tmp_path: Path) -> None:
    path = write_report(made_up_run(tmp_path / "run"), hourly_price=3.0)
    page = path.read_text()
    assert path.name == "report.html"
    assert links(page) == []
    assert "url(" not in page
    assert "Training worked: from 0.0% to" in page
    for words in ("cold_start improved on base", "grpo improved on cold_start", "got better", "One training run"):
        assert words in page
    for words in ("Groups without signal", "KL to the reference", "9f2c9f2c", "3.11.7", "at 3 an hour", "unbroken"):
        assert words in page
    for chart in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(chart)
        assert "nan" not in re.sub(r"<(title|desc)>.*?</\1>", "", chart)


def test_attempts_without_a_score_are_a_bound_and_own_faults_are_counted(tmp_path: Path) -> None:
    made = evaluation("grpo", 0.55, 0.99, np.random.default_rng(1))
    for task in made["tasks"]:
        first, second, *others = [attempt["score"] for attempt in task["attempts"]]
        first.update(value=0.0, status="ok", own_fault="memory")
        second.update(value=1.0, status="ok")
        for score in others:
            score.update(value=None, status="error")
    one = summary(made)
    rows = {head: cells[0] for head, cells in unscored_table([one])}
    assert (rows["scored"], rows["of these 0 by own fault: memory"], rows["no score: error"]) == ("120", "60", "120")
    assert (rows["mean score, those left out"], rows["mean score, those as wrong"]) == ("0.500", "0.250")
    told = " ".join(doubts(RunData(folder=tmp_path), [one]))
    assert (
        "If they all were wrong, pass@1 would be 25.0% and not 50.0%, and the mean score 0.250 and not 0.500." in told
    )
    broken = "they broke their environment or kept the grader from grading them (60 by memory)"
    assert f"60 of 240 attempts earned 0 since {broken}" in told


def test_a_model_is_set_against_the_one_it_was_trained_from(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    recipe = (folder / "recipe.toml").read_text()
    stage = recipe[recipe.index('[[stage]]\nname = "grpo"') :]
    other = stage.replace('"grpo"', '"other"', 1) + 'start = "cold_start"\nreward = { score = "exact()" }\n'
    (folder / "recipe.toml").write_text(recipe + other)
    write_evaluation(folder, evaluation("other", 0.55, 0.99, np.random.default_rng(1)))
    seal(folder)
    lines = verdict(folder)
    assert any(line.startswith("grpo improved on cold_start") for line in lines)
    assert any(line.startswith("other improved on cold_start") for line in lines)
    assert not any("no evidence" in line for line in lines)
    assert re.search(
        r"starts from.{0,40}cold_start.{0,40}reward.{0,40}exact\(\)", write_report(folder).read_text(), re.DOTALL
    )


def test_the_verdict_is_also_told_in_the_terminal(tmp_path: Path) -> None:
    lines = verdict(made_up_run(tmp_path / "run"))
    assert lines[0].startswith("Training worked: from 0.0% to")
    assert any("95% interval" in line for line in lines)


def test_an_unfinished_run_is_judged_so_far(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    (folder / "events.jsonl").unlink()
    seal(folder, "stage_done")
    lines = verdict(folder)
    assert lines[0].startswith("Training worked so far")
    assert lines[1].startswith("This run has not finished: 56 of 56 steps")


def test_preferences_are_told_in_words_and_pictures(tmp_path: Path) -> None:
    page = render(read_run(preference_run(tmp_path / "run")))
    assert links(page) == []
    for chart in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(chart)
        assert "nan" not in re.sub(r"<(title|desc)>.*?</\1>", "", chart)
    assert "Training worked: mean score on held-out tasks from 0.339 to 0.603. But the reward was over-optim" in page
    for words in ("ppo over-optimised its reward", "Truth over √KL", "best of 4", "annotator()", "KL from base"):
        assert words in page
    for words in (
        "It scores the preferred answer higher in 76%",
        "preferred one is shorter",
        "if every chance were right",
    ):
        assert words in page
    for words in ("Answers to one question became more alike", "distinct word pairs", "win rate, 0 to 100%", "typical"):
        assert words in page
    for words in ("Preferred answer ranked higher", "Scores of the two answers", "Price of the KL", "truth 0."):
        assert words in page
    assert "pass@" not in page
    assert ">right<" not in page


def test_a_truth_that_rises_clears_the_reward(tmp_path: Path) -> None:
    lines = verdict(preference_run(tmp_path / "run", healthy=True))
    assert lines[0] == "Training worked: mean score on held-out tasks from 0.339 to 0.603."
    assert any("an answer of ppo scores higher than one of base in 88.1% of pairs" in line for line in lines)
    assert any(line.startswith("ppo: the truth rose with the reward") for line in lines)
    assert any(line.startswith("scorer: it scores the preferred answer higher in 76%") for line in lines)


def test_pairs_are_shown_as_chosen_and_rejected(tmp_path: Path) -> None:
    data = read_run(preference_run(tmp_path / "run"))
    first = training_groups(data, "scorer")[0]
    assert first.title == "Compared at step 1: train-0"
    assert [(attempt.value, word) for attempt, word in first.rows] == [("score 1", "chosen"), ("score 0", "rejected")]
    assert [word for _, word in training_groups(data, "sft")[0].rows] == ["", ""]
    assert all(word.startswith("advantage ") for _, word in training_groups(data, "ppo")[0].rows)
    for row in (rows := data.rollouts["ppo", 1]):
        row["advantage"] = 0.0 if row["group"] == rows[0]["group"] else 1.0
    assert training_groups(data, "ppo")[0].title != f"Learned from at step 1: {rows[0]['task']}"
    assert all(word == "advantage +1.00" for _, word in training_groups(data, "ppo")[0].rows)
    for row in data.rollouts["scorer", 1]:
        row["score"]["value"] = 1.0 if row["group"] == 0 else None
    ties, lost, _ = training_groups(data, "scorer")[:3]
    assert {word for _, word in ties.rows} == {"tie: no preference"}
    assert {word for _, word in lost.rows} == {"left out"}
    data.rollouts["scorer", 1][:] = [row | {"group": row["attempt"]} for row in data.rollouts["scorer", 30][:2]]
    assert [group.rows[0][1] for group in training_groups(data, "scorer")[:2]] == ["unwanted", "wanted"]


def test_a_mixed_task_shows_an_attempt_of_each_kind(tmp_path: Path) -> None:
    evaluation = read_run(made_up_run(tmp_path / "run")).evaluations[-1]
    task = evaluation["tasks"][0]
    attempt = task["attempts"][0]
    wrong, right = (replace_value(attempt, value) for value in (0.0, 1.0))
    (found,) = examples([{**evaluation, "tasks": [{**task, "attempts": [wrong, wrong, right, wrong]}]}], graded=False)
    assert [shown.passed for shown in found.sides[0].attempts] == [True, False]
    assert found.sides[0].tally == "1 of 4 right"


def replace_value(attempt: AttemptRecord, value: float) -> AttemptRecord:
    return {**attempt, "score": {**attempt["score"], "status": "ok", "value": value}}


def test_examples_of_graded_scores_are_the_largest_changes(tmp_path: Path) -> None:
    evaluations = read_run(preference_run(tmp_path / "run")).evaluations
    found = examples(evaluations, graded=True)
    assert [one.kind for one in found] == ["got better"] * 3 + ["got worse"] + ["typical"] * 3
    assert len({one.task for one in found}) == len(found)
    gains = [[float(side.tally.removeprefix("mean score ")) for side in one.sides] for one in found]
    change = [after - before for before, after in gains]
    assert change[0] >= change[1] >= change[2] > change[4] > 0 > change[3]
    assert all(attempt.passed is None for one in found for side in one.sides for attempt in side.attempts)
    single = examples(evaluations[:1], graded=True)
    assert [one.kind for one in single] == ["scored highest"] * 3 + ["scored lowest"] * 3 + ["in the middle"] * 3


def test_few_steps_and_damaged_pairs_prove_nothing(tmp_path: Path) -> None:
    folder = preference_run(tmp_path / "run")
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:50]))
    (folder / "preferences" / "scorer.json").write_text("{")
    seal(folder)
    page = render(read_run(folder))
    assert "ppo: 8 steps with reward and truth are too few" in page
    assert "But the reward was over-optimised" not in page
    assert "not a readable file of pairs" in page
    assert 'id="pairs"' not in page
    for missing in ("truth", "pairs", "wins", "diversity"):
        assert f'id="{missing}"' not in render(read_run(prefix_of(folder, tmp_path / "young")))


def alarm(stage: str, severity: str, text: str, rollouts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"stage": stage, "step": 14, "signal": "truth", "severity": severity, "text": text, "rollouts": rollouts}


def test_alarms_are_shown_with_their_attempts_and_said_in_the_headline(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path)
    assert 'id="watching"' not in render(read_run(folder))
    row = rollouts("grpo", 14, HOSTILE)[1] | {"gold": 0.0}
    rows = [
        alarm("grpo", "warning", "First.", []),
        alarm("grpo", "critical", f"Reward up. {HOSTILE}", [row, {"no": 1}]),
    ]
    (folder / "alarms.jsonl").write_text("".join(dumps(one) + "\n" for one in rows) + '{"stage": "grpo"}\n')
    seal(folder)
    page = render(read_run(folder))
    for words in (
        "2 alarms in 40 steps",
        "step 14 · truth",
        "train-17 · expected 9",
        "truth 0",
        "Not measured in this stage",
    ):
        assert words in page
    assert page.count('<details open><summary><span class="kind critical">') == 1
    assert links(page) == []
    assert "alarms.jsonl: 1 damaged rows left out" in page
    lines = verdict(folder)
    assert lines[0].endswith("But an alarm was raised in training.")
    assert any(line.startswith("Critical alarm at step 14 of grpo: Reward up.") for line in lines)


def test_an_alarm_of_a_stage_that_the_model_does_not_come_from_leaves_its_headline_alone(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path)
    recipe = RECIPE.replace(
        'name = "grpo"',
        'name = "hacked"\nalgorithm = "grpo"\nsteps = 9\n[[stage]]\nname = "grpo"\nstart = "cold_start"',
    )
    (folder / "recipe.toml").write_text(recipe)
    (folder / "alarms.jsonl").write_text(dumps(alarm("hacked", "critical", "Reward up.", [])) + "\n")
    lines = verdict(folder)
    assert lines[0].startswith("Training worked")
    assert "alarm" not in lines[0]
    assert any(line.startswith("Critical alarm at step 14 of hacked") for line in lines)


def prefix_of(folder: Path, target: Path) -> Path:
    """A run that has only just begun."""
    target.mkdir(exist_ok=True)
    (target / "recipe.toml").write_bytes((folder / "recipe.toml").read_bytes())
    return target


def test_no_gain_is_never_called_one(tmp_path: Path) -> None:
    rows = {"base": [1, 0, 1, 0], "grpo": [1, 1, 1, 0]}
    for model, pattern in rows.items():
        record = evaluation(model, 0.3, 1.0, np.random.default_rng(0))
        for index, task in enumerate(record["tasks"]):
            flip = -1 if index % 3 == 0 else 1
            for attempt, value in zip(task["attempts"], pattern[::flip] if index % 2 else [0] * 4, strict=True):
                attempt["score"] |= {"value": float(value if index < 4 else 0), "status": "ok"}
        write_evaluation(tmp_path, record)
    page = render(read_run(tmp_path))
    assert "No evidence of improvement" in page
    assert "Training worked" not in page


def test_a_loss_is_called_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_evaluation(tmp_path, evaluation("base", 0.6, 1.0, rng))
    write_evaluation(tmp_path, evaluation("grpo", 0.1, 1.0, rng))
    assert "Training made the model worse" in render(read_run(tmp_path))


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run", text=HOSTILE)
    write_evaluation(folder, record_with(HOSTILE))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": HOSTILE, "data": {HOSTILE: HOSTILE}}))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "grpo", "step": 41, f"rewards/{HOSTILE}/mean": 1.0}) + "\n")
    page = render(read_run(folder))
    assert links(page) == []
    assert not set(page) & {"\x1b", "\u202e", "\u2066", "\u200b"}
    assert "⟨U+202E⟩" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def record_with(text: str) -> EvaluationRecord:
    turn = Turn(prompt=(1,), completion=(2,), text=text, stop="eos")
    score = Score(value=1.0, parts={text: 1.0}, note=text)
    task = Task(id=text, prompt=(Message(role="user", content=text),), answer=text)
    group = Group(task=task, trajectories=(Trajectory(turns=(turn,), stop="eos"),), scores=(score,))
    return from_groups([group], 1, model="grpo", step=0, sampling=Sampling())


def test_a_huge_cell_is_cut_and_the_cut_is_told(tmp_path: Path) -> None:
    write_evaluation(tmp_path, record_with("a" * 10_000_000))
    page = render(read_run(tmp_path))
    assert len(page) < 400_000
    assert "9,996,000 more characters not shown" in page


def test_every_prefix_of_a_run_gives_a_page(tmp_path: Path) -> None:
    """A run writes its files one after another: whatever is there so far must make a page, and the rest is named."""
    whole = made_up_run(tmp_path / "whole")
    names = ["manifest.json", "recipe.toml", "metrics.jsonl", "timings.jsonl", "events.jsonl", "evaluations/base.json"]
    for count in range(1, len(names) + 1):
        folder = tmp_path / str(count)
        (folder / "evaluations").mkdir(parents=True)
        for name in names[:count]:
            (folder / name).write_bytes((whole / name).read_bytes())
        page = render(read_run(folder))
        assert "Nothing is proven yet" in page
        assert "not recorded" in page
        assert links(page) == []
    (tmp_path / "empty" / "evaluations").mkdir(parents=True)
    assert render(read_run(tmp_path / "empty")).count("not recorded") > 10


def test_files_are_held_against_the_events_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are gigabytes: whoever has checked a folder hands on what was found."""
    folder = made_up_run(tmp_path / "run")
    data = read_run(folder)
    monkeypatch.setattr("togi.evidence.read_run.check", None)
    assert read_run(folder, data.integrity) == data


def test_damaged_files_are_named_and_left_out(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    (folder / "evaluations" / "grpo.json").write_text("{")
    (folder / "manifest.json").write_bytes(b"\xff\xfe{")
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text("garbage\n[1]\n" + text + '{"stage": "gr')
    seal(folder)
    data = read_run(folder)
    assert [problem.split(":")[0].rsplit("/")[-1] for problem in data.problems] == [
        "grpo.json",
        "manifest.json",
        "metrics.jsonl",
    ]
    assert len(data.metrics) == 56
    assert "2 damaged rows left out, the first in line 1" in render(read_run(folder))


def test_an_edited_event_log_is_told(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    events = folder / "events.jsonl"
    events.write_text(events.read_text().replace('"steps": 56', '"steps": 57'))
    page = render(read_run(folder))
    assert "This run folder is not as it was written" in page
    assert "events.jsonl was changed after it was written: line 3 does not fit the chain of events." in page
    assert "broken at line 3" in page


def test_a_changed_evaluation_is_told_and_not_believed(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    write_evaluation(folder, evaluation("grpo", 0.99, 0.99, np.random.default_rng(1)))
    data = read_run(folder)
    assert [one["model"] for one in data.evaluations] == ["base", "cold_start"]
    assert data.distrust == ["evaluations/grpo.json was changed after it was written."]
    assert verdict(folder)[1] == data.distrust[0]
    assert verdict(folder)[0].endswith("But this folder is not as it was written.")
    page = render(read_run(folder))
    assert "This run folder is not as it was written" in page
    assert data.distrust[0] in page


def test_files_that_no_event_names_prove_nothing(tmp_path: Path) -> None:
    """A model that was never evaluated, rollouts that nobody sampled."""
    folder = made_up_run(tmp_path / "run")
    write_evaluation(folder, evaluation("better", 0.99, 0.99, np.random.default_rng(1)))
    (folder / "rollouts" / "grpo-000041.jsonl").write_text(dumps(rollouts("grpo", 41)[0]) + "\n")
    data = read_run(folder)
    assert [one["model"] for one in data.evaluations] == ["base", "cold_start", "grpo"]
    assert ("grpo", 41) not in data.rollouts
    assert [told.split()[0] for told in data.distrust] == ["rollouts/grpo-000041.jsonl", "evaluations/better.json"]


def test_of_many_doubts_a_page_tells_the_first(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    for step in range(41, 56):
        (folder / "rollouts" / f"grpo-{step:06d}.jsonl").write_text("{}\n")
    assert read_run(folder).distrust[-2].startswith("rollouts/grpo-000050.jsonl")
    assert read_run(folder).distrust[-1] == "And 5 more: togi verify lists them."


def test_without_events_a_page_says_that_nothing_vouches_for_it(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    (folder / "events.jsonl").unlink()
    assert "events.jsonl is missing: nothing vouches for this folder." in render(read_run(folder))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    (folder / "evaluations").rename(tmp_path / "evaluations")
    (folder / "evaluations").symlink_to(tmp_path / "evaluations")
    page = render(read_run(folder))
    assert "is a symbolic link" in page
    assert "Nothing is proven yet" in page


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a run folder"):
        write_report(tmp_path)


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    assert render(read_run(folder)) == render(read_run(folder))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("line\r\nline", "line\nline"),
        ("\x1b[2J", "⟨U+001B⟩[2J"),
        ("a\u202eb\ufeff", "a⟨U+202E⟩b⟨U+FEFF⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("e" + "\u0301" * 50, "e" + "\u0301" * 4),
        ("שלום é 研", "שלום é 研"),
    ],
)
def test_active_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_cut_says_how_much_it_cut() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdef", 2) == "ab … [4 more characters not shown]"


def test_stacked_bars_start_where_the_part_below_ends_and_negative_ones_hang_from_zero() -> None:
    lines = [Line(name=name, tint="s2", x=[1, 2], y=y) for name, y in (("a", [0.5, 0.2]), ("b", [0.5, 1.0]))]
    lines.append(Line(name="c", tint="s1", x=[1, 2], y=[None, -0.2]))
    chart = stacked_chart("t", lines)
    bars = [
        {key: float(value) for key, value in re.findall(r'(y|height)="([\d.]+)"', rect)}
        for rect in re.findall(r"<rect[^>]*>", chart)
    ]
    first, second = bars[:3], bars[3:]
    assert first[1]["y"] + first[1]["height"] == pytest.approx(first[0]["y"], abs=0.11)
    assert second[2]["y"] == pytest.approx(second[0]["y"] + second[0]["height"], abs=0.11)
    assert (first[2]["height"], second[2]["height"] > 0) == (0.0, True)
    many = [Line(name="a", tint="s2", x=list(range(500)), y=[1.0] * 500)]
    assert stacked_chart("t", many).count("<rect") == STACKS
    assert stacked_chart("t", []) == ""


def test_curves_have_gaps_where_nothing_was_recorded() -> None:
    chart = line_chart("t", [Line(name="a", tint="s2", x=[1, 2, 3, 4, 5], y=[1.0, 2.0, None, 4.0, 5.0])])
    assert chart.count("<polyline") == 2
    assert line_chart("t", [Line(name="a", tint="s2", x=[1], y=[None])]) == ""
    for flat in ([3.0], [0.0, 0.0], [-2.0, -2.0], [1e-300, 1e-300]):
        svg = line_chart("t", [Line(name="a", tint="s2", x=list(range(len(flat))), y=flat)])
        ElementTree.fromstring(svg)
        assert "nan" not in svg


def test_axis_numbers() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.5, 1.0])
    assert ticks(1, 16, 5) == pytest.approx([5, 10, 15])
    shown: Sequence[str] = [number(v) for v in (0, 0.35, 1e-5, 120, 12345, 1.342e8, 2e12)]
    assert shown == ["0", "0.35", "1e-05", "120", "12.3k", "134M", "2T"]


def test_a_strip_without_an_interval_has_only_its_point() -> None:
    nan = float("nan")
    alone = strip(Interval(point=0.4, low=nan, high=nan, level=0.95), "s1")
    assert "nan" not in alone
    assert "<rect" not in alone
    assert strip(None, "s1") == ""


def test_cost_adds_up() -> None:
    rows = [
        {
            "stage": "sft",
            "step": 1,
            "seconds": {"sample": 0.0, "learn": 2.0},
            "tokens": 100,
            "drawn": 0,
            "memory_gb": 1.0,
        },
        {
            "stage": "grpo",
            "step": 1,
            "seconds": {"sample": 4.0, "learn": 3.0},
            "tokens": 200,
            "drawn": 200,
            "memory_gb": 2.0,
        },
    ]
    spent = cost(
        rows, sampled=["grpo"], evaluation_seconds=1.0, evaluation_tokens=50, parameters=10, hourly_price=360.0
    )
    assert spent.total_seconds == 10.0
    assert spent.seconds == {"learn": 5.0, "sample": 4.0}
    graded = rows[0] | {"seconds": {"sample": 4.0, "grade": 1.0}}
    assert ("Grading", "20.0% of the time") in cost_facts(cost([graded], sampled=[]), logged=True)
    beside = cost([rows[1] | {"seconds": {"wait": 2.0, "learn": 6.0}, "engines_idle": 1.0}], sampled=["grpo"])
    assert beside.sampling_tokens_per_second == pytest.approx(200 / 7)  # engines draw in every phase
    facts = cost_facts(beside, logged=True)
    assert ("The learner waited for groups", "25.0% of the time") in facts
    assert ("Engines had nothing to draw", "12.5% of the time") in facts
    assert spent.flops == 10 * (6 * 300 + 2 * (200 + 50))
    assert spent.sampling_tokens_per_second == 50.0
    assert spent.memory_gb == 2.0
    assert spent.money == pytest.approx(1.0)
    assert cost([], sampled=[]).flops is None
    assert cost([], sampled=[]).money is None
    with pytest.raises(ValueError, match="negative"):
        cost([], sampled=[], hourly_price=-1)


def test_preferred_answers_that_grow_unlikely_are_told(tmp_path: Path) -> None:
    def notes(slope: float) -> list[str]:
        rng = np.random.default_rng(0)
        rows = tuple(
            {"stage": "dpo", "step": step, "logps/chosen": -40 - slope * step + float(rng.normal())}
            for step in range(1, 31)
        )
        return observations(RunData(folder=tmp_path, metrics=rows), "dpo")

    assert "Preferred answers became less likely too" in notes(0.5)[0]
    assert notes(0.0) == []
    assert notes(-0.5) == []


def test_what_could_not_be_read_is_said(tmp_path: Path) -> None:
    """Shares of completions without a readable answer stand apart from wrong ones."""

    def said(start: float, end: float) -> list[str]:
        shares = [start] * 5 + [end] * 5
        rows = [{"stage": "rl", "step": n, "rewards/parsed/mean": share} for n, share in enumerate(shares, start=1)]
        return observations(RunData(folder=tmp_path, metrics=rows), "rl")

    assert said(0.6, 0.97) == ["No answer could be read in 40.0% of completions, at the end in 3.0%: they earned 0."]
    assert said(1.0, 0.98) == []
