"""Measures what sharing saves: an experiment of three arms on one cold start, against the same runs by themselves.

Run as ``python benchmarks/experiment.py``, for some ten minutes; nothing else should run. Each arm is GRPO on
SmolLM2-135M after the quickstart's cold start, with one seed after the other. First the experiment, then every cell's
recipe as a run of its own with ``togi train``, in the same processes and on the same machine; then whether both gave
the same held-out answers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from generate import processor

from togi.experiment.conduct import conduct
from togi.experiment.design import Experiment, seed_changes
from togi.experiment.jobs import ARMS, cell_name
from togi.experiment.outcome import read_outcome
from togi.experiment.outcome_cost import cost_of_all, saved_seconds
from togi.experiment.read_experiment import read_experiment

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart.toml"
FILE = """
[experiment]
question = "What does sharing save?"
recipe = "{recipe}"
changes = {changes}
measure = "pass@1"
smallest_effect = 0.03
seeds = 2
controls = ["random_reward", "sft_same_tokens"]
[arms.grpo]
"""


def planned(place: Path, steps: int, tasks: int) -> Experiment:
    """The experiment, written into a folder."""
    changes = [f"stage.cold_start.steps={2 * steps}", f"stage.grpo.steps={steps}", f"evaluation.tasks={tasks}"]
    place.mkdir(exist_ok=True)
    (place / "sharing.toml").write_text(FILE.format(recipe=RECIPE, changes=changes))
    return read_experiment(place / "sharing.toml")


def alone(experiment: Experiment, shared: Path, place: Path) -> tuple[float, dict[str, list[Any]]]:
    """Seconds of all cells, each as a run of its own, and what each answered; a run makes room for the next one."""
    seconds, said = 0.0, {}
    for arm in experiment.arms:
        for seed in experiment.seeds:
            recipe = str(shared / ARMS / f"{arm.name}.toml")
            changes = [*seed_changes(seed, experiment.vary), "--folder", str(place)]
            command = [sys.executable, "-m", "togi", "train", recipe, *changes]
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds += time.perf_counter() - start
            said[cell_name(arm.name, seed)] = answers(place)
            shutil.rmtree(place)
    return seconds, said


def answers(folder: Path) -> list[Any]:
    """What the last model of a run said to the held-out tasks."""
    found = sorted((folder / "evaluations").glob("grpo*.json"))
    return [task["attempts"] for task in json.loads(found[-1].read_text())["tasks"]]


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--steps", type=int, default=4, help="of GRPO; the cold start has twice as many")
    arguments.add_argument("--tasks", type=int, default=20, help="that are held out")
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "experiment.json")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        experiment = planned(Path(place) / "files", given.steps, given.tasks)
        shared, apart = Path(place) / "shared", Path(place) / "apart"
        start = time.perf_counter()
        conduct(experiment, shared)
        together = time.perf_counter() - start
        seconds, said = alone(experiment, shared, apart)
        outcome = read_outcome(shared)
        same = [answers(shared / name) == own for name, own in said.items()]
        result = {
            "processor": processor(),
            "cells": len(outcome.cells),
            "seconds_shared": round(together, 1),
            "seconds_alone": round(seconds, 1),
            "ratio": round(seconds / together, 2),
            "told_saved_seconds": round(saved_seconds(outcome), 1),
            "told_spent_seconds": round(cost_of_all(outcome).total_seconds, 1),
            "same_answers": all(same),
        }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
