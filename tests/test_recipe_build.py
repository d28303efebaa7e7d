"""From recipe to Run: every key is read, a resolved recipe is the same run, impossible combinations are refused."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import tomli_w
from pydantic import BaseModel
from tiny_text import tiny_llama

from togi.advantages import leave_one_out, token_mean
from togi.algorithms import GRPO, ConstantLength, PPOClip
from togi.algorithms.policy_gradient.base import Regularised
from togi.algorithms.policy_gradient.corrections import Correction, Masked, Truncated, Uncorrected
from togi.data import Tasks
from togi.data.reasoning_gym_rows import gym_rows
from togi.engines.engine_choice import LACKS, AtCluster
from togi.envs import OneTurn
from togi.extras import lacking
from togi.recipe import RecipeError, load_recipe
from togi.recipe.errors import model_at
from togi.recipe.schema import Recipe
from togi.recipe.show_origins import origins
from togi.run import Run
from togi.run_folder.files import digest
from togi.run_folder.run_description import files_read
from togi.samplers import Budgeted, Dynamic, Groups
from togi.sandbox.workers.pool import Pool

TASKS = """\
def adding(rng, level=0):
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    return {"prompt": f"{a} + {b}?", "answer": str(a + b)}

def taking(rng):
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    return {"prompt": f"{a} - {b}?", "answer": str(a - b), "completion": str(a - b)}

def written(row):
    return "It is " + row["answer"]

def spelled(row):
    return row["answer"] + "!"

def paid(completion, answer):
    return 1.0
"""

ENVS = """\
class Once:
    def __init__(self, task): ...
    def start(self): return "Name one."
    def step(self, message): return "", 1.0, True

class Often(Once):
    def __init__(self, task, most=2): ...

class Two(Once):
    players = ("one", "other")

def moves(told, chance): return ""
"""

OWN = """\
from dataclasses import dataclass
from togi import GRPO, PPOClip

GENTLE = GRPO(surrogate=PPOClip(clip_low=0.1))

@dataclass(frozen=True, kw_only=True)
class Halved(GRPO):
    half: float = 0.5

    def advantages(self, samples, attempts):
        return [self.half * each for each in super().advantages(samples, attempts)]

class Nothing:
    pass

@dataclass
class Broken:
    needed: int
"""

SFT = """
[[stage]]
algorithm = "sft"
steps = 20
learning_rate = 2e-5
"""

GRPO_STAGE = """
[[stage]]
name = "hone"
algorithm = "grpo"
steps = 30
attempts = 4
learning_rate = 1e-6
"""

COLLECTING = """
[[stage]]
name = "one"
algorithm = "collect"
steps = 3

[[stage]]
name = "other"
algorithm = "collect"
steps = 3

[[stage]]
name = "hone"
algorithm = "sft"
steps = 3
learning_rate = 1e-6
"""

RECIPE = f"""\
name = "small"

[model]
source = "smollm2-135m"

[data.train]
generate = "tasks.py:adding"
size = 12
demonstrate = "tasks.py:written"

[data.test]
generate = "tasks.py:adding"
size = 6
seed = 1

[reward]
score = "number()"
{SFT}{GRPO_STAGE}
[evaluation]
attempts = 2
"""


@cache
def made(name: str, config: str, **asked: int) -> list[Any]:
    return list(gym_rows(name, config=json.loads(config), **asked))


@pytest.fixture(autouse=True)
def _made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same questions are made in one process for all tests here, which takes seconds."""

    def remembered(name: str, *, config: dict[str, Any], **asked: int) -> list[Any]:
        return made(name, json.dumps(config), **asked)

    monkeypatch.setattr("togi.data.sources.gym_rows", remembered)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tasks.py").write_text(TASKS.replace("99", "50"))
    rows = [{"prompt": f"{n}?", "answer": str(n), "other": str(n + 1), "completion": str(n)} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"prompt": f"{n}?", "chosen": str(n), "rejected": "no"} for n in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    talk = [{"role": role, "content": f"{role} {n}"} for n in range(2) for role in ("user", "assistant")]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": talk, "answer": "1"}) + "\n")
    (tmp_path / "fewer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:5]))
    for rule in ("rules", "again"):
        text = f"[{rule}]\ncritique: Is it {rule}?\nrevision: Make it {rule}.\nquestion: Which is {rule}?\n"
        (tmp_path / f"{rule}.txt").write_text(text)
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "envs.py").write_text(ENVS)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "raises.py").write_text("def f(x): ...\n1 / 0\n")
    (tmp_path / "lacks.py").write_text("import no_such_module\ndef f(x): ...\n")
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def build(path: Path, *overrides: str) -> Run:
    return load_recipe(path, overrides).run


def refused(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        build(path, *overrides)
    return list(error.value.problems)


def print_of(value: Any) -> Any:
    """A value as plain data that differs where the value would act differently; the recipe itself is left out."""
    if isinstance(value, Tasks):
        return [value.digest, len(value)]
    if isinstance(value, Pool):
        return [value.size, value.seconds, value.memory_mb, value.asked]
    if isinstance(value, FunctionType | type):
        return value.__qualname__
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name != "recipe"]
        return [type(value).__name__, *(print_of(vars(value)[name]) for name in names)]
    if isinstance(value, tuple | list):
        return [print_of(item) for item in value]
    return repr(value)


def test_the_run_says_what_the_recipe_says(recipe: Path) -> None:
    run = build(recipe)
    assert (run.name, run.folder, run.seed) == ("small", Path("runs/small"), 0)
    cold, hone = run.stages
    assert (cold.name, cold.steps, cold.reward) == ("sft", 20, None)
    assert cold.optimiser.learning_rate == 2e-5
    assert cold.optimiser.total_steps == 20
    assert cold.tasks[0].recorded[0][0].content.startswith("It is ")
    assert isinstance(hone.algorithm, GRPO)
    assert hone.algorithm.sampler == Groups(4)
    assert hone.tasks is cold.tasks
    assert run.evaluation is not None
    assert (len(run.evaluation.tasks), run.evaluation.attempts) == (6, 2)
    fewer = build(recipe, "evaluation.tasks=2").evaluation
    assert fewer is not None
    assert list(fewer.tasks) == list(run.evaluation.tasks[:2])


def test_held_out_tasks_are_left_out_of_training(recipe: Path) -> None:
    run = build(recipe, 'data.test={file = "fewer.jsonl"}', 'data.train={file = "rows.jsonl"}')
    assert run.evaluation is not None
    assert [task.answer for task in run.evaluation.tasks] == ["0", "1", "2", "3", "4"]
    assert [task.answer for task in run.stages[0].tasks] == ["5", "6", "7"]
    assert run.stages[0].tasks.dropped == 5


