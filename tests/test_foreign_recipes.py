"""Recipes by people who mean harm, are mistaken, or come from another trainer: refused in one line, fast, in vain."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from togi.cli import run_command
from togi.credentials import secret_in, without_secrets
from togi.harmless_text import ACTIVE
from togi.recipe.errors import fields_at
from togi.recipe.key_lines import LONGEST, lines_of
from togi.recipe.other_trainers import ELSEWHERE
from togi.recipe.read_toml import read_text
from togi.rewards import parse_reward

SMALL = """\
name = "small"
[model]
source = "smollm2-135m"
[data.train]
reasoning_gym = "chain_sum"
size = 12
[reward]
score = "number()"
[[stage]]
algorithm = "grpo"
steps = 3
learning_rate = 1e-6
settings = {}
"""
HALF = LONGEST // 2 - 100


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(ValueError) as error:
        read_text(text, name="r.toml", base=Path(), overrides=overrides)
    told = str(error.value)
    assert len(told) < 10_000, "an error is read by people"
    return told


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("steps = 3", f"steps = {10**400}", "r.toml:11: a number of 401 digits"),
        ("steps = 3", f"steps = {2**63}", "r.toml:11: stage.grpo.steps: this number is too large"),
        ("steps = 3", "steps = 0x" + "f" * 5000, "r.toml:11: stage.grpo.steps: this number is too large"),
        ("settings = {}", f"settings = {{clip_high = {-(2**64)}}}", "stage.grpo.settings.clip_high: this number is"),
        ("steps = 3", "steps = 1_" + "0_" * 200 + "0", "r.toml:11: a number of"),
        ("steps = 3", "steps = -3", "got -3, wanted a number of at least 1"),
        ("steps = 3", "steps = 3\nattempts = 1000000000", "wanted a number of at most 10,000"),
        ("steps = 3", "steps = 3\ntasks_per_step = 1000000000", "wanted a number of at most 100,000"),
        ("size = 12", "size = 1000000000000", "wanted a number of at most 10,000,000"),
        ("learning_rate = 1e-6", "learning_rate = 1e400", "got inf, wanted a finite number"),
        ("learning_rate = 1e-6", "learning_rate = -inf", "got -inf, wanted a finite number"),
        ("settings = {}", "settings = {kl = nan}", "r.toml:13: stage.grpo.settings.kl: got nan"),
        ("settings = {}", "settings = " + "{a = " * 25 + "1" + "}" * 25, "r.toml:13: nested too deeply"),
        ("settings = {}", "settings = " + "{a=" * 30_000 + "1" + "}" * 30_000, "r.toml:13: nested too deeply"),
        ("settings = {}", "settings.x = " + "[" * HALF + "]" * HALF, "r.toml:13: nested too deeply"),
        ("settings = {}", "settings" + ".a" * HALF + " = 1", "r.toml:13: nested too deeply"),
        ("[model]", "[" + "a." * HALF + "a]", "r.toml:2: nested too deeply"),
        ("settings = {}", 'settings.x = """' + "x" * LONGEST, "a recipe is short"),
        ("settings = {}", 'settings.x = """' + '\\"""' * 9000, "not valid TOML: Unterminated string"),
        ("settings = {}", "sampling.stop = [" + "'a'," * 30_000 + "]", "wanted a list of at most 1,000"),
        ("settings = {}", "sampling.stop = [" + "1," * 900 + "]", "… and 880 more"),
        ("settings = {}", f'sampling.stop = ["{"x" * 5000}"]', "more characters not shown"),
        ("settings = {}", "".join(f"k{n} = 1\n" for n in range(9000)), "… and 8980 more"),
        ("settings = {}", f"{'k' * 5000} = 1", "unknown key"),
        ('"small"', '"sm\\u0000all"', "r.toml:1: name: got"),
        ('"number()"', f'"number() * {"9" * 300}"', "r.toml:8: reward.score"),
    ],
    ids=range(26),
)  # fmt: skip
def test_absurd_values_are_refused(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert SMALL.count(old) == 1
    if "reward" in expected:
        with pytest.raises(ValueError, match="at most 1e\\+15"):
            parse_reward(tomllib.loads(SMALL.replace(old, new))["reward"]["score"], tmp_path)
    else:
        assert expected in refused(SMALL.replace(old, new))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stage.grpo.steps=1" + "0" * 5000, "command line: stage.grpo.steps: a number of 5,001 digits"),
        ("stage.grpo.steps=" + "[" * 5000, "command line: stage.grpo.steps: nested too deeply"),
        ("a." * 5000 + "b=1", "a key of 5001 parts"),
        ("stage." + "9" * 5000 + "=1", "command line: stage."),
        ("model.source='\ud800'", "half of a surrogate pair"),
        ("=1", "is no override"),
    ],
)
def test_absurd_overrides_are_refused(override: str, expected: str) -> None:
    assert expected in refused(SMALL, override)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a = """x"""""\nb = 1', {"a": 1, "b": 2}),
        ("a = '''x'''''\nb = 1", {"a": 1, "b": 2}),
        ('a = "#]" # ["\nb = [1, #,]\n 2]\nc = 3', {"a": 1, "b": 2, "b.0": 2, "b.1": 2, "c": 4}),
        ('a."b#" = {d = "}"}\ne = 1', {"a": 1, "a.b#": 1, "a.b#.d": 1, "e": 2}),
        ('a = """\\\n  x\\"""y"""\n[b]\nc = """"q" ""\\""""\nd = 2', {"a": 1, "b": 3, "b.c": 4, "b.d": 5}),
        ("a = 1.5e3\n[[b]]\n[[b]]\n  [b.c]\n  d = '\\'", {"a": 1, "b.0": 2, "b.1": 3, "b.1.c": 4, "b.1.c.d": 5}),
    ],
    ids=range(6),
)
def test_every_key_has_the_line_it_stands_on(text: str, expected: dict[str, int]) -> None:
    assert {".".join(map(str, key)): line for key, line in lines_of(text).items()} == expected


