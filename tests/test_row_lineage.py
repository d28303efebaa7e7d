"""Where a run's rows come from: in its manifest, on its page and its model card, and held against the rows again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from togi.corpora.written_rows import write_rows
from togi.data.lineage import Dropped, Source
from togi.evidence.read_run import RunData
from togi.recipe import load_recipe
from togi.report import render
from togi.report.lineage_section import lineage_views
from togi.run_folder.row_lineage import KEY, read_noted, row_lines, rows_noted

RECIPE = """
name = "r"
[model]
source = "smollm2-135m"
[data.train]
sources = [{ file = "train.jsonl" }, { file = "raw.jsonl" }]
[data.test]
file = "test.jsonl"
[reward]
score = "number()"
[[stage]]
algorithm = "sft"
steps = 1
learning_rate = 1e-5
[[stage]]
algorithm = "grpo"
steps = 1
learning_rate = 1e-5
"""


def written(path: Path, numbers: range, source: Source, *dropped: Dropped) -> Source:
    rows = [{"prompt": f"{number}+1?", "answer": number + 1, "completion": f"{number + 1}"} for number in numbers]
    made = write_rows(path, rows, verb="dedup", settings={"words": 3}, sources=[source], dropped=dropped)
    return Source(name=path.name, sha256=made.sha256, rows=made.rows, license="mit", lineage=made)


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, Any]:
    """A run on rows that two verbs made, beside some that nobody knows the source of."""
    raw = Source(name="<b>hub</b>/raw", sha256="a" * 64, rows=9, license="cc0-1.0")
    first = written(tmp_path / "first.jsonl", range(5), raw, Dropped(why="nearly the same", rows=4))
    written(tmp_path / "train.jsonl", range(4), first)
    written(tmp_path / "test.jsonl", range(10, 12), raw)
    row = {"prompt": "8+8?", "answer": 16, "completion": "16"}
    (tmp_path / "raw.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "r.toml").write_text(RECIPE + "[evaluation]\nattempts = 1\n")
    noted = rows_noted(load_recipe(tmp_path / "r.toml").run)
    return {"name": "r", "data": {"sft": {"size": 5, "digest": "d" * 64}}, KEY: json.loads(json.dumps(noted))}


def test_a_manifest_says_who_uses_which_rows(manifest: dict[str, Any], tmp_path: Path) -> None:
    noted = {each.path: each for each in read_noted(manifest)}
    assert {path.name: each.used_by for path, each in noted.items()} == {
        "train.jsonl": ("sft", "grpo"),
        "test.jsonl": ("evaluation",),
    }
    lineage = noted[tmp_path / "train.jsonl"].lineage
    assert lineage.sources[0].lineage is not None
    assert lineage.sources[0].lineage.sources[0].license == "cc0-1.0"


def test_the_page_shows_the_chain_and_no_foreign_markup(manifest: dict[str, Any], tmp_path: Path) -> None:
    train = next(view for view in lineage_views(manifest) if view.used_by == "sft, grpo")
    assert [(row.name, row.rows, row.license, row.depth) for row in train.rows] == [
        ("train.jsonl", "4", "mit", 0),
        ("first.jsonl", "5", "mit", 1),
        ("<b>hub</b>/raw", "9", "cc0-1.0", 2),
    ]
    assert train.rows[1].left_out == ("4: nearly the same",)
    page = render(RunData(folder=tmp_path, manifest=manifest))
    assert "Where the rows of sft, grpo come from" in page
    assert "&lt;b&gt;hub&lt;/b&gt;/raw" in page
    assert "<b>hub" not in page
    assert "come from" not in render(RunData(folder=tmp_path, manifest={"name": "r"}))


@pytest.mark.parametrize("spoilt", [None, "x", [3], [{}], [{"path": "p", "used_by": ["a"], "record": {"schema": "x"}}]])
def test_what_is_no_lineage_is_left_out(spoilt: Any) -> None:
    assert read_noted({KEY: spoilt}) == []
    assert lineage_views({KEY: spoilt}) == []


def test_rows_are_held_against_the_lineage_that_the_run_began_with(manifest: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert row_lines(run) == ([], True)
    (run / "manifest.json").write_text(json.dumps(manifest))
    lines, whole = row_lines(run)
    assert (len(lines), whole) == (2, True)
    assert all(line.startswith("✓") and line.endswith("the rows are as their lineage says") for line in lines)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write("\n")
    (tmp_path / "test.jsonl").unlink()
    lines, whole = row_lines(run)
    assert not whole
    assert {line[0] for line in lines} == {"✗", "·"}
    assert "the rows were changed since the run began" in "".join(lines)
