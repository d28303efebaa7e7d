"""Experiments before they run: what a file may say, which arms it makes, what is equal and run once, what is
refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_experiment import EXPERIMENT, RECIPE, write

from togi.cli import run_command
from togi.experiment import forecast
from togi.experiment.design import Experiment, ExperimentError, seeded
from togi.experiment.jobs import jobs_of, shared_cells
from togi.experiment.read_experiment import read_experiment
from togi.experiment.reward_terms import form_terms, part_names, without
from togi.recipe import load_recipe
from togi.rewards import chance
from togi.run import seed_of
from togi.types import Task, Trajectory, Turn


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(folder := tmp_path_factory.mktemp("experiment"))
    return folder


def read(place: Path, *lines: str, arms: str = "[arms.hone]\n", recipe: str = RECIPE) -> Experiment:
    """The experiment with other lines: a key that is given again replaces the first."""
    head, _, _ = EXPERIMENT.partition("[arms")
    keys = [line.partition("=")[0].strip() for line in lines]
    kept = [line for line in head.splitlines() if line.partition("=")[0].strip() not in keys]
    tables = [line for line in lines if line.startswith("[")]
    own = [line for line in lines if not line.startswith("[")]
    (place / "toy.toml").write_text(recipe)
    (place / "own.toml").write_text("\n".join([*kept, *own, *tables, arms]))
    return read_experiment(place / "own.toml")


NUMBERS = RECIPE.replace("'python(\"words.py:letters\")'", '"gate(number(), by=form())"')
REFUSED = [
    (["seeds = 1"], {}, "one seed says nothing of how far runs differ"),
    (["seeds = [3, 3]"], {}, "a seed is named twice"),
    (['measure = "pass@4"'], {}, "needs 4 attempts at each held-out task, and evaluation.attempts is 2"),
    (['measure = "accuracy"'], {}, 'wanted "pass@1"'),
    (['measure = "pass@1"', "smallest_effect = 3"], {}, "0.03 is three points"),
    (["smallest_effect = 0.0"], {}, "wanted a number above 0"),
    (["seeds = []"], {}, "seeds: wanted how many (seeds = 3) or which"),
    (["seeds = -1"], {}, "seeds: wanted how many (seeds = 3) or which"),
    ([], {"arms": "[[arms]]\nname = 'a'\n"}, "written [arms.NAME]"),
    ([], {"arms": "[arms.'../x']\n"}, "wanted a name of letters"),
    (['against = "nobody"'], {}, "is no arm: there is base, hone, random_reward"),
    (['vary = ["init"]'], {}, "nothing in this recipe is made new"),
    (['vary = ["weather"]'], {}, 'wanted "init", "order" or "sampling"'),
    (['controls = ["placebo"]'], {}, '"random_reward"'),
    (['controls = ["format_only"]'], {}, "format_only cannot apply: 'python"),
    (['controls = ["majority"]'], {}, "cannot compare two of them"),
    (['controls = ["better_prompt"]'], {}, "it needs the prompt"),
    (['better_prompt = "Think."'], {}, 'add "better_prompt" to controls'),
    (["controls = []", "question = 3"], {}, "question: got 3, wanted text"),
    (["sedes = 3"], {}, "sedes: unknown key; did you mean 'seeds'?"),
    (['ablate = ["stage.hon"]'], {}, "no stage is called 'hon'; did you mean 'hone'?"),
    (['ablate = ["reward.length"]'], {}, "no reward has that part"),
    (['ablate = ["reward.python"]'], {}, "nothing would be left"),
    (['ablate = ["stage.hone.epochs"]'], {}, "the recipe does not set it"),
    (["budget = { money = 3.0 }"], {}, "needs prices: add"),
    (["budget = { hour = 3.0 }"], {}, "budget.hour: unknown key; did you mean 'hours'?"),
    (["prices = { hours = 3.0 }"], {}, "prices.hours: unknown key; did you mean 'hour'?"),
    (["prices = { hour = inf }"], {}, "prices.hour: got inf, wanted a finite number"),
    (["prices = { kilowatt_hour = -0.3 }"], {}, "wanted a number above 0"),
    (["budget = { money = 3.0 }", 'prices = { currency = "EUR" }'], {}, "needs prices: add"),
    ([], {"arms": "[arms.a]\n[arms.b]\n"}, "the arms a and b differ in nothing"),
    ([], {"arms": "[arms.a]\n[arms.b]\nchanges = ['name=other']\n"}, "differ in nothing"),
    (
        ['controls = ["sft_same_tokens"]'],
        {"arms": "[arms.a]\nchanges = ['stage.hone.name=other']\n"},
        "in hone, where it is paid, and no arm has that",
    ),
    ([], {"arms": "[arms.random_reward]\n"}, "that is the name of a control"),
    ([], {"arms": "[arms.base]\n"}, 'no arm is called "base"'),
    ([], {"arms": "[arms.a]\nchanges = ['data.test.seed=5']\n[arms.b]\n"}, "measured on different tasks"),
    ([], {"arms": "[arms.a]\n[arms.b]\nchanges = ['evaluation.attempts=4']\n"}, "different ways (evaluation.attempts"),
    ([], {"arms": "[arms.a]\n[arms.b]\nchanges = ['evaluation.reward.score=exact()']\n"}, "evaluation.reward.score"),
    ([], {"arms": "[arms.a]\n[arms.b]\nchanges = ['sampling.max_tokens=3']\n"}, "(evaluation.sampling.max_tokens"),
    ([], {"arms": "[arms.a]\nchanges = ['stage.hone.stepz=5']\n"}, "arm a: command line: stage.hone.stepz: unknown"),
    ([], {"arms": "[arms.a]\nchange = ['x=5']\n"}, "unknown key; did you mean 'changes'?"),
    ([], {"arms": "[arms.a]\nrecipe = 'nowhere.toml'\n"}, "no such recipe"),
    (['others = { words = "nowhere.toml" }'], {}, "no such recipe"),
    (['others = { "../words" = "toy.toml" }'], {}, "wanted a name of letters"),
    ([], {"recipe": RECIPE.partition("[evaluation]")[0]}, "is not measured: add [data.test] and [evaluation]"),
    (
        ['controls = ["random_reward"]'],
        {"recipe": RECIPE.partition("[[stage]]\nname = \"hone\"")[0] + "[evaluation]\nattempts = 2\n"},
        "no stage of the recipe learns from a reward",
    ),
    (
        ['controls = ["shuffled_answers"]'],
        {"recipe": NUMBERS.replace("gate(number(), by=form())", "self_certainty()")},
        "never reads a task's answer",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "changed", "why"), REFUSED)
def test_what_would_show_nothing_is_refused(
    place: Path, lines: Sequence[str], changed: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError) as error:
        read(place, *lines, **changed)
    assert why in str(error.value)


def test_mistakes_are_told_before_torch(place: Path) -> None:
    (place / "bad.toml").write_text(EXPERIMENT.replace("seeds = 2", "seeds = 1"))
    code = (
        "import sys\nfrom togi.cli import run_command\n"
        f"assert run_command(['experiment', {str(place / 'bad.toml')!r}]) == 2\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_controls_change_what_is_paid_and_nothing_else(place: Path) -> None:
    names = ["random_reward", "format_only", "shuffled_answers", "sft_same_tokens", "best_of_n", "majority"]
    made = read(place, f"controls = {names}", 'measure = "pass@1"', recipe=NUMBERS)
    arms = {arm.name: arm for arm in made.arms}
    runs = {name: arm.run for name, arm in arms.items() if arm.run}
    assert runs["random_reward"].recipe["stage"][1]["reward"] == {"score": "chance(0.5)"}
    assert runs["format_only"].recipe["stage"][1]["reward"] == {"score": "form()"}
    sft = runs["sft_same_tokens"].stages[1]
    assert (sft.name, sft.tasks_per_step, sft.optimiser.learning_rate) == ("hone_sft", 2 * 2, 1e-2)
    assert arms["sft_same_tokens"].tokens_of == "hone"
    waiting = {job.name: job.waits_for for job in jobs_of(made)}
    assert "cells/hone-2" in waiting["cells/sft_same_tokens-2"]
    plain, shuffled = runs["hone"].stages[1].tasks, runs["shuffled_answers"].stages[1].tasks
    assert [task.prompt for task in plain] == [task.prompt for task in shuffled]
    assert sorted(str(task.answer) for task in plain) == sorted(str(task.answer) for task in shuffled)
    assert all(mine is not other.answer for mine, other in zip((t.answer for t in plain), shuffled, strict=True))
    assert (arms["best_of_n"].stages, arms["best_of_n"].taken) == (0, "best")
    assert arms["majority"].taken == "majority"
    assert {run.recipe["evaluation"]["reward"]["score"] for run in runs.values()} == {"gate(number(), by=form())"}


def test_ablations_are_arms_by_one_line(place: Path) -> None:
    made = read(place, 'ablate = ["stage.first", "reward.form", "stage.hone.settings.kl"]', recipe=NUMBERS)
    arms = {arm.name: arm.run for arm in made.arms}
    assert [stage.name for stage in arms["without_stage_first"].stages] == ["hone"]
    assert arms["without_reward_form"].recipe["reward"]["score"] == "number()"
    assert arms["without_stage_hone_settings_kl"].recipe["stage"][1]["settings"]["kl"] != 0.0


def test_every_arm_is_measured_on_other_tasks_after_it_was_trained(place: Path) -> None:
    experiment = read(
        place,
        'controls = ["random_reward", "best_of_n"]',
        'others = { words = "toy.toml" }',
        arms='[arms.hone]\n[arms.slow]\nchanges = ["stage.hone.learning_rate=1e-3"]\n',
    )
    jobs = {job.name: job for job in jobs_of(experiment) if job.other}
    assert sorted(jobs) == [f"others/words/{arm}-{seed}" for arm in ("base", "hone", "slow") for seed in (1, 2)]
    assert jobs["others/words/slow-2"].waits_for == ["cells/slow-2"]
    assert jobs["others/words/base-2"].waits_for == []
    assert {job.recipe for job in jobs.values()} == {"others/words.toml"}
    assert experiment.plan["others"]["words"]["data"]["evaluation"]["size"] == 6


def test_other_tasks_that_would_say_nothing_are_refused(place: Path) -> None:
    (place / "plain.toml").write_text(RECIPE.partition("[evaluation]")[0])
    with pytest.raises(ExperimentError, match=r"others.words: plain.toml is not measured: add \[data.test\]"):
        read(place, 'others = { words = "plain.toml" }')
    shutil.copytree(place / "model", place / "second")
    arms = "[arms.hone]\n[arms.second]\nchanges = ['model.source=second']\n"
    with pytest.raises(ExperimentError, match=r"the arms start from several models \(.*/model, .*/second\)"):
        read(place, 'others = { words = "toy.toml" }', arms=arms)


def test_equal_beginnings_are_run_once(place: Path) -> None:
    made = read(
        place,
        'controls = ["random_reward", "best_of_n"]',
        arms="[arms.hone]\n[arms.slow]\nchanges = ['stage.first.learning_rate=1e-3']\n",
    )
    takers = shared_cells(jobs_of(made))
    names = {name.rpartition("-")[0]: sorted(taking) for name, taking in takers.items()}
    first = next(name for name in takers if name.startswith("shared/first-1"))
    assert names["shared/base-1"] == sorted(["cells/slow-1", "cells/best_of_n-1", first])
    assert names["shared/first-1"] == ["cells/hone-1", "cells/random_reward-1"]
    order = [job.name for job in jobs_of(made)]
    assert all(order.index(job.after) < order.index(job.name) for job in jobs_of(made) if job.after)


ALIKE = [
    ("stage.hone.steps=3", True),
    ("stage.hone.reward.score=chance(0.5)", True),
    ("reward.score=chance(0.5)", True),
    ("stage.first.steps=3", False),
    ("data.train.size=41", False),
    ("sampling.max_tokens=4", True),
]


@pytest.mark.parametrize(("change", "shared"), ALIKE)
def test_a_beginning_is_shared_only_where_all_that_makes_it_is_equal(place: Path, change: str, shared: bool) -> None:
    pinned = "" if not change.startswith("sampling") else ", 'evaluation.sampling.max_tokens=5'"
    made = read(place, "controls = []", arms=f"[arms.a]\n[arms.b]\nchanges = ['{change}'{pinned}]\n")
    assert any(name.startswith("shared/first-1") for name in shared_cells(jobs_of(made))) is shared


def test_what_does_not_vary_keeps_the_recipes_seed(place: Path) -> None:
    run = load_recipe(place / "toy.toml", ["seed=7"]).run
    only = seeded(run, 3, ["order"])
    assert [seed_of(only, chance) for chance in ("init", "order", "sampling")] == [7, 3, 7]
    assert seeded(run, 3, ["init", "order", "sampling"]).seed == 3
    assert load_recipe(place / "toy.toml", ["seed=7", "seeds.order=3"]).run.seeds == only.seeds


TERMS = [
    ("gate(number(), by=form())", "form", "number()"),
    ("gate(number(), by=form())", "number", None),
    ("number() + 0.1 * overlong(64, 16)", "overlong", "number()"),
    ("number() + 0.1 * overlong(64, 16)", "number", "0.1 * overlong(64, 16)"),
    ("number() - concise(9)", "number", "-concise(9)"),
    ("gate(number() + concise(9, name='short'), by=form())", "short", "gate(number(), by=form())"),
    ("clip(number() + concise(9), 0, 1)", "concise", "clip(number(), 0, 1)"),
    ("-number()", "number", None),
]


@pytest.mark.parametrize(("expression", "part", "left"), TERMS)
def test_a_reward_without_a_part(expression: str, part: str, left: str | None) -> None:
    assert part in part_names(expression)
    assert without(expression, part) == left


def test_form_terms_are_found_wherever_they_stand() -> None:
    assert form_terms("gate(number() + 0.1 * form(), by=form())") == ["form()"]
    assert form_terms("number()") == []


def test_chance_pays_its_share_and_nothing_by_what_is_written() -> None:
    turn = Turn(prompt=(), completion=(5,), logp=(), text="same", stop="eos")
    alike = [Trajectory(turns=(turn,), stop="eos")] * 4
    paid = [score.value for number in range(500) for score in chance(0.25)(Task(id=str(number), prompt=()), alike)]
    assert sum(paid) / len(paid) == pytest.approx(0.25, abs=0.03)
    marks = [score.value for score in chance(0.25)(Task(id="3", prompt=()), alike * 10)]
    assert len(set(marks)) == 2
    assert marks == [score.value for score in chance(0.25)(Task(id="3", prompt=()), alike * 10)]


@pytest.mark.parametrize("once", [True, False], ids=["imports once", "each cell imports"])
def test_the_forecast_counts_once_what_is_run_once(place: Path, monkeypatch: pytest.MonkeyPatch, once: bool) -> None:
    monkeypatch.setattr(forecast, "_seconds_of_a_start", lambda: 3.0)
    monkeypatch.setattr(forecast, "IMPORTS_ONCE", once)
    experiment = read(place, "seeds = 2")
    made = forecast.forecast(experiment)
    assert list(made.jobs) == [job.name for job in jobs_of(experiment)]
    shared, cell = (made.jobs[name] for name in (next(iter(made.jobs)), "cells/hone-1"))
    assert shared["evaluating"].tokens[1] == 2 * 6 * 2 * 5  # the base model and the first stage
    assert cell["evaluating"].tokens[1] == 6 * 2 * 5
    assert (shared["sampling"].tokens[1], cell["sampling"].tokens[1]) == (0, 2 * 2 * 2 * 5)
    imports = 0.0 if once else 3.0
    # Three models are loaded, and two.
    assert shared["starting"].seconds[0] - 3.0 > cell["starting"].seconds[0] - imports > 0.0
    assert made.alone[1] - made.seconds[1] == pytest.approx(
        2 * sum(shared[name].seconds[1] for name in ("sampling", "learning", "evaluating"))
        + 2 * (shared["starting"].seconds[1] - 3.0)
        - 2 * imports
    )


def test_dry_run_tells_the_plan(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "_seconds_of_a_start", lambda: 3.0)
    assert run_command(["experiment", str(place / "teach.toml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "An arm is a go if it is better than base and than every control" in told
    assert "Forecast: " in told
    assert "run once, for cells/hone-1, cells/random_reward-1" in " ".join(told.split())
