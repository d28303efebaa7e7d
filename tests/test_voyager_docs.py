"""docs/voyager.md lists every key of a Voyager file, and its world and the one that ships are read and played."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_docs import folder, write_files  # noqa: F401
from test_recipe_docs import rows

from togi.agents.voyager import library
from togi.agents.voyager.play_skill import Limits, play
from togi.agents.voyager.read_voyager import read_voyager
from togi.agents.voyager.schema import VoyagerFile
from togi.agents.voyager.skill_code import code_of
from togi.agents.voyager.skill_writing import SkillWriting
from togi.agents.voyager.tech_tree import TechTree
from togi.askers.asker import Reply
from togi.types import Message, Task

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "voyager.md").read_text(encoding="utf-8")
TABLES = {name: each for name, each in VoyagerFile.model_json_schema()["$defs"].items() if "properties" in each}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented(table: str) -> None:
    expected = "\n".join(rows(table, TABLES))
    assert expected in DOCS, "docs/voyager.md should hold these lines:\n" + expected


@pytest.mark.usefixtures("folder")
def test_the_world_of_ones_own_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic_monty")
    monkeypatch.setattr(library, "find_spec", lambda name: object())
    write_files("docs/voyager.md", Path())
    world = read_voyager(Path("bakery.toml")).make(3)
    code = """```python
def get_bread():
    for item, count in (("flour", 2), ("water", 1)):
        while count:
            count -= fetch(item)
    knead()
    heat()
    bake()
```"""
    assert play(world, [code_of(Reply(text=code), world.calls).source], "get_bread", Limits()).end == "ok"
    assert world.held()["bread"] == 1


def test_what_ships_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic_monty")
    monkeypatch.setattr(library, "find_spec", lambda name: object())
    assert read_voyager(ROOT / "recipes" / "voyager.toml").file.transfer.goals
    assert TechTree.calls == ("gather", "craft", "count", "needs")


def test_worked_functions_have_the_right_form_and_bring_too_little() -> None:
    """The recipe's examples leave something to be learned from reward."""
    pytest.importorskip("pydantic_monty")
    import random

    sys.path.insert(0, str(ROOT / "recipes"))
    try:
        from skills import model, problem
    finally:
        sys.path.remove(str(ROOT / "recipes"))
    rng, paid = random.Random(0), list[float]()
    _, tokenizer = model()
    for number in range(40):
        row = problem(rng)
        info = {key: row[key] for key in ("goal", "seed", "before")}
        task = Task(id=str(number), prompt=(Message(role="user", content=row["prompt"]),), info=info)
        env = SkillWriting(task)
        paid.append(env.step(Message(role="assistant", content=row["completion"]))[1])
        assert env.counts["unreadable"] == 0
        assert tokenizer.decode(tokenizer(row["completion"])["input_ids"]) == row["completion"]
    assert 0.3 < sum(paid) / len(paid) < 0.9
