"""docs/rewards.md has a row for every reward, and what the guides write can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from togi.rewards import REWARDS, parse_reward
from togi.rewards.grade_constraints import CHECKS
from togi.rewards.verify.constraints import _problem

DOCS = Path(__file__).parent.parent / "docs"
WRITTEN = [
    match[2]
    for guide in ("rewards.md", "verifiers.md")
    for match in re.finditer(r"^score = ([\"'])(.*)\1$", (DOCS / guide).read_text(), re.MULTILINE)
]


def test_every_reward_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)\(", (DOCS / "rewards.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(REWARDS)


@pytest.mark.parametrize("expression", WRITTEN)
def test_expressions_can_be_read(expression: str, tmp_path: Path) -> None:
    pytest.importorskip("pint")
    pytest.importorskip("jsonschema")
    (tmp_path / "person.json").write_text("{}")
    (tmp_path / "progress.py").write_text("def known(task, completion):\n    return 0.0\n")
    parse_reward(expression, tmp_path)


def test_every_kind_of_constraint_has_a_row_and_the_example_is_one() -> None:
    text = (DOCS / "verifiers.md").read_text()
    table = text.partition("| kind | keys |")[2]
    rows = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(CHECKS)
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert [_problem(constraint) for constraint in json.loads(example)["constraints"]] == ["", "", ""]
