"""What Voyager makes of answers, and its library of skills."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from voyager_writer import embed

from togi.agents.voyager.asked import FIELDS, PROMPTS, goal_of, skill_question, verdict_of
from togi.agents.voyager.library import Library, meanings, read_skills
from togi.agents.voyager.tech_tree import TechTree
from togi.agents.voyager.world import Goal
from togi.askers.asker import Reply
from togi.writer import read_prompts

ITEMS = ("wood", "iron", "iron_ore", "iron_pickaxe", "plank", "glass")


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("Task: get 2 more wood", Goal(item="wood", count=2)),
        ("**Task:** Get 3 more planks.", Goal(item="plank", count=3)),
        ("task - craft an iron pickaxe", Goal(item="iron_pickaxe")),
        ("Task: get 1 more iron_ore", Goal(item="iron_ore")),
        ("Task: mine iron ore", Goal(item="iron_ore")),
        ("There is no wood yet.\nTask: get 2 more glass", Goal(item="glass", count=2)),
        ("I would get 2 more wood first.", Goal(item="wood", count=2)),
        ("Task: get 900 more wood", Goal(item="wood", count=4)),
        ("Task: get 0 more wood", Goal(item="wood", count=1)),
        ("Task: get ٣ more wood", Goal(item="wood", count=3)),
        ("Task: get ² more wood", Goal(item="wood", count=1)),
        ("Task: find happiness", None),
        ("Task:\nget 2 more wood", Goal(item="wood", count=2)),
        ("\n" * 50_000, None),
        ("", None),
    ],
)
def test_a_plan_names_an_item(text: str, goal: Goal | None) -> None:
    assert goal_of(Reply(text=text), ITEMS, most=4) == goal


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"success": true, "critique": "fine"}', (True, "fine")),
        ('```json\n{"reasoning": "x", "success": false, "critique": "gather more"}\n```', (False, "gather more")),
        ('{"success": "yes"}', (None, "")),
        ('{"success": true, "critique": 3}', (True, "3")),
        ('{"success": true, "critique": null}', (True, "")),
        ("success: False, since nothing came", (False, "")),
        ('{"success": true, "critique": "it "works"', (True, "")),
        ("[" * 100_000, (None, "")),
        ("{" * 10_000 + "}" * 10_000, (None, "")),
        ("Yes.", (None, "")),
        ("", (None, "")),
    ],
)
def test_a_verdict_is_read_or_not(text: str, verdict: tuple[bool | None, str]) -> None:
    assert verdict_of(Reply(text=text)) == verdict


def library() -> Library:
    found = Library(embed)
    for name, about in (("get_wood", "brings wood"), ("get_rope", "makes a rope"), ("get_stone", "mines stone")):
        found.add(
            name=name, source=f"def {name}(): 1\n", description=about, goal=about, called=(), number=len(found.skills)
        )
    return found


def test_a_name_that_is_taken_gets_a_version() -> None:
    found = library()
    second = found.add(
        name="get_wood",
        source="def get_wood(): 2\n",
        description="more",
        goal="",
        called=["get_rope", "craft"],
        number=9,
    )
    assert (second.label, second.called) == ("get_wood.v2", ("get_rope",))
    assert [each.label for each in found.skills] == ["get_wood.v1", "get_rope.v1", "get_stone.v1", "get_wood.v2"]
    assert "def get_wood(): 2\n" in found.sources
    assert "def get_wood(): 1\n" not in found.sources
    again = found.add(name="get_wood", source="def get_wood(): 2\n", description="", goal="", called=(), number=10)
    assert again is second


def test_the_nearest_are_found() -> None:
    assert library().nearest("makes rope", 2)[0].name == "get_rope"
    assert Library(embed).nearest("anything", 5) == []


def test_meanings_are_found_without_a_network() -> None:
    pytest.importorskip("wordllama")
    found = Library(meanings, library().skills)
    assert found.nearest("collect timber from trees", 1)[0].name == "get_wood"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"more": 1}, "more"),
        ({"name": "../../b"}, "does not define"),
        ({"name": ["a"]}, "does not define"),
        ({"version": "1"}, "version is no int"),
        ({"number": None}, "number is no int"),
        ({"description": 3}, "description is no str"),
        ({"called": 3}, "TypeError"),
        ({"source": 3}, "TypeError"),
        ({"source": "def b(): 1\n"}, "does not define"),
        ({"source": "def a(x=(b := 1)): 1\n"}, "a default is a plain"),
        ({"source": "print(1)\n"}, "no function"),
    ],
)
def test_a_skill_of_a_file_is_one_that_could_be_kept(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    row = dataclasses.asdict(library().skills[0]) | {"name": "a", "source": "def a():\n    1\n"} | changes
    (tmp_path / "a.v1.json").write_text(json.dumps(row))
    if not said:
        assert [each.name for each in read_skills(tmp_path.glob("*.json"))] == ["a"]
        return
    with pytest.raises(ValueError, match=rf"a\.v1\.json: no skill.*{said}"):
        read_skills(tmp_path.glob("*.json"))


def test_the_writer_is_told_what_is_there_and_no_recipe_but_the_one_it_needs() -> None:
    prompts = read_prompts(None, PROMPTS, FIELDS)
    world = TechTree(0)
    system, question = skill_question(prompts, world, Goal(item="rope", count=2), library().skills[:1], None)
    assert "gather(item): Try once" in system.content
    assert question.content.startswith("There are now: nothing.\nTask: get 2 more rope. rope is crafted from")
    assert "# brings wood\ndef get_wood(): 1" in question.content
    assert "What happened" not in question.content
    assert "telescope" not in system.content + question.content
    last = {"program": "def a(): 1", "happened": "It failed.", "critique": "No."}
    _, question = skill_question(prompts, world, Goal(item="rope"), [], last)
    assert "What happened: It failed. No.\n\nWrite one" in question.content
    assert "You can call" not in question.content