SECRETS = [
    'judge(model="m", base_url="https://h/v1", key_env="sk-proj-Aa1Bb2Cc3Dd4Ee5F", most_tokens=9)',
    'judge(model="m", base_url="https://h/v1", key_env="hunter2!", most_tokens=9)',
    'judge(model="m", base_url="https://h/v1", key_env="0123456789abcdef0123456789abcdef", most_tokens=9)',
    'judge(model="m", base_url="https://user:hunter2@h/v1")',
    'judge(model="m", base_url="https://hunter2@h/v1")',
    'judge(model="m", base_url="https://h/v1?key=hunter2")',
    'judge(model="m", base_url="https://h/v1?v=1&api-key=hunter2")',
    'judge(model="m", base_url="https://h/v1#token=hunter2")',
    'judge(model="m", api_key="hunter2")',
    "hf_Abcdefghij0123456789",
    "ghp_Abcdefghij0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "Authorization: Bearer abcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln",
]
MARKS = ("hunter2", "Aa1Bb2", "0123456789", "EXAMPLE", "abcdefghij", "eyJ")


@pytest.mark.parametrize(
    "key", ["reward.score", "model.source", "prompt.system", "data.train.config.x", "stage.grpo.name"]
)
@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_secrets_are_refused_and_not_repeated(
    secret: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(SMALL)
    before = {path.name for path in tmp_path.iterdir()}
    for override in (f"{key}='{secret}'", f"{key}.x='{secret}'", f"{secret}"):
        assert run_command(["--debug", "train", "r.toml", override, "--dry-run"]) == 2
    told = capsys.readouterr()
    assert not [mark for mark in MARKS if mark in told.err + told.out]
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_expression_with_a_secret_does_not_repeat_it(tmp_path: Path) -> None:
    for secret in SECRETS[:9]:
        with pytest.raises(ValueError) as error:
            parse_reward(secret, tmp_path)
        assert not [mark for mark in MARKS if mark in str(error.value)]


@pytest.mark.parametrize(
    "text",
    [
        'judge(model="m", base_url="https://h/v1", key_env="JUDGE_KEY", most_tokens=9)',
        "https://h/a?page=3#top", "key_env=''",
        "sk-learn-is-a-library-for-python", "smollm2-135m", "Qwen/Qwen2.5-0.5B-Instruct", "write to me@host.org",
        'What is the secret: "sesame"?', "a token=3 and a key=4", "hf_transfer", "file.py:function",
    ],
)  # fmt: skip
def test_ordinary_text_is_no_secret(text: str) -> None:
    assert secret_in(text) is None
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{}.toml"],
        ["train", "r.toml", "stage.{}=1"],
        ["train", "r.toml", "stage.grpo.algorithm={}"],
        ["train", "r.toml", "model.source=./{}"],
        ["train", "r.toml", "data.train={{reasoning_gym='{}', size=3}}"],
        ["train", "r.toml", "data.train={{file='{}.jsonl'}}"],
        ["train", "r.toml", 'reward.score="{}()"'],
        ["train", "r.toml", 'reward.score="""python(\'{}.py:f\')"""'],
        ["train", "r.toml", "--{}"],
        ["{}"],
        ["eval", "{}"],
        ["report", "{}"],
        ["redteam", "{}()"],
        ["train", "r.toml", "stage.grpo.settings={{'{}'=1}}"],
    ],
)
def test_errors_are_harmless_to_a_terminal(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(SMALL)
    attack = "a\x1b[2J\x1b]0;t\x07\u202eb\x9b31m\u200b\x7fc"
    assert run_command(["--debug", *(argument.format(attack) for argument in arguments)]) == 2
    told = capsys.readouterr()
    assert told.err
    assert not ACTIVE.findall(told.err + told.out)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("num_generations = 8", "attempts in [[stage]]: the same number"),
        ("gradient_accumulation_steps = 4", "tasks_per_step = per_device_train_batch_size * gradient"),
        ("per_device_train_batch_size = 4", "* devices / attempts"),
        ("lr = 1e-6", "learning_rate in [[stage]]"),
        ("lr_scheduler_type = 'cosine'", "schedule in [[stage]]"),
        ("warmup_ratio = 0.1", "warmup_steps = warmup_ratio * steps * minibatches * epochs"),
        ("num_train_epochs = 3", "steps = epochs * tasks / tasks_per_step"),
        ("max_completion_length = 256", "max_tokens in [sampling]"),
        ("beta = 0.04", "kl in [stage.settings]: the same number; preference algorithms such as dpo call it"),
        ("settings.epsilon_high = 0.28", "clip_high in [stage.settings]"),
        ("settings.kl_coef = 0.1", "kl in [stage.settings]"),
        ("settings.loss_type = 'dapo'", "algorithm in [[stage]]"),
        ("report_to = 'wandb'", "here it is to in [logging]: a list of"),
        ("reward_funcs = 'f'", "python(\"file.py:function\")"),
        ("bf16 = true", "dtype in [model]"),
        ("[actor_rollout_ref.rollout]\nn = 8", "actor_rollout_ref.rollout.n: unknown key; here it is attempts"),
        ("[actor_rollout_ref.actor.optim]\nlr = 1e-6", "actor.optim.lr: unknown key; here it is learning_rate"),
        ("[algorithm.kl_ctrl]\nkl_coef = 0.1", "algorithm.kl_ctrl.kl_coef: unknown key; here it is kl"),
    ],
)  # fmt: skip
def test_names_of_other_trainers_are_answered_with_ours(line: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(SMALL.replace("settings = {}", line))
    from togi.recipe import load_recipe

    with pytest.raises(ValueError) as error:
        load_recipe(path)
    assert expected in str(error.value)


def test_every_answer_names_a_key_that_there_is() -> None:
    from togi.algorithms import ALGORITHMS, PARTS
    from togi.recipe.algorithm_settings import settings_of

    places = {"[[stage]]": ("stage", 0), "at the top": (), "the top, and in [data.train]": ()}
    settings = {name for algorithm in ALGORITHMS.values() for name in vars(algorithm)}
    settings |= {name for named in PARTS.values() for part in named.values() for name in vars(part)}
    settings |= {name for algorithm in ALGORITHMS.values() for name in settings_of(algorithm)}
    for name, there in ELSEWHERE.items():
        keys, place = [*there.ours.replace(" and clip_high", "").split(" in "), ""][:2]
        if there.is_setting:
            assert keys in settings, name
        elif place:
            table = places.get(place) or tuple(place.strip("[]").split("."))
            assert keys in fields_at(table), name


def test_options_of_other_trainers_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--num_generations", "--num-generations=8", "--actor_rollout_ref.rollout.n=8"):
        assert run_command(["train", str(tmp_path), option]) == 2
        assert "here it is attempts in [[stage]]" in capsys.readouterr().err


def test_text_that_acts_is_escaped_in_a_dry_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    (tmp_path / "tasks.py").write_text('def made(rng):\n    return {"prompt": str(rng.random()), "answer": "1"}\n')
    text = SMALL.replace('reasoning_gym = "chain_sum"', 'generate = "tasks.py:made"')
    path.write_text(text.replace("[reward]", '[prompt]\nsystem = "\\u009b\\u202e\\u200b\\U000e0041\\nx"\n[reward]'))
    assert run_command(["train", str(path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert not ACTIVE.findall(printed)
    assert tomllib.loads(printed)["prompt"]["system"] == "\x9b\u202e\u200b\U000e0041\nx"
