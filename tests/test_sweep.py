"""Sweeps: what a file may search, which values are tried next, functions that are searched to the end, stopped, killed
and resumed; and one on a tiny model."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from toy_experiment import EXPERIMENT, RECIPE, write

from togi.cli import run_command
from togi.experiment.conduct import conduct
from togi.experiment.design import Budget, Experiment, ExperimentError
from togi.experiment.outcome import Outcome, read_outcome
from togi.experiment.outcome_told import answer
from togi.experiment.read_experiment import read_experiment
from togi.experiment.sweep.search_told import search_told
from togi.experiment.sweep.sweep_design import Choice, Functions, Span, Sweep, Trial, Values
from togi.report.experiment_page import page
from togi.run_folder.integrity import read_chain

pytest.importorskip("optuna", reason="needs the sweep extra")
from togi.experiment.sweep.next_values import hopeless, needs_optuna, next_values

LOG = Span(low=1e-2, high=1e2, log=True)
CHOOSING = RECIPE.replace("[evaluation]\n", "[evaluation]\nchoice_tasks = 3\nevery = 1\n")
RATE = '"stage.hone.learning_rate" = { low = 1e-4, high = 1e-1, log = true }'


def worth(speed: float) -> float:
    """Best at a speed of 2."""
    return -((math.log10(speed / 2)) ** 2)


def walked(speed: float, seed: int, maps: Sequence[int]) -> list[float]:
    return [worth(speed) + random.Random(f"{speed} {seed} {each}").gauss(0, 0.05) + each % 3 for each in maps]


def tried(values: Values, seed: int) -> Iterator[float]:
    """On maps that no arm walks, more of them each time."""
    for maps in (4, 8, 16):
        yield sum(walked(values["speed"], seed, range(100, 100 + maps))) / maps


def measured(values: Values, seed: int) -> dict[str, list[float]]:
    return {"distance": walked(values["speed"], seed, range(20))}


def searching(**changed: Any) -> Experiment:
    """An experiment whose search is of a function."""
    own: dict[str, Any] = {
        "keys": {"speed": LOG},
        "trials": 10,
        "seeds": (7, 8),
        "of": Functions(trial=tried, arm=measured),
        "stop_hopeless": True,
    }
    budget = changed.pop("budget", None)
    return Experiment.from_function(
        lambda arm, seed: measured({"speed": 0.5}, seed),
        name="maps",
        question="Is another speed better?",
        arms=["usual"],
        measure="distance",
        smallest_effect=0.05,
        seeds=3,
        budget=budget,
        sweep=Sweep(**{**own, **changed}),
    )


def run(folder: Path, experiment: Experiment, **how: Any) -> Outcome:
    conduct(experiment, folder, tell=lambda _: None, **how)
    return read_outcome(folder)


def asked(folder: Path) -> list[tuple[Values, str]]:
    return [(trial.values, trial.how) for trial in read_outcome(folder).trials]


def test_a_search_chooses_an_arm_and_is_right(tmp_path: Path) -> None:
    outcome = run(tmp_path, searching())
    assert outcome.chosen is not None
    assert 0.8 < outcome.chosen.values["speed"] < 5
    assert outcome.found is not None
    assert [(one.compared.arm, one.compared.claim) for one in outcome.found.arms] == [("searched", "better")]
    assert "hopeless" in {trial.how for trial in outcome.trials}
    told = page(outcome)
    for words in ("10 trials", "stopped as hopeless", "partly luck", "distance over speed", "what the search chose"):
        assert words in told
    head = read_chain(tmp_path).head
    run(tmp_path, searching())
    assert read_chain(tmp_path).head == head, "what is done is not run again"
    assert run_command(["verify", str(tmp_path)]) == 0


@pytest.mark.parametrize("after", [1, 9, 16, 23])
def test_a_kill_anywhere_changes_nothing(tmp_path: Path, after: int) -> None:
    run(tmp_path / "whole", searching())
    calls = iter(range(10_000))

    def dies(values: Values, seed: int) -> Iterator[float]:
        for number in tried(values, seed):
            if next(calls) == after:
                raise KeyboardInterrupt
            yield number

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", searching(of=Functions(trial=dies, arm=measured)))
    outcome = run(tmp_path / "killed", searching())
    assert asked(tmp_path / "killed") == asked(tmp_path / "whole")
    assert outcome.chosen == read_outcome(tmp_path / "whole").chosen


def test_a_trial_that_fails_is_shown_and_never_chosen(tmp_path: Path) -> None:
    def fails(values: Values, seed: int) -> float:
        if values["speed"] > 1:
            raise RuntimeError("no fuel")
        return worth(values["speed"])

    outcome = run(tmp_path, searching(of=Functions(trial=fails, arm=measured)))
    failed = [trial for trial in outcome.trials if trial.how == "failed"]
    assert failed
    assert {trial.why for trial in failed} == {"RuntimeError: no fuel"}
    assert outcome.chosen is not None
    assert outcome.chosen.values["speed"] <= 1
    assert "failed: RuntimeError: no fuel" in page(outcome)


@pytest.mark.parametrize("given", [float("nan"), [], "much"])
def test_where_no_trial_finishes_nothing_is_chosen_and_all_is_tried_again(tmp_path: Path, given: Any) -> None:
    outcome = run(tmp_path, searching(trials=3, of=Functions(trial=lambda values, seed: given, arm=measured)))
    assert outcome.chosen is None
    assert not (tmp_path / "cells").exists()
    assert "no trial has finished" in answer(outcome)[0]
    again = run(tmp_path, searching(trials=3))
    assert again.chosen is not None
    assert [trial.how for trial in again.trials] == ["done"] * 3


def test_a_search_leaves_its_share_of_the_budget(tmp_path: Path) -> None:
    def slow(values: Values, seed: int) -> float:
        time.sleep(0.02)
        return worth(values["speed"])

    of, budget = Functions(trial=slow, arm=measured), Budget(hours=20 / 3600)
    outcome = run(tmp_path, searching(trials=1000, of=of, budget=budget, share=0.01))
    assert len(outcome.trials) < 20
    assert outcome.chosen is not None
    assert outcome.chosen.why.startswith("1% of the budget of")
    assert not outcome.missing
    assert any("ended early" in line for line in search_told(outcome))


def test_what_was_searched_cannot_change_unseen(tmp_path: Path) -> None:
    run(tmp_path, searching(trials=2))
    with pytest.raises(ExperimentError, match=r"sweep\.trials: 2 -> 3"):
        run(tmp_path, searching(trials=3))
    with pytest.raises(ExperimentError, match="the search has begun"):
        run(tmp_path, searching(trials=3), allow_changes=True)


def test_an_edited_trial_is_refused(tmp_path: Path) -> None:
    calls = iter(range(100))

    def dies(values: Values, seed: int) -> float:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, searching(of=Functions(trial=dies, arm=measured)))
    file = next(tmp_path.glob("trials/*/numbers.json"))
    file.write_text(json.dumps({"distance": 9.0}))
    with pytest.raises(ExperimentError, match="was changed after it was done"):
        run(tmp_path, searching())


def test_what_all_arms_share_a_seed_with_is_no_choice() -> None:
    with pytest.raises(ExperimentError, match="the seed 2 is that of trials and of arms"):
        searching(seeds=(2, 9))


def sweep(**changed: Any) -> Sweep:
    of = Functions(trial=tried, arm=measured)
    return Sweep(**{"keys": {"speed": LOG}, "trials": 40, "seeds": (1,), "of": of, **changed})


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": {}},
        {"trials": 0},
        {"seeds": ()},
        {"keys": {"speed": Span(low=2, high=1)}},
        {"keys": {"speed": Span(low=0.0, high=1.0, log=True)}},
        {"keys": {"speed": Span(low=math.nan, high=1.0)}},
    ],
)
def test_a_sweep_without_a_search_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a sweep has keys|wanted low below high"):
        sweep(**wrong)


def search(space: Sweep) -> list[Trial]:
    trials: list[Trial] = []
    while len(trials) < space.trials and (values := next_values(space, trials)) is not None:
        trials.append(Trial(number=len(trials), values=values, how="done", value=worth(values.get("speed", 1.0))))
    return trials


def test_values_follow_from_trials_and_seed_alone() -> None:
    needs_optuna()
    found = search(sweep(trials=12))
    assert search(sweep(trials=12)) == found
    assert [t.values for t in search(sweep(trials=12, seed=1))] != [t.values for t in found]
    assert [t.values for t in search(sweep(trials=12, sampler="random"))] != [t.values for t in found]


def test_all_of_few_values_are_tried_once_each() -> None:
    space = sweep(keys={"n": Span(low=1, high=4), "how": Choice(values=("a", [0.9, 0.99], True))})
    values = [trial.values for trial in search(space)]
    assert len(values) == 12
    assert all(values.count(each) == 1 for each in values)
    assert all(type(each["n"]) is int for each in values)


def test_values_lie_within_and_are_short() -> None:
    for trial in search(sweep(keys={"speed": Span(low=0.12345, high=0.12346)}, trials=3)):
        assert 0.12345 <= trial.values["speed"] <= 0.12346
    assert all(len(f"{trial.values['speed']!r}") <= 6 for trial in search(sweep(trials=10)))


def test_the_recipes_own_values_are_tried_first() -> None:
    assert next_values(sweep(usual={"speed": 3.14159}), []) == {"speed": 3.14159}
    assert next_values(sweep(usual={"speed": 1e6}), []) != {"speed": 1e6}


@pytest.mark.slow
def test_guided_search_comes_closer_than_blind_search() -> None:
    best = {
        sampler: [max(t.value for t in search(sweep(trials=30, sampler=sampler, seed=s)) if t.value) for s in range(5)]
        for sampler in ("tpe", "random")
    }
    assert sum(best["tpe"]) > sum(best["random"])


HOPELESS = [
    ([0.0], False, 4),
    ([-9.0], True, 4),
    ([-9.0], False, 3),  # too few have finished
    ([2.0, -9.0], False, 4),  # optuna counts the best that was seen so far
    ([-9.0, 9.0], True, 4),  # it was, and would have been stopped
    ([], False, 9),
    ([2.0, 2.0, 2.0, -9.0], False, 4),  # nobody else came so far
]


@pytest.mark.parametrize(("points", "expected", "finished"), HOPELESS)
def test_hopeless_is_below_the_median_of_finished_trials(
    points: Sequence[float], expected: bool, finished: int
) -> None:
    ended = [
        Trial(number=n, values={"speed": 1.0 + n}, how="done", value=0.0, points=(n - 2.0, n - 1.0, n))
        for n in range(finished)
    ]
    assert hopeless(sweep(), ended, points) is expected


def read(place: Path, keys: str = RATE, more: str = "trials = 6", **files: str) -> Experiment:
    recipe, top = files.get("recipe", CHOOSING), files.get("top", "")
    (place / "toy.toml").write_text(recipe)
    (place / "own.toml").write_text(f"{EXPERIMENT}{top}\n[sweep]\n{more}\n[sweep.keys]\n{keys}\n")
    return read_experiment(place / "own.toml")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(folder := tmp_path_factory.mktemp("sweep"))
    return folder


REFUSED = [
    ('"stage.hone.learning_rat" = { low = 1, high = 2 }', "stage.hone.learning_rat: unknown key; did you mean"),
    ('"stage.hon.steps" = { low = 1, high = 2 }', "no 'hon'; did you mean 'hone'?"),
    ("stage.hone.steps = { low = 1, high = 2 }", "write the whole key in quotes"),
    ('"stage.hone.steps" = { low = 2, high = 1 }', "low = 2 is not below high = 1"),
    ('"stage.hone.steps" = { low = 2, high = 2 }', "low = 2 is not below high = 2"),
    ('"stage.hone.steps" = { low = 2 }', "wanted low and high, or choices"),
    ('"stage.hone.steps" = { lo = 2 }', "unknown key; did you mean 'low'?"),
    ('"stage.hone.steps" = {}', "wanted low and high, or choices"),
    ('"stage.hone.steps" = 3', "wanted a table"),
    ('"stage.hone.steps" = { low = 1, high = 2, choices = [1, 2] }', "choices and low exclude each other"),
    ('"stage.hone.steps" = { choices = [1] }', "two different choices at least"),
    ('"stage.hone.steps" = { choices = [1, 2, 1] }', "two different choices at least"),
    ('"stage.hone.settings" = { choices = [{ kl = 0.1 }, { kl = 0.2 }] }', "choices are numbers, texts"),
    ('"stage.hone.steps" = { low = 0, high = 2, log = true }', "with log = true low is above 0"),
    ('"stage.hone.steps" = { low = -2, high = 2 }', "stage.hone.steps: got -2"),
    ('"stage.hone.schedule" = { choices = ["linear", "cosin"] }', 'wanted "constant", "linear" or "cosine"'),
    ('"checkpoint.every" = { low = 1, high = 4 }', "make the same run, since the key does nothing"),
    ('"logging.project" = { choices = ["a", "b"] }', "make the same run"),
    ('"seed" = { low = 1, high = 4 }', "its best value would be luck"),
    ('"seeds.order" = { low = 1, high = 4 }', "its best value would be luck"),
    ('"name" = { choices = ["a", "b"] }', "that is no setting"),
    ('"evaluation.attempts" = { low = 1, high = 4 }', "changes what is measured"),
    ('"data.test.size" = { low = 5, high = 6 }', "changes what is measured"),
    ('"sampling.max_tokens" = { low = 1, high = 4 }', "measured in different ways"),
    ("", "sweep.keys: "),
]


@pytest.mark.parametrize(("keys", "why"), REFUSED)
def test_keys_that_are_no_search_are_refused(place: Path, keys: str, why: str) -> None:
    with pytest.raises(ValueError) as error:
        read(place, keys)
    assert why in str(error.value)


WRONG = [
    ("", {}, "sweep.trials: is needed"),
    ("trials = 1", {}, "sweep.trials: got 1"),
    ("trails = 6", {}, "trails: unknown key; did you mean 'trials'?"),
    ("trials = 6\nseeds = [1]", {}, "the seed 1 is that of trials and of arms"),
    ("trials = 6\nseeds = 0", {}, "sweep.seeds: wanted how many"),
    ('trials = 6\nsampler = "grid"', {}, 'wanted "tpe" or "random"'),
    ("trials = 6\nbudget_share = 1.0", {}, "sweep.budget_share"),
    ("trials = 6\nstop_hopeless = true", {"recipe": CHOOSING.replace("every = 1\n", "", 1)}, "set evaluation.every"),
    ("trials = 6", {"recipe": RECIPE}, 'changes = ["evaluation.choice_tasks=50"]'),
    ("trials = 6", {"recipe": CHOOSING.replace("choice_tasks = 3", "choice_tasks = 6")}, "leaves none of 6 tasks"),
    ("trials = 6", {"top": "[arms.searched]\nchanges = ['stage.hone.steps=1']\n"}, "the arm which a sweep chooses"),
]


@pytest.mark.parametrize(("more", "changed", "why"), WRONG)
def test_a_sweep_that_proves_nothing_is_refused(place: Path, more: str, changed: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError) as error:
        read(place, more=more, **changed)
    assert why in str(error.value)


def test_trials_are_asked_what_no_arm_is(place: Path) -> None:
    made = read(place)
    assert made.sweep is not None
    assert not isinstance(made.sweep.of, Functions)
    trial, arm = made.sweep.of.trial({"stage.hone.steps": 1}), made.sweep.of.arm({"stage.hone.steps": 1})
    assert trial.evaluation is not None
    assert arm.evaluation is not None
    assert arm.evaluation.choice is not None
    assert [task.id for task in trial.evaluation.tasks] == [task.id for task in arm.evaluation.choice]
    assert not {t.id for t in trial.evaluation.tasks} & {t.id for t in arm.evaluation.tasks}
    held_out = {str(task.answer) for task in arm.evaluation.tasks}
    assert not held_out & {str(task.answer) for stage in trial.stages for task in stage.tasks}
    assert made.sweep.seeds == (3,)
    assert made.sweep.usual == {"stage.hone.learning_rate": 3e-3}
    assert (made.sweep.stages, made.sweep.shared) == (2, 1)


SHARED = [
    ('"stage.first.steps" = { low = 1, high = 2 }', 0),
    (RATE + '\n"stage.first.steps" = { low = 1, high = 2 }', 0),
    ('"model.lora.rank" = { choices = [1, 2] }', None),
]


@pytest.mark.parametrize(("keys", "stages"), SHARED)
def test_trials_share_what_no_key_changes(place: Path, keys: str, stages: int | None) -> None:
    made = read(place, keys)
    assert made.sweep is not None
    assert made.sweep.shared == stages


def test_without_optuna_the_command_that_installs_it_is_told_before_torch(place: Path) -> None:
    read(place)
    code = (
        "import sys\nsys.modules['optuna'] = None\nfrom togi.cli import run_command\n"
        f"assert run_command(['experiment', {str(place / 'own.toml')!r}]) == 2\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "a sweep needs the sweep extra: in Togi's own folder, run pip install" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_recipe_is_searched(tmp_path: Path) -> None:
    file = write(tmp_path / "files", recipe=CHOOSING)
    keys = '"stage.hone.learning_rate" = { choices = [3e-3, 1e-9] }'
    controls = EXPERIMENT.replace('controls = ["random_reward"]', 'against = "hone"')
    file.write_text(f"{controls}\n[sweep]\ntrials = 9\n[sweep.keys]\n{keys}\n")
    folder = tmp_path / "run"
    assert run_command(["experiment", str(file), "--folder", str(folder)]) == 0
    outcome = read_outcome(folder)
    assert [trial.how for trial in outcome.trials] == ["done", "done"], "there are only two values"
    assert outcome.chosen is not None
    beginnings = {each.place: each.takers for each in outcome.beginnings}
    assert beginnings["shared/trials-3"] == 2
    trial = json.loads((folder / "trials" / "000-3" / "evaluations" / "hone.json").read_text())
    cell = json.loads((folder / "cells" / "hone-1" / "evaluations" / "hone.json").read_text())
    assert not {task["id"] for task in trial["tasks"]} & {task["id"] for task in cell["tasks"]}
    assert outcome.chosen.alike == ("hone" if outcome.chosen.trial == 0 else "")
    assert ("searched" in outcome.plan["arms"]) == (outcome.chosen.trial != 0)
    assert run_command(["report", str(folder)]) == 0
    assert run_command(["verify", str(folder)]) == 0