def test_sampling_is_inherited_key_by_key(recipe: Path) -> None:
    run = build(recipe, "sampling.max_tokens=9", "evaluation.sampling.top_p=0.9", "stage.hone.sampling.temperature=0.7")
    assert run.evaluation is not None
    assert (run.evaluation.sampling.max_tokens, run.evaluation.sampling.top_p) == (9, 0.9)
    assert (run.stages[1].sampling.max_tokens, run.stages[1].sampling.temperature) == (9, 0.7)
    assert run.stages[1].sampling.top_p == 1.0


def test_settings_reach_the_algorithm(recipe: Path) -> None:
    hone = build(recipe, "stage.hone.settings={average = 'token_mean', baseline = 'leave_one_out', kl = 0}").stages[1]
    assert isinstance(hone.algorithm, GRPO)
    assert (hone.algorithm.average, hone.algorithm.baseline, hone.algorithm.kl) == (token_mean, leave_one_out, 0.0)
    dapo = build(recipe, "stage.hone.algorithm=dapo", "stage.hone.settings.max_rounds=3").stages[1].algorithm
    assert dapo.sampler == Dynamic(4, max_rounds=3)
    banded = build(recipe, "stage.hone.settings={sampler='dynamic', low=0.25, high=0.75}").stages[1].algorithm
    assert banded.sampler == Dynamic(4, low=0.25, high=0.75)
    plain = build(recipe, "stage.hone.algorithm=dapo", "stage.hone.settings.sampler=groups").stages[1].algorithm
    assert plain.sampler == Groups(4)
    two = ["stage.hone.attempts=2", "stage.hone.settings={sampler='budgeted', fewest=2, most=3}"]
    assert build(recipe, *two).stages[1].algorithm.sampler == Budgeted(2, fewest=2, most=3)
    dr = build(recipe, "stage.hone.algorithm=dr_grpo", "sampling.max_tokens=7").stages[1].algorithm
    assert isinstance(dr, GRPO)
    assert dr.average == ConstantLength(7)  # the constant is the run's, not the paper's


SAMPLERS = ["stage.hone.settings={sampler='budgeted', fewest=2}", "stage.hone.order.by=priority"]


@pytest.mark.parametrize("more", [["stage.hone.algorithm=dr_grpo"], SAMPLERS, ["stage.hone.algorithm=dpo"]])
def test_a_resolved_recipe_is_the_same_run(recipe: Path, tmp_path: Path, more: list[str]) -> None:
    overrides = [
        *more,
        "stage.hone.replay={share = 0.5}" if more is SAMPLERS else "stage.hone.steps=31",
        'stage.hone.data={reasoning_gym = "chain_sum", size = 5, config = {min_terms = 2, max_terms = 3}}',
        "stage.hone.sampling.stop=['END', '\"']",
        "model.lora.rank=4",
        "evaluation.sampling.temperature=0.5",
        'prompt.system="two\\nlines"',
    ]
    run = build(recipe, *overrides)
    elsewhere = tmp_path / "runs" / "small"
    elsewhere.mkdir(parents=True)
    (elsewhere / "recipe.toml").write_text(tomli_w.dumps(run.recipe))
    again = load_recipe(elsewhere).run
    assert again.folder == elsewhere
    assert dict(again.recipe) == dict(run.recipe)
    assert digest(again.recipe) == digest(run.recipe)
    assert print_of(dataclasses.replace(again, folder=run.folder)) == print_of(run)
    assert digest(build(recipe, *overrides, "seed=1").recipe) != digest(run.recipe)


def test_origins(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["stage.hone.steps=3", "sampling.max_tokens=5"])
    found = origins(loaded.reading, loaded.run.recipe)
    line = RECIPE.split("\n").index("attempts = 4") + 1
    assert found["stage.hone.attempts"] == {"value": 4, "origin": f"{recipe}:{line}"}
    assert found["stage.hone.steps"] == {"value": 3, "origin": "command line"}
    assert found["stage.hone.sampling.max_tokens"] == {"value": 5, "origin": "command line"}
    assert found["stage.hone.settings.clip_high"] == {"value": 0.2, "origin": "default"}
    assert found["data.train.seed"] == {"value": 0, "origin": "default"}


