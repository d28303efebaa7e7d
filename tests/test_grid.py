"""A grid of settings: the arms that it makes, what is refused, and what each value did over all others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_experiment import read
from test_experiment_runs import planned, run
from toy_experiment import write

from togi.evidence.experiment.main_effects import Setting, main_effects
from togi.experiment.design import Arm, Experiment, ExperimentError, Varied, seed_changes
from togi.experiment.grid import combinations, short_names, varied
from togi.experiment.outcome_told import NONE, answer, rows
from togi.experiment.plan_told import show_plan
from togi.experiment.seed_spread import seed_spread
from togi.report.experiment_page import page

GRID = """[grid]
stage.hone.settings.clip_high = [0.2, 0.28]
stage.hone.settings.average = ["sequence_mean", "token_mean"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(folder := tmp_path_factory.mktemp("grid"))
    return folder


def test_every_combination_is_an_arm(place: Path) -> None:
    found = read(place, arms=GRID)
    arms = {arm.name: arm for arm in found.arms}
    assert list(arms) == ["grid-11", "grid-12", "grid-21", "grid-22", "random_reward"]
    assert arms["grid-21"].about == "clip_high 0.28, average sequence_mean"
    assert arms["grid-21"].levels == (1, 0)
    run = arms["grid-21"].run
    assert run is not None
    assert run.stages[1].algorithm.surrogate.clip_high == 0.28  # type: ignore[attr-defined]


def test_a_grid_stands_beside_arms_of_their_own(place: Path) -> None:
    found = read(place, arms=GRID + "[arms.short]\nchanges = ['stage.hone.steps=1']\n")
    assert [arm.name for arm in found.arms][:2] == ["short", "grid-11"]


def test_the_plan_says_what_is_compared(place: Path) -> None:
    console = Console(record=True, width=200)
    show_plan(read(place, arms=GRID), console)
    assert "Each value of clip_high, average is compared with its first, over all others." in console.export_text()


def test_keys_that_end_alike_are_told_whole() -> None:
    grid = varied({"stage": {"one": {"steps": [1, 2]}, "two": {"steps": [1, 2]}}, "seed": [1, 2]})
    assert short_names(grid) == ["stage.one.steps", "stage.two.steps", "seed"]


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (True, "x=true"),
        (1e-6, "x=1e-06"),
        ("token_mean", 'x="token_mean"'),
        ([0.9, 0.95], "x=[0.9, 0.95]"),
        ('say "äh"', 'x="say \\"äh\\""'),
    ],
)
def test_values_are_written_as_a_recipe_has_them(value: object, change: str) -> None:
    *_, last = combinations(varied({"x": ["other", value]}))
    assert last.changes == (change,)


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        ("stage.hone.steps = 3", "grid.stage.hone.steps: wanted a list of values, as in steps = [0.2, 0.28]"),
        ("stage.hone.steps = [3]", "got 1 values, wanted 2 to 9"),
        ("stage.hone.steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "got 10 values, wanted 2 to 9"),
        ("stage.hone.steps = [3, 3]", "a value stands there twice"),
        ("stage.hone.settings = [{ kl = 0.1 }, { kl = 0.2 }]", "wanted a list of values"),
        ("stage.hone.stepz = [3, 4]", "arm grid-1: command line: stage.hone.stepz: unknown"),
        ("stage.hone.steps = [3, 'many']", "arm grid-2: command line: stage.hone.steps: got"),
        ("evaluation.attempts = [2, 4]", "different ways (evaluation.attempts"),
        ("name = ['a', 'b']", "differ in nothing"),
        ("seed = [1, 2]", "differ in nothing"),
        ("seed = [2020-01-01, 2020-01-02]", "wanted keys of the recipe with lists of plain values"),
        ("seed = [1, nan]", "wanted keys of the recipe with lists of plain values"),
        ("seed = [1, 2, 3, 4, 5, 6, 7]\nstage.hone.steps = [1, 2, 3, 4, 5]\nstage.first.steps = [2, 3, 4]",
         "105 combinations, and at most 100 arms are run"),
    ],
)  # fmt: skip
def test_what_makes_no_grid_is_refused(grid: str, why: str, place: Path) -> None:
    with pytest.raises(ExperimentError, match=re.escape(why)):
        read(place, arms=f"[grid]\n{grid}\n")


SETTINGS = [
    Setting(name="a", arms={"off": ["11", "12"], "on": ["21", "22"]}),
    Setting(name="b", arms={"off": ["11", "21"], "on": ["12", "22"]}),
]


