"""Experiments that run: functions as arms in this process, and a whole one on a tiny model, killed in between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_experiment import EXPERIMENT, write

from togi.cli import run_command
from togi.experiment.conduct import conduct
from togi.experiment.design import Budget, Experiment, ExperimentError
from togi.experiment.ledger import PLAN
from togi.experiment.outcome import Outcome, read_outcome
from togi.report.experiment_page import page
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import read_chain
from togi.sandbox.tiers.choose_tier import cores


def luck(arm: str, seed: int) -> dict[str, list[float]]:
    """A planner that is better by 0.2, and a control that is not."""
    rng = random.Random(f"{arm}/{seed}")
    tasks = [random.Random(task).random() for task in range(30)]
    return {"return": [task + 0.2 * (arm == "planner") + rng.gauss(0, 0.02) for task in tasks]}


def planned(**changed: Any) -> Experiment:
    """An experiment on that function."""
    own: dict[str, Any] = {
        "function": luck,
        "name": "planning",
        "question": "Does planning pay?",
        "arms": ["greedy", "planner"],
        "controls": ["longer"],
        "measure": "return",
        "smallest_effect": 0.05,
        "seeds": 3,
    }
    return Experiment.from_function(**{**own, **changed})


def run(folder: Path, experiment: Experiment, **how: Any) -> Outcome:
    conduct(experiment, folder, tell=lambda _: None, **how)
    return read_outcome(folder)


def test_any_function_of_arm_and_seed_is_an_experiment(tmp_path: Path) -> None:
    found = run(tmp_path, planned()).found
    assert found is not None
    (one,) = found.arms
    assert (one.compared.arm, one.compared.claim, one.evidence) == ("planner", "better", "for the arm")
    assert one.compared.found.point == pytest.approx(0.2, abs=0.02)
    outcome = read_outcome(tmp_path)
    assert outcome.decision(one) == "go"
    assert "planner: go" in page(outcome)


def test_a_gain_that_the_control_shows_too_is_no_go(tmp_path: Path) -> None:
    def alike(arm: str, seed: int) -> dict[str, list[float]]:
        return luck("greedy" if arm == "greedy" else "planner", seed)

    outcome = run(tmp_path, planned(function=alike))
    assert outcome.found is not None
    assert (outcome.found.arms[0].compared.claim, outcome.decision(outcome.found.arms[0])) == ("better", "not decided")
    assert "no evidence for the reward" in page(outcome)


def test_an_arm_that_fails_is_shown_and_ends_no_other(tmp_path: Path) -> None:
    def fails(arm: str, seed: int) -> dict[str, list[float]]:
        if (arm, seed) == ("planner", 1):
            raise RuntimeError("no fuel")
        return luck(arm, seed)

    outcome = run(tmp_path, planned(function=fails))
    assert [(cell.place, cell.why) for cell in outcome.missing] == [("cells/planner-1", "RuntimeError: no fuel")]
    assert np.isnan(outcome.scores["planner"][1]).all()
    assert outcome.found is not None
    assert outcome.found.arms[0].compared.claim == "not decided"  # nothing bounds what the lost seed could have been
    assert "no fuel" in page(outcome)
    again = run(tmp_path, planned())
    assert not again.missing, "what failed is tried again"


def test_what_is_done_is_not_run_again_and_what_is_gone_is(tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def counted(arm: str, seed: int) -> dict[str, list[float]]:
        asked.append((arm, seed))
        return luck(arm, seed)

    run(tmp_path, planned(function=counted))
    head = read_chain(tmp_path).head
    run(tmp_path, planned(function=counted))
    assert len(asked) == 9
    assert read_chain(tmp_path).head == head
    (tmp_path / "cells" / "planner-2" / "numbers.json").unlink()
    (tmp_path / "cells" / "planner-2").rmdir()
    run(tmp_path, planned(function=counted))
    assert asked[9:] == [("planner", 2)]


CHANGED = [
    ({"smallest_effect": 0.01}, "smallest_effect: 0.05 -> 0.01"),
    ({"seeds": 4}, "seeds: "),
    ({"question": "Does it?"}, "question: "),
    ({"rule": "no worse"}, "rule: 'better' -> 'no worse'"),
    ({"controls": []}, "arms.longer: "),
]


@pytest.mark.parametrize(("changed", "told"), CHANGED)
def test_what_was_decided_cannot_change_unseen(tmp_path: Path, changed: Mapping[str, Any], told: str) -> None:
    run(tmp_path, planned())
    with pytest.raises(ExperimentError, match="was decided otherwise before it began") as error:
        run(tmp_path, planned(**changed))
    assert told in str(error.value)
    if "controls" not in changed:
        outcome = run(tmp_path, planned(**changed), allow_changes=True)
        assert "Decided otherwise on the way" in page(outcome)


def test_a_begun_arm_cannot_change_at_all(tmp_path: Path) -> None:
    run(tmp_path, planned())
    with pytest.raises(ExperimentError, match=r"the arm longer has begun \(cells/longer-0\) and cannot change"):
        run(tmp_path, planned(arms=["greedy", "planner", "longer"], controls=[]), allow_changes=True)


def test_an_edited_cell_is_refused_and_proves_nothing(tmp_path: Path) -> None:
    run(tmp_path, planned())
    file = tmp_path / "cells" / "planner-0" / "numbers.json"
    file.write_text(json.dumps({"return": [9.0] * 30}))
    with pytest.raises(ExperimentError, match="planner-0 was changed after it was done"):
        run(tmp_path, planned())
    outcome = read_outcome(tmp_path)
    assert [cell.state for cell in outcome.missing] == ["changed"]
    assert run_command(["verify", str(tmp_path)]) == 1
    assert np.isnan(outcome.scores["planner"][0]).all()


def test_an_edited_plan_is_refused(tmp_path: Path) -> None:
    run(tmp_path, planned())
    plan = json.loads((tmp_path / PLAN).read_text())
    (tmp_path / PLAN).write_text(json.dumps({**plan, "smallest_effect": 1e-9}))
    with pytest.raises(ExperimentError, match=r"is not as it was written: plan\.json"):
        run(tmp_path, planned())


def test_a_spent_budget_stops_with_what_is_known(tmp_path: Path) -> None:
    def slow(arm: str, seed: int) -> dict[str, list[float]]:
        time.sleep(0.05)
        return luck(arm, seed)

    experiment = Experiment(**{**vars(planned(function=slow)), "budget": Budget(hours=0.2 / 3600)})
    outcome = run(tmp_path, experiment)
    assert 0 < len(outcome.missing) < 9
    assert outcome.spent_budget.startswith("the budget of")
    assert "The experiment ended early" in page(outcome)
    assert len(run(tmp_path, experiment).missing) == len(outcome.missing)


def test_an_arm_whose_name_leads_elsewhere_is_refused() -> None:
    with pytest.raises(ExperimentError, match="names no arm"):
        planned(arms=["greedy", "../planner"])


WRONG = [
    ({}, "gave no 'return'"),
    ({"return": "much"}, "gives numbers"),
    (3.0, "a dictionary of numbers"),
]


@pytest.mark.parametrize(("given", "why"), WRONG)
def test_what_is_no_number_fails_its_cell(tmp_path: Path, given: Any, why: str) -> None:
    outcome = run(tmp_path, planned(function=lambda arm, seed: given))
    assert why in outcome.missing[0].why
    assert outcome.found is None
    assert "Not decided" in page(outcome)


def test_a_folder_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no experiment"):
        read_outcome(tmp_path)


def started(file: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "togi", "experiment", str(file), "--folder", str(folder), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def numbers(folder: Path) -> dict[str, Any]:
    return {cell.place: (cell.state, cell.numbers, cell.base) for cell in read_outcome(folder).cells}


def logged(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.glob("cells/*/metrics.jsonl"))}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_anywhere_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "files")
    assert started(file, tmp_path / "whole").wait() == 0
    folder = tmp_path / "killed"
    for event in ("begun", "ended", "adopted"):
        work, seen = started(file, folder), sum(event in path.read_text() for path in folder.rglob("events.jsonl"))
        while work.poll() is None and seen >= sum(event in path.read_text() for path in folder.rglob("events.jsonl")):
            time.sleep(0.05)
        work.send_signal(signal.SIGKILL)
        work.wait()
        time.sleep(1.0)  # its cell ends by itself
    assert started(file, folder).wait() == 0
    assert numbers(folder) == numbers(tmp_path / "whole")
    assert logged(folder) == logged(tmp_path / "whole")
    assert all(state == "done" for state, _, _ in numbers(folder).values())
    for place in (folder, folder / "cells" / "hone-1", next((folder / "shared").glob("first-1*"))):
        assert run_command(["verify", str(place)]) == 0, capsys.readouterr().out
    assert run_command(["report", str(folder)]) == 0
    assert (folder / "cells" / "hone-1" / "report.html").exists()
    assert EXPERIMENT.split('"')[1] in (folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_shared_beginning_gives_what_an_unshared_run_would(tmp_path: Path) -> None:
    file = write(tmp_path / "files")
    assert started(file, tmp_path / "shared").wait() == 0
    recipe = [str(tmp_path / "files" / "toy.toml"), "seed=2", "--folder", str(tmp_path / "alone")]
    assert run_command(["train", *recipe]) == 0
    alone = json.loads((tmp_path / "alone" / "evaluations" / "hone.json").read_text())
    cell = json.loads((tmp_path / "shared" / "cells" / "hone-2" / "evaluations" / "hone.json").read_text())
    assert [task["attempts"] for task in alone["tasks"]] == [task["attempts"] for task in cell["tasks"]]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_control_learns_as_many_tokens_as_the_arm(tmp_path: Path) -> None:
    file = write(tmp_path / "files", experiment=EXPERIMENT.replace("random_reward", "sft_same_tokens"))
    assert started(file, tmp_path / "all").wait() == 0
    for seed in (1, 2):
        rows = read_lines(tmp_path / "all" / "cells" / f"hone-{seed}" / "metrics.jsonl")
        paid = [row["tokens/learned"] for row in rows if row["stage"] == "hone"][-1]
        rows = read_lines(tmp_path / "all" / "cells" / f"sft_same_tokens-{seed}" / "metrics.jsonl")
        given = [row["tokens/learned"] for row in rows if row["stage"] == "hone_sft"]
        assert abs(given[-1] - paid) <= given[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(cores() < 2, reason="two jobs at once take two cores")
def test_two_at_once_stopped_measured_again_and_resumed_give_the_same(tmp_path: Path) -> None:
    file = write(tmp_path / "files")
    assert started(file, tmp_path / "whole").wait() == 0
    folder = tmp_path / "stopped"
    work = started(file, folder, "--together", "2")
    while work.poll() is None and not list(folder.glob("cells/*/evaluations/hone.json")):
        time.sleep(0.05)
    time.sleep(2.0)  # what was just measured is noted as done
    work.send_signal(signal.SIGINT)
    assert work.wait() in (0, 130)
    done = [cell for cell in read_outcome(folder).cells if cell.state == "done"]
    for cell in done[:1]:
        assert run_command(["eval", str(folder / cell.place), "--attempts", "3"]) == 0
    assert started(file, folder, "--together", "2").wait() == 0
    assert numbers(folder) == numbers(tmp_path / "whole")
    assert logged(folder) == logged(tmp_path / "whole")
    assert run_command(["verify", str(folder)]) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("budget", ["budget = { tokens = 400 }", "budget = { money = 0.001 }\nprices = { hour = 0.1 }"])
def test_a_budget_that_ends_in_the_middle_leaves_what_can_go_on(tmp_path: Path, budget: str) -> None:
    file = write(tmp_path / "files", experiment=EXPERIMENT.replace("seeds = 2", f"seeds = 2\n{budget}"))
    folder = tmp_path / "run"
    assert started(file, folder).wait() == 0
    stopped = read_outcome(folder)
    assert stopped.spent_budget.startswith("the budget of")
    assert stopped.missing
    assert all(cell.state in ("done", "stopped", "not run") for cell in stopped.cells)
    assert run_command(["verify", str(folder)]) == 0
    file.write_text(EXPERIMENT)
    assert started(file, folder).wait() == 2, "a budget is decided beforehand"
    assert started(file, folder, "--allow-changes").wait() == 0
    whole = read_outcome(folder)
    assert not whole.missing
    assert any("budget" in change for change in whole.changes)
    assert run_command(["report", str(folder)]) == 0