SAMPLING = {
    "max_tokens": "7",
    "temperature": "0.5",
    "top_p": "0.5",
    "top_k": "3",
    "min_p": "0.1",
    "stop": "['x']",
    "ignore_eos": "true",
}
MADE = 'generate = "tasks.py:{}", size = {}, seed = {}'
GYM = 'reasoning_gym = "{}", size = 4, config = {{{}}}'
ROWS = 'file = "{}", demonstrate = "tasks.py:{}", columns = {{ answer = "{}" }}'
HUB = 'hub = "{}", subset = "{}", split = "{}", revision = "{}"'
SOURCES = {
    "generate": (MADE.format("adding", 4, 5), MADE.format("taking", 4, 5)),
    "size": (MADE.format("adding", 4, 5), MADE.format("adding", 5, 5)),
    "seed": (MADE.format("adding", 4, 5), MADE.format("adding", 4, 6)),
    "reasoning_gym": (GYM.format("chain_sum", ""), GYM.format("basic_arithmetic", "")),
    "config": (GYM.format("chain_sum", ""), GYM.format("chain_sum", "max_terms = 7")),
    "file": (ROWS.format("rows.jsonl", "written", "answer"), ROWS.format("fewer.jsonl", "written", "answer")),
    "demonstrate": (ROWS.format("rows.jsonl", "written", "answer"), ROWS.format("rows.jsonl", "spelled", "answer")),
    "hub": (HUB.format("a/b", "s", "x", "v1"), HUB.format("a/c", "s", "x", "v1")),
    "subset": (HUB.format("a/b", "s", "x", "v1"), HUB.format("a/b", "t", "x", "v1")),
    "split": (HUB.format("a/b", "s", "x", "v1"), HUB.format("a/b", "s", "y", "v1")),
    "revision": (HUB.format("a/b", "s", "x", "v1"), HUB.format("a/b", "s", "x", "v2")),
    "turns": ('file = "talk.jsonl"', 'file = "talk.jsonl", turns = "all"'),
    "columns": (ROWS.format("rows.jsonl", "written", "answer"), ROWS.format("rows.jsonl", "written", "other")),
    "difficulty": (MADE.format("adding", 4, 5), MADE.format("adding", 4, 5) + ", difficulty = [1, 2]"),
}
WEIGHED = SOURCES | {"weight": ('file = "rows.jsonl"', 'file = "rows.jsonl", weight = 2')}
PLACES = {
    "data.train": "data.train",
    "data.test": "data.test",
    "stage.data": "stage.hone.data",
    "stage.mix": "stage.hone.mix",
}
SCORER = ["stage.sft.data={file = 'pairs.jsonl'}", "stage.sft.algorithm=reward_model"]
REVISED = ["stage.hone.algorithm=sft_revised", "stage.hone.constitution=rules.txt"]
LEVELLED = "{{generate = 'tasks.py:adding', size = 9, seed = {}, difficulty = [1, 2]}}"
LEVELS = f"stage.hone.data={{sources=[{LEVELLED.format(7)}, {LEVELLED.format(8)}]}}"
AT_SERVER = "kind = 'server', base_url = 'http://127.0.0.1:1/v1', model = 'm'"
SERVED = ["model.lora={}", f"engine={{{AT_SERVER}}}"]
VLLM = "engine={kind = 'vllm', python = 'tasks.py'}"
AT_CLUSTER = ["model.lora={}", "engine={kind = 'tinker', model = 'm', key_env = 'CLUSTER_KEY'}"]
ENTROPY = "stage.hone.settings={entropy_bonus = 0.01}"
UNTIL = ["stage.hone.until={metric = 'reward', above = 0.9}"]
KEPT = {"best": "true", "at_least": "1", "distinct": "texts", "most": "3", "together": "true"}
CHANGES: dict[str, tuple[list[str], str]] = {
    "name": ([], "name=other"),
    "seed": ([], "seed=1"),
    "relative_to": ([], "relative_to=other"),
    "model.source": ([], "model.source=other/model"),
    "model.dtype": ([], "model.dtype=float32"),
    "model.device": ([], "model.device=cpu"),
    "model.chat_template": ([], "model.chat_template=chat.jinja"),
    "model.lora.rank": (["model.lora={}"], "model.lora.rank=3"),
    "model.lora.alpha": (["model.lora={}"], "model.lora.alpha=3"),
    "model.lora.dropout": (["model.lora={}"], "model.lora.dropout=0.5"),
    "model.lora.targets": (["model.lora={}"], "model.lora.targets=['q_proj']"),
    "model.lora.base": (["model.lora={}"], "model.lora.base=nf4"),
    "prompt.system": ([], "prompt.system=Think."),
    "prompt.template": ([], "prompt.template=What is {prompt}"),
    "prompt.format": ([], "prompt.format=text"),
    "prompt.template_args": ([], "prompt.template_args={enable_thinking = false}"),
    "prompt.budget": (["prompt.template='{prompt} {budget}'", "prompt.budget=[5, 6]"], "prompt.budget=[5, 9]"),
    "reward.score": ([], "reward.score=exact()"),
    "grading.workers": ([], "grading.workers=3"),
    "grading.seconds": ([], "grading.seconds=3"),
    "grading.memory_mb": ([], "grading.memory_mb=300"),
    "grading.tier": ([], "grading.tier=process"),
    "stage.name": ([], "stage.hone.name=other"),
    "stage.algorithm": ([], "stage.hone.algorithm=rloo"),
    "stage.steps": ([], "stage.hone.steps=3"),
    "stage.learning_rate": ([], "stage.hone.learning_rate=1"),
    "stage.tasks_per_step": ([], "stage.hone.tasks_per_step=3"),
    "stage.attempts": ([], "stage.hone.attempts=3"),
    "stage.minibatches": ([], "stage.hone.minibatches=3"),
    "stage.schedule": ([], "stage.hone.schedule=linear"),
    "stage.warmup_steps": ([], "stage.hone.warmup_steps=3"),
    "stage.weight_decay": ([], "stage.hone.weight_decay=3"),
    "stage.betas": ([], "stage.hone.betas=[0.8, 0.9]"),
    "stage.clip_norm": ([], "stage.hone.clip_norm=3"),
    "stage.tokens_per_microbatch": ([], "stage.hone.tokens_per_microbatch=3"),
    "stage.settings": ([], "stage.hone.settings.kl=1"),
    "stage.reward.score": ([], "stage.hone.reward.score=exact()"),
    "evaluation.attempts": ([], "evaluation.attempts=3"),
    "evaluation.every": ([], "evaluation.every=5"),
    "evaluation.every_attempts": (["evaluation.every=5"], "evaluation.every_attempts=1"),
    "evaluation.best": (["evaluation.every=5"], "evaluation.best=mean_score"),
    "evaluation.choice_tasks": ([], "evaluation.choice_tasks=2"),
    "evaluation.tasks": ([], "evaluation.tasks=3"),
    "evaluation.under_base": ([], "evaluation.under_base=true"),
    "evaluation.reward.score": ([], "evaluation.reward.score=exact()"),
    "engine.batch_size": ([], "engine.batch_size=3"),
    "engine.mismatch_limit": ([], "engine.mismatch_limit=3"),
    "stage.order.by": ([], "stage.hone.order.by=priority"),
    "stage.order.explore": (["stage.hone.order.by=priority"], "stage.hone.order.explore=0.5"),
    "stage.order.memory": (["stage.hone.order.by=priority"], "stage.hone.order.memory=0.5"),
    "stage.order.level": (
        [LEVELS, "stage.hone.order.by=curriculum"],
        "stage.hone.order.level=source",
    ),
    "stage.replay.share": (["stage.hone.replay={}"], "stage.hone.replay.share=0.5"),
    "stage.replay.oldest": (["stage.hone.replay={}"], "stage.hone.replay.oldest=3"),
    "stage.replay.uses": (["stage.hone.replay={}"], "stage.hone.replay.uses=3"),
    "stage.replay.priority": (["stage.hone.replay={}"], "stage.hone.replay.priority=newest"),
    "engine.kind": (["model.lora={}"], f"engine={{{AT_SERVER}}}"),
    "engine.python": ([VLLM], "engine.python=envs.py"),
    "engine.options": ([VLLM], "engine.options=['--block-size', '32']"),
    "engine.base_url": (SERVED, "engine.base_url=http://127.0.0.1:2/v1"),
    "engine.model": (SERVED, "engine.model=other"),
    "engine.key_env": (SERVED, "engine.key_env=OTHER_KEY"),
    "engine.seconds": (SERVED, "engine.seconds=3"),
    "engine.adapters": (SERVED, "engine.adapters=shared"),
    "scale.engines": ([], "scale.engines=2"),
    "scale.learners": ([], "scale.learners=2"),
    "scale.staleness": (SERVED, "scale.staleness=1"),
    "env.use": ([], "env.use=envs.py:Once"),
    "env.settings": (["env.use=envs.py:Often"], "env.settings.most=3"),
    "env.others": (["env.use=envs.py:Two"], "env.others=envs.py:moves"),
    "env.seconds": (["env.use=envs.py:Once"], "env.seconds=3"),
    "stage.env.use": ([], "stage.hone.env.use=envs.py:Once"),
    "stage.env.others": (["stage.hone.env.use=envs.py:Two"], "stage.hone.env.others=envs.py:moves"),
    "stage.env.seconds": (["stage.hone.env.use=envs.py:Once"], "stage.hone.env.seconds=3"),
    "stage.env.settings": (["stage.hone.env.use=envs.py:Often"], "stage.hone.env.settings.most=3"),
    "evaluation.env.use": ([], "evaluation.env.use=envs.py:Once"),
    "evaluation.env.others": (["evaluation.env.use=envs.py:Two"], "evaluation.env.others=envs.py:moves"),
    "evaluation.env.seconds": (["evaluation.env.use=envs.py:Once"], "evaluation.env.seconds=3"),
    "evaluation.env.settings": (["evaluation.env.use=envs.py:Often"], "evaluation.env.settings.most=3"),
    "env.turns": (["env.use=envs.py:Once"], "env.turns=3"),
    "env.tokens": (["env.use=envs.py:Once"], "env.tokens=3"),
    "stage.env.turns": (["stage.hone.env.use=envs.py:Once"], "stage.hone.env.turns=3"),
    "stage.env.tokens": (["stage.hone.env.use=envs.py:Once"], "stage.hone.env.tokens=3"),
    "evaluation.env.turns": (["evaluation.env.use=envs.py:Once"], "evaluation.env.turns=3"),
    "evaluation.env.tokens": (["evaluation.env.use=envs.py:Once"], "evaluation.env.tokens=3"),
    "env.threads": (["env.use=envs.py:Once"], "env.threads=3"),
    "stage.env.threads": (["stage.hone.env.use=envs.py:Once"], "stage.hone.env.threads=3"),
    "evaluation.env.threads": (["evaluation.env.use=envs.py:Once"], "evaluation.env.threads=3"),
    "env.processes": (["env.use=envs.py:Once"], "env.processes=true"),
    "stage.env.processes": (["stage.hone.env.use=envs.py:Once"], "stage.hone.env.processes=true"),
    "evaluation.env.processes": (["evaluation.env.use=envs.py:Once"], "evaluation.env.processes=true"),
    "checkpoint.every": ([], "checkpoint.every=3"),
    "checkpoint.keep": ([], "checkpoint.keep=3"),
    "logging.to": ([], "logging.to=['tensorboard']"),
    "logging.project": ([], "logging.project=other"),
    "logging.run_name": ([], "logging.run_name=other"),
    "gold.score": ([], "gold.score=exact()"),
    "stage.start": ([], "stage.hone.start=base"),
    "stage.teacher": (["stage.hone.algorithm=gkd", "stage.hone.teacher=large"], "stage.hone.teacher=larger"),
    "stage.epochs": ([], "stage.hone.epochs=3"),
    "stage.measured": ([], "stage.hone.measured=false"),
    "stage.stop_on_collapse": ([], "stage.hone.stop_on_collapse=false"),
    "stage.reference_every": (["stage.hone.settings.kl=0.1"], "stage.hone.reference_every=2"),
    "seeds.init": ([], "seeds.init=3"),
    "seeds.order": ([], "seeds.order=3"),
    "seeds.sampling": ([], "seeds.sampling=3"),
    "stage.answers": ([], "stage.hone.answers=shuffled"),
    "stage.held_out": (SCORER, "stage.reward_model.held_out=0.5"),
    "stage.critic_start": (
        [*SCORER, "stage.hone.algorithm=ppo", "stage.hone.start=base"],
        "stage.hone.critic_start=reward_model",
    ),
    "stage.critic_learning_rate": (["stage.hone.algorithm=ppo"], "stage.hone.critic_learning_rate=1"),
    "stage.constitution": (REVISED, "stage.hone.constitution=again.txt"),
    "stage.rounds": (REVISED, "stage.hone.rounds=2"),
    "stage.until.metric": (UNTIL, "stage.hone.until.metric=kl_sequence"),
    "stage.until.above": (UNTIL, "stage.hone.until.above=2"),
    "stage.until.below": ([], "stage.hone.until={metric = 'entropy', below = 0.1}"),
    "stage.until.steps": (UNTIL, "stage.hone.until.steps=5"),
    "stage.mix_per_step": (["stage.hone.mix={file = 'rows.jsonl'}"], "stage.hone.mix_per_step=3"),
    "stage.data.rollouts": (["stage.hone.data={rollouts = 'one'}"], "stage.hone.data={rollouts = 'other'}"),
    **{
        f"stage.data.{name}": (["stage.hone.data={rollouts = 'one'}"], f"stage.hone.data.{name}={value}")
        for name, value in KEPT.items()
    },
}
"""How each key can be changed: the overrides before, and the one that changes it."""
CHANGES |= {f"sampling.{name}": ([], f"sampling.{name}={value}") for name, value in SAMPLING.items()}
CHANGES |= {f"stage.sampling.{name}": ([], f"stage.hone.sampling.{name}={value}") for name, value in SAMPLING.items()}
CHANGES |= {
    f"evaluation.sampling.{name}": ([], f"evaluation.sampling.{name}={value}") for name, value in SAMPLING.items()
}
CHANGES |= {
    f"{place}.{name}": ([f"{path}={{{before}}}"], f"{path}={{{after}}}")
    for place, path in PLACES.items()
    for name, (before, after) in SOURCES.items()
}
CHANGES |= {
    f"{place}.sources.{name}": ([f"{path}={{sources=[{{{before}}}]}}"], f"{path}={{sources=[{{{after}}}]}}")
    for place, path in PLACES.items()
    for name, (before, after) in (WEIGHED if place != "data.test" else SOURCES).items()
}
TWO = ", ".join(f"{{{ROWS.format(file, 'written', 'answer')}}}" for file in ("rows.jsonl", "fewer.jsonl"))
CHANGES |= {
    f"{place}.temperature": ([f"{path}={{sources=[{TWO}]}}"], f"{path}={{sources=[{TWO}], temperature=9}}")
    for place, path in PLACES.items()
}
WRITTEN = "demonstrate = 'tasks.py:written'"
CHANGES |= {  # what is mixed in is written answers
    f"stage.mix.{name}": (
        [f"stage.hone.mix={{{before}, {WRITTEN}}}"],
        f"stage.hone.mix={{{after}, {WRITTEN}}}",
    )
    for name, (before, after) in SOURCES.items()
    if "demonstrate" not in before
}
CHANGES |= {
    f"stage.mix.sources.{name}": (
        [f"stage.hone.mix={{sources=[{{{before}, {WRITTEN}}}]}}"],
        f"stage.hone.mix={{sources=[{{{after}, {WRITTEN}}}]}}",
    )
    for name, (before, after) in WEIGHED.items()
    if "demonstrate" not in before
}


