"""What cannot be sampled ahead is refused where the recipe is read, with the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_recipe_build import ENVS, GRPO_STAGE, OWN, SFT, TASKS, build, refused

from togi.algorithms.policy_gradient.base import Regularised
from togi.algorithms.policy_gradient.corrections import Correction, Truncated, Uncorrected

BASE = """
name = "small"
[model]
source = "smollm2-135m"
lora = {}
[engine]
kind = "server"
base_url = "http://127.0.0.1:1/v1"
model = "m"
[scale]
staleness = 1
[data.train]
generate = "tasks.py:taking"
size = 8
[reward]
score = "number()"
"""
HERE = BASE.replace('kind = "server"\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "m"\n', "")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "envs.py").write_text(ENVS)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "r.toml"


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        (HERE + GRPO_STAGE, "seed=1", "nothing can be sampled while the same process learns: set engines = 1"),
        (BASE + SFT, "seed=1", "no stage learns from what it samples"),
        (
            BASE + GRPO_STAGE,
            "stage.hone.settings={sampler = 'budgeted'}",
            'another sampler in settings, such as "groups"',
        ),
        (BASE + GRPO_STAGE, "stage.hone.algorithm=gkd", "gkd has a step's groups made together"),
        (BASE + GRPO_STAGE, "stage.hone.replay={}", "both it and staleness learn from groups of older weights"),
        (BASE + GRPO_STAGE, "env={use = 'envs.py:Often'}", "env.threads: environments answer beside"),
        (BASE + GRPO_STAGE, "stage.hone.env={use = 'envs.py:Often'}", "stage.hone.env.threads: environments answer"),
    ],
)
def test_it_is_refused(place: Path, text: str, change: str, said: str) -> None:
    place.write_text(text)
    assert said in "\n".join(refused(place, change))


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "stage.hone.settings={sampler = 'dynamic'}",
        "stage.hone.algorithm=rloo",
        "stage.hone.algorithm=online_dpo",
        "stage.hone.algorithm=remax",
        "stage.hone.order={by = 'learnability'}",
        "env={use = 'none'}",
        "env={use = 'envs.py:Often', threads = 2}",
    ],
)
def test_it_is_not(place: Path, change: str) -> None:
    place.write_text(BASE + SFT + GRPO_STAGE)
    assert build(place, change).scale.staleness == 1


@pytest.mark.parametrize(
    ("settings", "correction"),
    [("", Truncated()), ("correction = 'none'", Uncorrected()), ("old_policy = 'sampler'", Uncorrected())],
)
def test_older_weights_are_corrected_for_unless_the_recipe_says_otherwise(
    place: Path, settings: str, correction: Correction
) -> None:
    place.write_text(BASE + GRPO_STAGE)
    algorithm = build(place, f"stage.hone.settings={{{settings}}}").stages[0].algorithm
    assert isinstance(algorithm, Regularised)
    assert algorithm.correction == correction
