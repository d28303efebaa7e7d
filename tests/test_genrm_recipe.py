"""recipes/genrm.toml from end to end on a random model: attempts, a verifier, a hardened one, and the table of both."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from test_preference_recipes import small_model

from togi.askers.asker import AskerWarning
from togi.evidence.after.verifier_rates import read_verification
from togi.evidence.read_run import read_run
from togi.recipe import RecipeError, load_recipe
from togi.report import render
from togi.run import Run, Silent
from togi.train import train

RECIPE = Path(__file__).parent.parent / "recipes" / "genrm.toml"


def build(*overrides: str) -> Run:
    return load_recipe(RECIPE, ["data.train.size=24", *overrides]).run


def test_a_verifier_is_no_policy() -> None:
    run = build()
    assert [stage.algorithm.trains for stage in run.stages] == ["policy", "nothing", "verifier", "verifier"]
    assert [stage.start for stage in run.stages] == [None, None, None, "verifier"]
    with pytest.raises(RecipeError, match="samples nothing: remove it"):
        build("stage.verifier.attempts=2")


def test_chains_of_thought_are_sampled() -> None:
    run = build(
        "stage.verifier.algorithm=genrm_cot", "stage.verifier.attempts=2", "stage.verifier.sampling.max_tokens=9"
    )
    assert run.stages[2].algorithm.sampler.n == 2  # type: ignore[attr-defined]
    assert run.stages[2].sampling.max_tokens == 9


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_recipe_runs_from_end_to_end(tmp_path: Path) -> None:
    overrides = [f"model.source={small_model(tmp_path / 'model')}", "model.dtype=float32", "sampling.max_tokens=8"]
    overrides += [f"stage.{number}.{key}" for number in range(4) for key in ("steps=2", "tasks_per_step=6")]
    overrides += ["stage.verifier.warmup_steps=0", "stage.attempts.attempts=2", "reward.score=concise(16)"]
    overrides += ["stage.verifier.algorithm=genrm_cot", "stage.verifier.attempts=2"]
    overrides += [f"stage.{name}.held_out=0.3" for name in ("verifier", "hardened")]
    run = replace(build(*overrides), folder=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AskerWarning)  # a random model was never going to answer "Yes" or "No"
        train(run, Silent())
    found = [read_verification(run.folder / "verification" / f"{name}.json") for name in ("verifier", "hardened")]
    assert [record["reason"] for record in found] == [True, False]
    assert [record["step"] for record in found] == [6, 8]
    asked = [[task["task"] for task in record["tasks"]] for record in found]
    assert asked[0] == asked[1] != []
    assert [sum(key["listed"] for key in record["keys"]) for record in found] == [4, 4]
    page = render(read_run(run.folder))
    assert "Does the verifier tell right from wrong?" in page