@pytest.mark.parametrize("bounds", ["", ", above = 0.5, below = 0.1"])
def test_an_early_end_has_one_bound(recipe: Path, bounds: str) -> None:
    assert "one bound" in refused(recipe, f"stage.hone.until={{metric = 'reward'{bounds}}}")[0]


def leaves(model: type[BaseModel], key: tuple[str, ...] = ()) -> Iterator[str]:
    for name in model.model_fields:
        inner = model_at((*key, name))
        if inner is None:
            yield ".".join((*key, name))
        else:
            yield from leaves(inner, (*key, name))


def hub_rows(*asked: Any) -> Iterator[tuple[int, dict[str, str]]]:
    yield 1, {"prompt": " ".join(asked[:4]), "answer": "1"}


def has_a_meaning(key: str) -> bool:
    """A weight is that of one of the sources that are learned from, held-out tasks are mixed in no proportion, and what
    is said of rounds is gone once they are written out."""
    weighs = key.endswith("sources.weight") and not key.startswith("data.test")
    rounds = key.startswith("repeat.") or key.endswith(".earlier_rounds")
    return key != "data.test.temperature" and not rounds and (weighs or not key.endswith(".weight"))


@pytest.mark.parametrize("key", [key for key in leaves(Recipe) if has_a_meaning(key)])
def test_every_key_is_read(recipe: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.data.sources.hub_rows", hub_rows)
    assert key in CHANGES, f"say in CHANGES how {key} can be changed"
    before, change = CHANGES[key]
    if key in {"stage.data.rollouts", *(f"stage.data.{name}" for name in KEPT)}:
        recipe.write_text(RECIPE.replace(GRPO_STAGE, COLLECTING))
    elif "data." in key:  # the sft stage would refuse data without recorded answers
        recipe.write_text(RECIPE.replace(SFT, ""))
    if key.startswith("sampling."):  # a training stage that samples would refuse to leave out tokens
        recipe.write_text(RECIPE.replace(GRPO_STAGE, ""))
    if key in {f"stage.sampling.{name}" for name in ("top_p", "top_k", "min_p")}:
        assert "probabilities sampled with" in refused(recipe, *before, change)[0]
        return
    one, other = build(recipe, *before), build(recipe, *before, change)
    assert print_of(one) != print_of(other), f"{key} changes nothing"
    assert digest(one.recipe) != digest(other.recipe)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["stage.hone.attempts=1"], "grpo compares the attempts at one task; with 1 every advantage is 0"),
        (["stage.hone.sampling.top_p=0.9"], "stage.hone.sampling.top_p: leaves out tokens"),
        (["sampling.top_k=5"], "command line: stage.hone.sampling.top_k: leaves out tokens"),
        (["stage.hone.sampling.temperature=0"], "at 0 all attempts are the same"),
        (["evaluation.best=pass@1"], "is chosen from what is measured on the way: add every = 10"),
        (["evaluation.choice_tasks=6"], "leaves none of 6 tasks"),
        (["evaluation.sampling.temperature=0"], "at temperature 0 all 2 attempts are the same: set attempts = 1"),
        (["stage.hone.algorithm=own.py:Halve"], 'did you mean "Halved"?'),
        (["stage.hone.algorithm=own.py:Nothing"], "has no sampler and no needs and no credit and no loss: an"),
        (["stage.hone.algorithm=own.py:Broken"], "cannot be made: TypeError"),
        (["stage.hone.algorithm=raises.py:f"], "cannot be imported: ZeroDivisionError: division by zero ("),
        (["env.use=raises.py:f"], "raises.py, line 2)"),
        (["data.train={generate = 'raises.py:f', size = 3}"], "raises.py, line 2)"),
        (["data.train={file = 'rows.jsonl', demonstrate = 'raises.py:f'}"], "raises.py, line 2)"),
        (["data.train={generate = 'lacks.py:f', size = 3}"], "cannot be imported: ModuleNotFoundError: No module"),
        (["stage.hone.algorithm=missing.py:X"], "there is no file"),
        (["env.use=envs.py:Never"], "env.use: "),
        (["env={use = 'none', settings = {most = 3}}"], "is no environment, and takes no settings"),
        (["env.use=envs.py:Once", "env.others=envs.py:moves"], "env.others: "),
        (["env.use=envs.py:Two", "env.others=envs.py:move"], 'did you mean "moves"?'),
        (["env.use=envs.py:Two", "stage.hone.algorithm=remax"], "remax cannot learn from an environment of several"),
        (["env.use=envs.py:Once", "stage.hone.algorithm=treerl"], "treerl branches within answers, not between turns"),
        (["stage.hone.algorithm=treepo"], "branches after 512 tokens of an answer, which has at most"),
        (["stage.hone.algorithm=spo_tree", "stage.hone.settings.segment=128"], "stage.hone.settings.segment: spo_tree"),
        (["stage.hone.algorithm=treepo", "stage.hone.settings.arms=1"], "with arms = 1 nothing branches"),
        (["stage.hone.algorithm=spo_tree", "stage.hone.attempts=1"], "with attempts = 1 nothing branches"),
        (["env.use=envs.py:Once", "env.settings.most=3"], "cannot be called as Once(task, most=…)"),
        ([*REVISED, "stage.hone.env={use = 'envs.py:Once'}"], "the constitution is what answers the model here"),
        (["stage.hone.algorithm=grop"], "no algorithm 'grop'; did you mean 'grpo'?"),
        (["stage.hone.settings.clip_hihg=0.3"], "no such setting of this algorithm; did you mean 'clip_high'?"),
        (["stage.hone.settings.clip_high='0.3'"], 'stage.hone.settings.clip_high: got "0.3" (text), wanted a number'),
        (["stage.hone.settings.kl=-1"], "kl rewards drifting away"),
        (["stage.hone.settings.average=mean"], "wanted one of constant_length, sequence_mean"),
        (["stage.hone.settings.sampler=dynamc"], "wanted one of budgeted, dynamic, groups"),
        (["stage.hone.settings.sampler=3"], "stage.hone.settings.sampler: got 3"),
        (["stage.hone.settings.sampler=dynamic", "stage.hone.attempts=1"], "it needs at least 2 a task, got 1"),
        (["stage.hone.settings.sampler=budgeted", "stage.hone.attempts=2"], "wanted fewest <= attempts <= most"),
        (["stage.hone.settings={sampler='dynamic', low=0.3, high=0.4}"], "no share of 4 attempts lies between"),
        (["stage.hone.settings.low=0.3"], "no such setting of this algorithm"),
        (["stage.sft.settings.sampler=dynamic"], "stage.sft.settings.sampler: this algorithm has a way of its own to"),
        (["stage.hone.algorithm=remax", "stage.hone.settings.sampler=groups"], "a way of its own to sample, or none"),
        (
            ["stage.hone.settings.demonstrations=1", "stage.hone.data={generate = 'tasks.py:adding', size = 3}"],
            "none of 3 tasks has one: add a completion",
        ),
        (["stage.sft.order.by=priority"], "stage.sft.order: sft samples nothing that a reward scores"),
        (["stage.hone.order={}"], "stage.hone.order.by: is needed"),
        (["stage.hone.order={by = 'turn', explore = 0.5}"], "stage.hone.order.explore: means nothing by turn"),
        (["stage.hone.order={by = 'priority', level = 'x'}"], "stage.hone.order.level: means nothing by priority"),
        (["stage.hone.order.by=curriculum"], 'a curriculum reads a level from the column "difficulty"'),
        ([LEVELS, "stage.hone.order={by = 'curriculum', level = 'answer'}"], "stage.hone.order: "),
        (["stage.sft.replay={}"], "stage.sft.replay: sft does not compare the policy with the one that sampled"),
        (["stage.hone.algorithm=vanilla_pg", "stage.hone.replay={}"], "vanilla_pg does not compare the policy"),
        (["stage.hone.replay.share=0.01"], "of 16 tasks a step that is no group"),
        (["stage.hone.replay.share=0.99"], "that is all groups, and none would be new"),
        (["stage.hone.replay.oldest=3", "stage.hone.minibatches=4"], "a step makes 4 updates, so that"),
        (["stage.hone.replay.share=1"], "stage.hone.replay.share: got 1"),
        (["engine.mismatch_limit=0"], "engine.mismatch_limit: got 0"),
        (["data.train={generate = 'tasks.py:taking', size = 9, difficulty = [1]}"], "takes 1 positional argument"),
        (["stage.sft.attempts=2"], "stage.sft.attempts: this algorithm learns from recorded answers"),
        (["stage.sft.sampling.max_tokens=2"], "stage.sft.sampling: sft learns from recorded answers"),
        (["stage.sft.reward.score=exact()"], "scores nothing: remove it"),
        (["stage.sft.data={generate = 'tasks.py:adding', size = 3}"], "3 of 3 tasks have none (the first is train:1)"),
        (["stage.sft.algorithm=dpo"], "dpo learns from answers that were compared, and none of 12 tasks has two"),
        (["stage.sft.algorithm=kto"], "kto learns from answers that were found good or bad: give rows a label"),
        (["stage.hone.start=hone"], "no earlier stage trains a policy of that name: base, sft"),
        (["stage.hone.held_out=0.1"], "grpo is measured by [evaluation] on [data.test]: remove it"),
        (
            ["stage.hone.algorithm=ppo", "stage.hone.critic_start=sft"],
            "no earlier stage of that name trains a reward model: there is none",
        ),
        (["stage.hone.critic_learning_rate=1"], "grpo has no critic of its own here"),
        (["stage.hone.constitution=rules.txt"], "grpo learns no revisions: take sft_revised, or remove it"),
        (["stage.hone.algorithm=sft_revised"], "stage.hone.constitution: is needed with sft_revised"),
        (["stage.hone.algorithm=genrm_cot", "stage.hone.reward.score=exact()"], "judges what it samples by itself"),
        (["stage.sft.data={rollouts = 'hone'}"], "no earlier stage called hone samples: there is none"),
        (["stage.hone.name=sft"], "2 stages are called 'sft'"),
        (["stage.hone.name=base"], "'base' is what the untrained model is called"),
        (["stage.hone.warmup_steps=31"], "the warm-up never ends: the stage has 30 updates"),
        (["stage.hone.minibatches=65"], "a step has 64 samples, which cannot be split in 65"),
        (["data.test.seed=0"], "the same tasks as [data.train]: give it another seed"),
        (["data.test={file = 'nowhere.jsonl'}"], "command line: data.test: "),
        (["data.train.file=rows.jsonl"], "got generate and file, wanted one of generate, reasoning_gym, file, hub"),
        (["data.train={file = 'rows.jsonl', weight = 3}"], "data.train.weight: means nothing with file: remove it"),
        (["data.test={sources = [{file = 'rows.jsonl', weight = 3}]}"], "each held-out task is measured as often"),
        (["data.test={sources = [{file = 'rows.jsonl'}], temperature = 3}"], "each held-out task is measured as often"),
        (["data.train={sources = [{file = 'rows.jsonl', weight = 0}]}"], "data.train.sources.0.weight"),
        (["data.train={sources = [{file = 'rows.jsonl', weight = 2}], temperature = 3}"], "remove one of them"),
        (
            ["data.train={sources = [{file = 'rows.jsonl'}, {file = 'fewer.jsonl'}], temperature = 0.0001}"],
            "a small source is never drawn: take a higher one",
        ),
        (["data.train={file = 'rows.jsonl', temperature = 3}"], "temperature: means nothing with file: remove it"),
        (["data.train={sources = [{file = 'rows.jsonl'}, {}]}"], "got none of them"),
        (["data.train={file = 'rows.jsonl', columns = {promt = 'q'}}"], "did you mean 'prompt'?"),
        (["data.train={hub = 'nowhere'}"], 'a data set of the hub is "owner/name"'),
        (["data.train={}"], "got none of them, wanted one of"),
        (["data.train={generate = 'tasks.py:adding'}"], "data.train.size: is needed with generate"),
        (["data.train={file = 'rows.jsonl', size = 3}"], "data.train.size: means nothing with file: remove it"),
        (["data.train.generate=tasks.py:addin"], 'did you mean "adding"?'),
        (["data.train.demonstrate=tasks.py:writen"], 'data.train.demonstrate: "tasks.py:writen"'),
        (["prompt.template=Hello"], "prompt: a prompt template holds"),
        (["prompt.budget=[5, 9]"], "write {budget} into template or system"),
        (["reward.score=tasks.py:paid"], 'your own function is written python("tasks.py:paid")'),
        (["reward.score=numbr()"], 'there is no reward "numbr"; did you mean "number"?'),
        (["reward.score='1.0'"], "this is a constant"),
        (["reward.score=number() + potential(number())"], "pays single tokens, which this algorithm does not read"),
        (["reward.score=python('tasks.py:pid')"], "did you mean"),
        (["model.source=./nowhere"], "model.source: there is no "),
        (["model.source=nowhere.gguf"], "model.source: there is no "),
    ],
)  # fmt: skip
def test_impossible_combinations_are_refused(recipe: Path, overrides: list[str], expected: str) -> None:
    problems = refused(recipe, *overrides)
    assert len(problems) == 1, problems
    assert expected in problems[0]


