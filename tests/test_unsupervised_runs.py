"""Recipes whose rewards ask the policy itself, from end to end on a random model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_text import byte_level, tiny_llama

from togi.evidence.before.doctor import blind_findings
from togi.evidence.redteam.attack_reward import SHORT
from togi.evidence.redteam.run_rewards import attack_run
from togi.recipe import load_recipe
from togi.rewards import majority, number
from togi.rewards.unsupervised import Sure
from togi.run import Silent
from togi.train import train

RECIPES = Path(__file__).parent.parent / "recipes"

STAGES = {
    "certain": ("grpo", "self_certainty()", "settings = { kl = 0.0 }"),
    "vote": ("grpo", "majority(exact()) + 0 * entropy()", "settings = { kl = 0.0, votes = 4 }"),
    "sharpen": ("entropy_minimisation", "entropy()", ""),
    "rlpr": ("rlpr", "likelihood() + 0.1 * form()", "settings = { beta = 0.5 }"),
    "verifree": ("verifree", 'likelihood(form=\\"product\\", debias=false)', ""),
}


def tiny(path: Path) -> Path:
    tiny_llama().save_pretrained(path)
    byte_level().save_pretrained(path)
    return path


def steps(folder: Path, stage: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == stage]


def test_every_reward_and_algorithm_runs_from_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What is {i}?", "answer": str(i)}) + "\n" for i in range(4))
    )
    text = f"""
name = "whole"
model.source = "{tiny(tmp_path / "model")}"
model.dtype = "float32"
data.train.file = "rows.jsonl"
sampling.max_tokens = 12
gold.score = "exact()"
"""
    for name, (algorithm, score, more) in STAGES.items():
        text += f"""
[[stage]]
name = "{name}"
algorithm = "{algorithm}"
steps = 2
tasks_per_step = 2
attempts = 2
learning_rate = 1e-3
reward.score = "{score}"
{more}
"""
    text += 'until = { metric = "rewards/likelihood/mean", above = -1.0, steps = 1 }\n'
    (tmp_path / "recipe.toml").write_text(text)
    run = load_recipe(tmp_path / "recipe.toml", []).run
    run = replace(run, folder=tmp_path / "run")
    train(run, Silent())
    names = {name: set(steps(run.folder, name)[-1]) for name in STAGES}
    assert {"rewards/self_certainty/mean", "rewards/entropy_nats/mean", "gold"} <= names["certain"]
    assert {"rewards/majority_share/mean", "rewards/entropy_nats/mean"} <= names["vote"]
    assert {"entropy", "rewards/entropy/mean"} <= names["sharpen"]
    assert {"rlpr/std", "rlpr/dropped", "rewards/likelihood/mean"} <= names["rlpr"]
    assert [row["step"] for row in steps(run.folder, "verifree")] == [1]
    for name in STAGES:
        assert not any(row.get("skipped_steps") for row in steps(run.folder, name))
    assert len(steps(run.folder, "vote")) == 2


def test_what_is_said_of_the_policy_is_of_its_current_weights(tmp_path: Path) -> None:
    """Minimising entropy lowers the entropy that the reward reads, step by step."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Hello", "answer": "x"}) + "\n")
    (tmp_path / "recipe.toml").write_text(f"""
name = "whole"
model.source = "{tiny(tmp_path / "model")}"
model.dtype = "float32"
data.train.file = "rows.jsonl"
sampling.max_tokens = 12
reward.score = "entropy()"
[[stage]]
algorithm = "entropy_minimisation"
steps = 40
tasks_per_step = 1
attempts = 4
learning_rate = 1e-2
until = {{ metric = "rewards/entropy_nats/mean", below = 0.5, steps = 2 }}
""")
    run = replace(load_recipe(tmp_path / "recipe.toml", []).run, folder=tmp_path / "run")
    train(run, Silent())
    told = steps(run.folder, "entropy_minimisation")
    assert told[0]["rewards/entropy_nats/mean"] > 2
    assert told[-1]["rewards/entropy_nats/mean"] < 0.5
    assert len(told) < 40
    for row in told:
        assert row["rewards/entropy/mean"] == pytest.approx(-row["rewards/entropy_nats/mean"])


def test_the_recipe_builds_and_no_stage_that_samples_reads_an_answer() -> None:
    run = load_recipe(RECIPES / "unsupervised.toml", []).run
    sampled = [stage for stage in run.stages if stage.algorithm.sampler.writes]
    assert len(sampled) == 3
    for stage in sampled:
        assert isinstance(stage.reward, majority | Sure)
        assert isinstance(stage.gold, number)
        assert len(stage.tasks) == stage.tasks_per_step
    solved = {task.prompt for task in run.stages[0].tasks}
    assert not solved & {task.prompt for stage in sampled for task in stage.tasks}


def test_the_doctor_says_that_such_a_reward_is_blind_instead_of_attacking_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Hello", "answer": "x"}) + "\n")
    (tmp_path / "recipe.toml").write_text(f"""
name = "whole"
model.source = "{tiny(tmp_path / "model")}"
data.train.file = "rows.jsonl"
reward.score = "majority(exact()) + 0 * entropy()"
stage = [{{ algorithm = "grpo", steps = 1, learning_rate = 1e-6 }}]
""")
    run = load_recipe(tmp_path / "recipe.toml", []).run
    [found] = blind_findings(run)
    assert found.level == "warn"
    assert "until" in found.advice
    assert "[gold]" in found.advice
    assert list(attack_run(run, SHORT, models=False)) == []
    labelled = load_recipe(tmp_path / "recipe.toml", ["reward.score=exact() + 0.1 * entropy()"]).run
    assert blind_findings(labelled) == []
