"""docs/eureka.md lists every key of a reward design, and its file and the one that ships are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_docs import folder, write_files  # noqa: F401
from test_recipe_docs import rows

from togi.reward_design.read_design import read_design
from togi.reward_design.schema import DesignFile

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "eureka.md").read_text(encoding="utf-8")
TABLES = {name: each for name, each in DesignFile.model_json_schema()["$defs"].items() if "properties" in each}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented(table: str) -> None:
    expected = "\n".join(rows(table, TABLES))
    assert expected in DOCS, "docs/eureka.md should hold these lines:\n" + expected


@pytest.mark.usefixtures("folder")
def test_the_environment_of_ones_own_is_read() -> None:
    pytest.importorskip("stable_baselines3")
    write_files("docs/eureka.md", Path())
    found = read_design(Path("boat.toml"))
    assert found.described.startswith("Observation Space: | Num | what it is")
    assert (found.observation, found.action) == ("a numpy array of 2 numbers", "a numpy array of 1 number")


def test_what_ships_is_read() -> None:
    pytest.importorskip("stable_baselines3")
    assert read_design(ROOT / "recipes" / "mountain_car.toml").human
