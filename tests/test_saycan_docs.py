"""docs/saycan.md lists every key of the command's file, and its file and the one that ships are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_docs import folder, write_files  # noqa: F401
from test_recipe_docs import rows

from togi.agents.saycan.arms import ARMS
from togi.agents.saycan.read_saycan import read_saycan
from togi.agents.saycan.schema import SayCanFile

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "saycan.md").read_text(encoding="utf-8")
TABLES = {name: each for name, each in SayCanFile.model_json_schema()["$defs"].items() if "properties" in each}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented(table: str) -> None:
    expected = "\n".join(rows(table, TABLES))
    assert expected in DOCS, "docs/saycan.md should hold these lines:\n" + expected


def test_every_arm_is_documented() -> None:
    assert [arm for arm in ARMS if f"\n| `{arm}` |" not in DOCS] == []


@pytest.mark.usefixtures("folder")
def test_a_world_of_ones_own_is_read() -> None:
    pytest.importorskip("stable_baselines3")
    write_files("docs/saycan.md", Path())
    found = read_saycan(Path("kitchen.toml"))
    assert (len(found.skills), len(found.instructions)) == (4, 2)


def test_what_ships_is_as_the_page_says() -> None:
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("minigrid")
    found = read_saycan(ROOT / "recipes" / "saycan.toml")
    families = {each.family for each in found.instructions}
    assert f"It has {len(found.skills)} skills" in DOCS
    assert f"and {len(found.instructions)} instructions in seven families" in DOCS.replace("\n", " ")
    assert [family for family in families if f"| {family} |" not in DOCS] == []
    assert len(families) == 7