def test_a_budget_that_no_prompt_states_cannot_be_paid(recipe: Path) -> None:
    train, test = refused(recipe, "reward.score=length_budget(number(), 0.01)")
    assert "the first is train:1: it has no budget: state one in [prompt]" in train
    assert "the first is test:1" in test


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce_pp", "remax"])
def test_what_pays_single_tokens_goes_with_an_algorithm_that_reads_it(recipe: Path, algorithm: str) -> None:
    settings = (f"stage.hone.algorithm={algorithm}", "stage.hone.attempts=1", "stage.hone.settings={}")
    assert build(recipe, *settings, "reward.score=number() + potential(number())").stages


def without(path: Path, start: str, end: str) -> None:
    text = path.read_text()
    path.write_text(text[: text.index(start)] + text[text.index(end) :])


def test_what_is_missing_is_named(recipe: Path) -> None:
    without(recipe, "[reward]", "[[stage]]")
    problems = refused(recipe)
    assert "evaluation: nothing says what is right" in problems[0]
    assert "stage.hone: grpo learns from a reward" in problems[1]
    without(recipe, "[data.test]", "[[stage]]")
    assert any("evaluation: there are no held-out tasks" in problem for problem in refused(recipe))


def test_several_problems_are_told_at_once(recipe: Path) -> None:
    problems = refused(recipe, "stage.hone.attempts=1", "stage.sft.warmup_steps=99", "model.source=./nowhere")
    assert len(problems) == 3


