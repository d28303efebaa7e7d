"""docs/rewards.md has a row for every reward; docs/verifiers.md one for every kind of constraint."""

from __future__ import annotations

import json
import re
from pathlib import Path

from togi.graders.constraints import CHECKS
from togi.rewards import REWARDS
from togi.rewards.verifiers.constraints import _problem

DOCS = Path(__file__).parent.parent / "docs"


def test_every_reward_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)\(", (DOCS / "rewards.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(REWARDS)


def test_every_kind_of_constraint_has_a_row_and_the_example_is_one() -> None:
    text = (DOCS / "verifiers.md").read_text()
    table = text.partition("| kind | keys |")[2]
    rows = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(CHECKS)
    example = re.findall(r"```json\n(.*?)```", text, re.DOTALL)[-1]
    assert [_problem(constraint) for constraint in json.loads(example)["constraints"]] == ["", "", ""]