def scores(seed: int = 0, effect: float = 0.1) -> dict[str, np.ndarray]:
    """Four arms on thirty tasks; what "a" does is the same beside both values of "b", whose own effect is none."""
    rng = np.random.default_rng(seed)
    task = rng.uniform(0.3, 0.6, 30)
    return {name: task + effect * (name[0] == "2") + rng.normal(0, 0.02, (3, 30)) for name in ("11", "12", "21", "22")}


def test_an_effect_is_the_difference_over_all_other_settings() -> None:
    found = {one.compared.arm: one.compared for one in main_effects(scores(), SETTINGS, margin=0.03)}
    assert list(found) == ["a on", "b on"]
    assert (found["a on"].claim, found["a on"].against) == ("better", "a off")
    assert found["a on"].found.point == pytest.approx(0.1, abs=0.01)
    assert found["b on"].claim == "equivalent"


def test_effects_are_held_to_the_level_of_one() -> None:
    tables = scores(effect=0.0)
    alone = main_effects(tables, SETTINGS[:1], margin=0.03)[0].compared.p
    together = main_effects(tables, SETTINGS, margin=0.03)
    assert together[0].compared.p >= alone
    assert max(one.compared.p for one in together) <= 1


def test_better_is_seldom_false_of_a_setting() -> None:
    made = [main_effects(scores(seed, 0.0), SETTINGS, margin=1e-9) for seed in range(200)]
    false = np.mean([any(one.compared.claim in ("better", "worse") for one in each) for each in made])
    assert false <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_a_failed_cell_bounds_what_is_claimed() -> None:
    tables = scores()
    tables["22"][1] = np.nan
    one = main_effects(tables, SETTINGS, margin=0.03)[0]
    assert (one.compared.claim, one.compared.missing, one.compared.failed_seeds) == ("not decided", 30, 1)
    assert "had they been the worst or the best" in " ".join(one.sentences)


def by_levels(arm: str, seed: int) -> dict[str, list[float]]:
    rng = np.random.default_rng([seed, int(arm[-2:])])
    task = np.random.default_rng(0).uniform(0.3, 0.6, 20)
    return {"return": (task + 0.1 * (arm[-2] == "2") + rng.normal(0, 0.01, 20)).tolist()}


def gridded() -> Experiment:
    grid = (Varied(key="depth", values=(1, 2)), Varied(key="width", values=("narrow", "wide")))
    arms = tuple(Arm(name=each.name, about=each.about, levels=each.levels) for each in combinations(grid))
    return replace(planned(function=by_levels), grid=grid, arms=arms, against="grid-11")


def test_the_answer_is_about_what_the_grid_varies(tmp_path: Path) -> None:
    outcome = run(tmp_path, gridded())
    first, second = answer(outcome)
    assert first.startswith("depth 2: go. depth 2 is better than depth 1: +0.1")
    assert second.startswith("width wide: stop. width wide is equivalent to width narrow")
    assert [name for name, _ in rows(outcome)] == ["grid-11", "grid-12", "grid-21", "grid-22"]
    assert {cells[-1] for _, cells in rows(outcome)} == {NONE}
    shown = page(outcome)
    assert "less that of a setting&#39;s first value" in shown
    assert "depth 2: go" in shown
    assert "grid-22: go" not in shown


def test_the_spread_of_seeds_is_told_of_arms(tmp_path: Path) -> None:
    def lucky(arm: str, seed: int) -> dict[str, Any]:
        return {"return": [0.5 + 0.1 * seed, 0.7 + 0.1 * seed]}

    told = seed_spread(outcome := run(tmp_path, planned(function=lucky)))
    assert told["greedy"] == (
        "Its 3 seeds reached 0.600 to 0.800, a standard deviation of 0.100 (95% interval 0.052 to 0.628)."
    )
    assert told["greedy"].replace("&", "") in page(outcome)


def test_arms_can_vary_in_different_things(place: Path) -> None:
    found = read(place, arms="[arms.all]\n[arms.order]\nvary = ['order']\n")
    assert [found.vary_of(arm) for arm in ("all", "order")] == [("init", "order", "sampling"), ("order",)]
    assert seed_changes(5, found.vary_of("order")) == ["seeds.order=5"]
    assert found.plan["arms"]["order"]["vary"] == ["order"]
    with pytest.raises(ExperimentError, match="nothing in this recipe is made new"):
        read(place, arms="[arms.all]\n[arms.init]\nvary = ['init']\n")
