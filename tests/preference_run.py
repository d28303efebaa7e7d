"""A run folder of invented numbers as learning from preferences writes it: SFT, reward model, PPO, and a truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sealed import seal

from togi.evidence.after.evaluation_file import EvaluationRecord, write_evaluation
from togi.evidence.after.measured_pairs_file import PairRecord, PairsRecord, write_pairs
from togi.evidence.after.play_evaluation import from_groups
from togi.run_folder.files import dumps
from togi.types import Group, Message, Sampling, Score, Task, Trajectory, Turn

RECIPE = """
name = "made-up-preferences"
seed = 7
[model]
source = "made-up-model"
[gold]
score = "annotator()"
[[stage]]
name = "sft"
algorithm = "sft"
steps = 12
[[stage]]
name = "scorer"
algorithm = "reward_model"
steps = 30
start = "sft"
[[stage]]
name = "ppo"
algorithm = "ppo"
steps = 60
start = "sft"
tasks_per_step = 8
attempts = 4
learning_rate = 1e-5
"""
OPENINGS = ("Tea is", "A cup of tea is", "People say tea is", "I think tea is", "In short, tea is", "Well, tea is")
ENDINGS = ("a warm drink", "made of leaves", "good in the morning", "older than coffee", "best without sugar")


def evaluation(model: str, mean: float, openings: int, kl: float, tasks: int = 50) -> EvaluationRecord:
    """Graded scores around ``mean``; the fewer openings a model knows, the more alike its answers."""
    rng = np.random.default_rng([openings, int(100 * mean)])
    groups = []
    for index in range(tasks):
        ease = float(np.random.default_rng(index).normal(0, 0.12))
        attempts, scores = [], []
        for _ in range(4):
            text = f"{OPENINGS[rng.integers(openings)]} {ENDINGS[rng.integers(min(5, openings + 1))]}, number {index}."
            turn = Turn(prompt=(1,), completion=(5,) * int(rng.integers(10, 30)), text=text, stop="eos")
            attempts.append(Trajectory(turns=(turn,), stop="eos"))
            value = float(np.clip(mean + ease + rng.normal(0, 0.15), 0, 0.99))
            scores.append(Score(value=value, parts={"form": value, "length": 1 - value}))
        prompt = (Message(role="user", content=f"Say something of tea, in the form that number {index} asks for."),)
        task = Task(id=f"held-out-{index:03d}", prompt=prompt)
        groups.append(Group(task=task, trajectories=tuple(attempts), scores=tuple(scores)))
    record = from_groups(groups, 4, model=model, step=0, sampling=Sampling(max_tokens=64), seconds=9.0)
    for one in record["tasks"]:
        for attempt in one["attempts"]:
            attempt["kl"] = max(0.0, kl + float(rng.normal(0, 0.3)) * kl)
    return record


def pairs(accuracy: float, noise: float) -> PairsRecord:
    rng = np.random.default_rng(3)
    found = []
    for index in range(240):
        true, right = rng.random() > noise, rng.random() < accuracy
        margin = float(abs(rng.normal(0, 1.5))) * (1 if right == true else -1)
        long, short = int(rng.integers(20, 40)), int(rng.integers(8, 30))
        pair = PairRecord(
            task=f"pair-{index // 2}",
            label=1.0,
            chosen_score=margin,
            rejected_score=0.0,
            chosen_tokens=long if rng.random() < 0.6 else short,
            rejected_tokens=int(rng.integers(8, 40)),
            truth=float(true),
        )
        found.append(pair)
    skipped = {"alone": 0, "tie": 3, "identical": 2, "unscored": 0}
    return PairsRecord(name="scorer", step=42, scale="log_odds", tasks=120, pairs=found, skipped=skipped)


def metrics(stage: str, steps: int, healthy: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(steps)
    rows = []
    for step in range(1, steps + 1):
        done, noise = step / steps, float(rng.normal()) * 0.02
        row: dict[str, Any] = {"stage": stage, "step": step, "loss": 0.7 - 0.3 * done + noise, "grad_norm": 1.0}
        row |= {"learning_rate": 1e-5, "completions/mean_length": 22 + 9 * done, "completions/clipped_ratio": 0.01}
        if stage == "scorer":
            row |= {"rewards/accuracies": 0.5 + 0.3 * done + noise, "rewards/margins": 1.4 * done + noise}
            row |= {"rewards/chosen": 0.8 * done + noise, "rewards/rejected": -0.6 * done + noise}
        if stage == "ppo":
            hill = done if healthy else min(done, 0.4) - 0.7 * max(0.0, done - 0.4)
            row |= {"reward": 2.5 * done**0.6 + 5 * noise, "gold": 0.4 + 0.5 * hill + float(rng.normal()) * 0.02}
            row |= {"kl_sequence": max(0.0, 14 * done**1.3 + 20 * noise) if step > 1 else 0.0, "kl_coef": 0.05 * done}
            row |= {"loss/value_avg": 1 - 0.8 * done, "reward_std": 0.4, "frac_reward_zero_std": 0.0}
        rows.append(row)
    return rows


def rollouts(stage: str, step: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(step)
    rows = []
    for group in range(8):
        for attempt in range(4 if stage == "ppo" else 2):
            gold = float(rng.random())
            sampled = stage == "ppo"
            value = 3 * gold + float(rng.normal()) if sampled else float(attempt == 1)
            row = {"stage": stage, "step": step, "task": f"train-{group}", "group": group, "attempt": attempt}
            row |= {"prompt": "<|im_start|>user\nSay something of tea.<|im_end|>\n", "stop": "eos", "tokens": 21}
            row |= {"completion": f"{OPENINGS[group % 6]} {ENDINGS[attempt]}.", "answer": None}
            row |= {"score": {"value": value, "parts": {}, "status": "ok", "note": ""}}
            row |= {"advantage": value - 1.5, "logp_mean": -0.4, "gold": gold} if sampled else {"logp_mean": None}
            rows.append(row)
    return rows


def preference_run(folder: Path, *, healthy: bool = False) -> Path:
    """A finished run whose PPO stage over-optimises its reward model, unless it is ``healthy``."""
    (folder / "rollouts").mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    for model, mean, openings, kl in (("base", 0.35, 6, 0.0), ("sft", 0.45, 5, 2.0), ("ppo", 0.6, 2, 11.0)):
        write_evaluation(folder, evaluation(model, mean, openings, kl))
    write_pairs(folder, pairs(accuracy=0.8, noise=0.1))
    for stage, steps in (("sft", 12), ("scorer", 30), ("ppo", 60)):
        with (folder / "metrics.jsonl").open("a") as file:
            file.writelines(dumps(row) + "\n" for row in metrics(stage, steps, healthy))
        for step in (1, steps):
            path = folder / "rollouts" / f"{stage}-{step:06d}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rollouts(stage, step)))
    (folder / "manifest.json").write_text(json.dumps({"name": "made-up-preferences", "seed": 7}))
    seal(folder, steps=102)
    return folder
