"""docs/experiments.md lists every key of an experiment's file and every control, and its file and those shipped are
read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_docs import folder, write_files  # noqa: F401
from test_recipe_docs import rows

from togi.experiment.controls import CONTROLS
from togi.experiment.jobs import jobs_of
from togi.experiment.read_experiment import read_experiment
from togi.experiment.schema import ExperimentFile

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
TABLES = {name: each for name, each in ExperimentFile.model_json_schema()["$defs"].items() if "properties" in each}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented(table: str) -> None:
    expected = "\n".join(rows(table, TABLES))
    assert expected in DOCS, "docs/experiments.md should hold these lines:\n" + expected


def test_every_control_has_a_row() -> None:
    named = re.findall(r"^\| `(\w+)` \|", DOCS.partition("## Controls")[2].partition("##")[0], re.MULTILINE)
    assert sorted(named) == sorted(CONTROLS)


@pytest.mark.usefixtures("folder")
def test_the_example_is_an_experiment() -> None:
    write_files("docs/experiments.md", Path())
    assert [arm.name for arm in read_experiment(Path("first.toml")).arms] == ["grpo", "slow", "random_reward"]


@pytest.mark.usefixtures("folder")
def test_the_example_of_a_sweep_is_one() -> None:
    pytest.importorskip("optuna", reason="needs the sweep extra")
    write_files("docs/experiments.md", Path())
    made = read_experiment(Path("search.toml"))
    assert made.sweep is not None
    assert made.sweep.usual == {"stage.grpo.learning_rate": 1e-5, "stage.grpo.attempts": 8}
    assert (made.sweep.seeds, made.sweep.shared) == ((3,), 1)


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda file: file.stem)
def test_those_that_ship_can_be_run(file: Path) -> None:
    assert jobs_of(read_experiment(file))


def test_arms_share_the_tasks_that_are_the_same() -> None:
    runs = [arm.run for arm in read_experiment(ROOT / "experiments" / "tricks_or_traps.toml").arms if arm.run]
    assert len(runs) == 16
    assert len({id(run.stages[-1].tasks) for run in runs}) == 1