def test_a_missing_extra_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.recipe.build.find_spec", lambda name: None)
    assert refused(recipe, "model.lora.rank=2") == [f"command line: model.lora: {lacking('an adapter', 'lora')}"]


def test_paths_are_relative_to_the_recipe(recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "other")
    run = build(recipe, "model.source=model", "reward.score=python('tasks.py:paid')")
    assert run.model.source == str(tmp_path / "model")
    assert tomllib.loads(tomli_w.dumps(run.recipe))["model"]["source"] == "model"


def test_tools_have_as_many_workers_as_threads_and_their_clocks_ring_first(recipe: Path) -> None:
    run = build(recipe, "env.use=tools", "env.threads=3", "env.seconds=5", "env.settings.tools=['calculator']")
    run_of_own = build(recipe, "env.use=envs.py:Once", "env.threads=2", "env.seconds=5")
    beside = [each.beside for each in (run.stages[-1], run_of_own.stages[-1])]
    assert [each and (each.threads, each.seconds) for each in beside] == [(3, 5 * 9 + 60), (2, 5)]


def test_an_environment_answers_in_stages_that_sample_and_in_the_evaluation(recipe: Path) -> None:
    run = build(recipe, "env.use=envs.py:Often", "evaluation.env={use = 'envs.py:Once'}")
    assert run.evaluation is not None
    used = [getattr(each.env, "use", "").rpartition(":")[2] for each in (*run.stages, run.evaluation)]
    assert used == ["", "Often", "Once"]
    assert "envs.py" in files_read(run)["hone"]


def test_a_stage_or_the_evaluation_may_go_without_the_recipes_environment(recipe: Path) -> None:
    run = build(recipe, "env.use=envs.py:Often", "stage.hone.env={use = 'none'}", "evaluation.env.use=none")
    assert run.evaluation is not None
    assert run.stages[-1].env is run.evaluation.env is OneTurn


def test_an_algorithm_of_the_users_own(recipe: Path) -> None:
    run = build(recipe, "stage.hone.algorithm=own.py:Halved", "stage.hone.settings={half = 0.25, kl = 0.0}")
    [_, hone] = run.stages
    assert (hone.name, type(hone.algorithm).__name__, hone.algorithm.half) == ("hone", "Halved", 0.25)  # type: ignore[attr-defined]
    assert files_read(run)["hone"].keys() == {"own.py"}
    assert run.recipe["stage"][1]["settings"]["half"] == 0.25
    assert build(recipe, "stage.hone.algorithm=own.py:GENTLE").stages[1].algorithm == GRPO(
        surrogate=PPOClip(clip_low=0.1), sampler=Groups(4)
    )


def test_what_an_engine_cannot_do_is_refused(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(recipe, "stage.hone.algorithm=nash_md", "stage.hone.attempts=1")
    monkeypatch.setitem(LACKS, "native", frozenset({"mixture"}))
    [problem] = refused(recipe, "stage.hone.algorithm=nash_md", "stage.hone.attempts=1")
    assert "nash_md draws from the policy and its reference at once, which the engine native cannot do" in problem


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([f"engine={{{AT_SERVER}}}"], "gets what is learned as adapters: add [model.lora]"),
        (["model.lora={base = 'nf4'}", f"engine={{{AT_SERVER}}}"], 'set base = "full"'),
        (["model.lora={}", "engine.kind=server"], 'base_url is needed with kind = "server"'),
        ([*SERVED, "engine.base_url=127.0.0.1:8000"], "base_url is an address such as"),
        ([*SERVED, "engine.key_env=sk-0123456789"], "never the key"),
        (["engine.base_url=http://127.0.0.1:1/v1"], 'is for kind = "server": remove it'),
        ([*SERVED, "engine.python=tasks.py"], 'is for kind = "vllm": remove it'),
        ([VLLM, "engine.adapters=shared"], 'is for kind = "server": remove it'),
        (["engine.kind=vllm"], 'python is needed with kind = "vllm"'),
        (["engine={kind = 'vllm', python = 'nowhere/python'}"], "nowhere/python"),
        ([VLLM, "engine.options=['--host', '0.0.0.0']"], "--host is decided by Togi"),
        ([VLLM, "model.lora={rank = 513}"], "up to rank 512, got 513"),
        ([VLLM, "model.lora={base = 'nf4'}"], 'set base = "full"'),
        ([VLLM, "stage.hone.algorithm=nash_md", "stage.hone.attempts=1"], "which the engine vllm cannot do"),
        ([*SERVED, "stage.hone.algorithm=nash_md", "stage.hone.attempts=1"], "which the engine server cannot do"),
        ([*SERVED, "scale.engines=2"], "a server that you run is no process of Togi's"),
        (
            ["scale.engines=1", "stage.hone.algorithm=nash_md", "stage.hone.attempts=1"],
            "nash_md draws from the policy and its reference at once, which only an engine in the process that learns",
        ),
        (["engine.seconds=3"], "is for engines in other processes: remove it"),
    ],
)
def test_an_engine_that_a_run_cannot_use_is_refused(recipe: Path, changes: list[str], said: str) -> None:
    assert said in "\n".join(refused(recipe, *changes))


@pytest.mark.parametrize(
    ("algorithm", "settings", "correction"),
    [
        ("grpo", "{}", Truncated()),
        ("rloo", "{}", Truncated(weight_level="sequence")),
        ("grpo", "{correction = 'none'}", Uncorrected()),
        ("grpo", "{correction = 'mask'}", Masked()),
        ("grpo", "{old_policy = 'sampler'}", Uncorrected()),
        ("topr", "{}", Uncorrected()),
        ("decoupled_ppo", "{}", Truncated(weight_most=5.0)),
    ],
)
def test_what_another_program_draws_is_corrected_for(
    recipe: Path, algorithm: str, settings: str, correction: Correction
) -> None:
    asked = [f"stage.hone.algorithm={algorithm}", f"stage.hone.settings={settings}", "stage.hone.attempts=4"]
    for engine in ([VLLM], SERVED):
        learned = build(recipe, *asked, *engine).stages[1].algorithm
        assert isinstance(learned, Regularised)
        assert learned.correction == correction


def test_what_togi_draws_itself_is_not_corrected_for(recipe: Path) -> None:
    learned = build(recipe).stages[1].algorithm
    assert isinstance(learned, Regularised)
    assert learned.correction == Uncorrected()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.lora={base = 'nf4'}"], "divide weights of at least 16 bits"),
        (["stage.hone.algorithm=nash_md", "stage.hone.attempts=1"], "is whole in one process only"),
        (["stage.sft.algorithm=quiet_star"], "is learned by one process"),
    ],
)
def test_what_several_processes_cannot_learn_is_refused(recipe: Path, changes: list[str], said: str) -> None:
    assert said in "\n".join(refused(recipe, "scale.learners=2", *changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.lora={}", "engine.kind=tinker"], 'key_env is needed with kind = "tinker": key_env = "TINKER_API_KEY"'),
        (AT_CLUSTER[1:], "a cluster learns adapters: add [model.lora]"),
        ([*AT_CLUSTER, "model.lora.alpha=64"], "is the cluster's to choose"),
        ([*AT_CLUSTER, "engine.batch_size=64"], "means nothing to a cluster"),
        ([*AT_CLUSTER, "engine.adapters=here"], 'is for kind = "server"'),
        ([*AT_CLUSTER, "engine.key_env=tml-0123456789"], "never the key"),
        ([*AT_CLUSTER, "engine.base_url=http://somewhere"], "a key would travel unencrypted"),
        ([*AT_CLUSTER, "scale.learners=2"], "the cluster has processes of its own"),
        ([*AT_CLUSTER, "evaluation.under_base=true"], "the base model is not in this process"),
        ([*AT_CLUSTER, "evaluation.sampling={min_p = 0.1}"], "a cluster has no min_p"),
        ([*AT_CLUSTER, "gold={score = 'number()'}"], "set against what the base model says"),
        ([*AT_CLUSTER, "reward.score=self_certainty()"], "self_certainty asks the policy itself"),
        ([*AT_CLUSTER, "reward.score=likelihood()"], "likelihood asks the policy itself"),
        ([*AT_CLUSTER, "stage.hone.sampling={temperature = 0.7}"], "at temperature 1, got 0.7"),
        ([*AT_CLUSTER, "stage.hone.tokens_per_microbatch=600"], "the cluster chooses its own"),
        ([*AT_CLUSTER, ENTROPY], "grpo needs entropies (set its entropy settings to 0), which a cluster does not tell"),
        ([*AT_CLUSTER, "stage.hone.algorithm=ppo"], "ppo needs a critic"),
        ([*AT_CLUSTER, "stage.hone.algorithm=prime"], "prime needs a second model that learns"),
        ([*AT_CLUSTER, "stage.hone.algorithm=gkd", "stage.hone.teacher=m"], "gkd needs whole distributions"),
        ([*AT_CLUSTER, "stage.hone.algorithm=nash_md", "stage.hone.attempts=1"], "which the engine tinker cannot do"),
        ([*AT_CLUSTER, *SCORER], "reward_model needs a scalar head"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(recipe: Path, changes: list[str], said: str) -> None:
    assert said in "\n".join(refused(recipe, *changes))


def test_a_recipe_at_a_cluster_builds_as_it_is_kept(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("tinker")
    run = build(recipe, *AT_CLUSTER)
    assert run.engine.cluster == AtCluster(model="m", key_env="CLUSTER_KEY")
    kept = tmp_path / "kept.toml"
    kept.write_text(tomli_w.dumps(run.recipe))
    assert build(kept).recipe == run.recipe


def test_the_quickstart_recipe_builds() -> None:
    run = build(Path(__file__).parent.parent / "recipes" / "quickstart.toml")
    assert [stage.name for stage in run.stages] == ["cold_start", "grpo"]
    assert run.evaluation is not None
    trained, held_out = ({task.prompt for task in tasks} for tasks in (run.stages[1].tasks, run.evaluation.tasks))
    assert not trained & held_out


def test_the_guide_shows_one_run_in_two_ways(tmp_path: Path) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
    toml, python = guide.split("```toml\n")[1].split("```")[0], guide.split("```python\n")[-1]
    (tmp_path / "sums.toml").write_text(toml)
    scope: dict[str, Any] = {}
    exec(python.split("```")[0], scope)
    assert print_of(scope["run"]) == print_of(build(tmp_path / "sums.toml"))
