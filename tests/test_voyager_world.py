"""Worlds of Voyager, what is a skill, and what a skill can do: act in its world and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from togi.agents.voyager.play_skill import Limits, again, ended_told, play
from togi.agents.voyager.skill_code import CodeFault, code_of
from togi.agents.voyager.tech_tree import THINGS, Made, Raw, TechTree
from togi.agents.voyager.world import Goal, calls_told, check_world, reached
from togi.askers.asker import Reply

CALLS = TechTree.calls


def bring(world: TechTree, item: str, more: int = 1) -> None:
    """Get things as somebody does who knows the world."""
    thing = THINGS[item]
    beside = thing.tool if isinstance(thing, Raw) else thing.station
    if beside and not world.count(beside):
        bring(world, beside)
    for _ in range(more):
        if isinstance(thing, Made):
            needs = {part: need for part, need in world.needs(item).items() if part != beside}
            while lacking := {
                part: need - world.count(part) for part, need in needs.items() if world.count(part) < need
            }:
                for part, need in lacking.items():
                    bring(world, part, need)
            world.craft(item)
        else:
            while not world.gather(item):
                pass


@pytest.mark.parametrize("seed", [0, 1])
def test_everything_can_be_had(seed: int) -> None:
    world = TechTree(seed)
    for item in THINGS:
        before = world.held()
        bring(world, item)
        assert reached(Goal(item=item), before, {**before, item: before.get(item, 0) + 1})
        assert world.count(item) >= 1
    assert len(THINGS) >= 30
    assert set(world.items.values()) == {0, 1, 2, 3, 4, 5}


def test_parts_are_of_no_higher_tier() -> None:
    for name, thing in THINGS.items():
        beside = thing.tool if isinstance(thing, Raw) else thing.station
        parts = thing.parts if isinstance(thing, Made) else ()
        for part in (*parts, *([beside] if beside else [])):
            assert THINGS[part].tier <= thing.tier, name


def test_a_seed_and_calls_are_a_world() -> None:
    one, same, other = TechTree(1), TechTree(1), TechTree(2)
    tried = [[world.gather("wood") for _ in range(40)] for world in (one, same, other)]
    assert tried[0] == tried[1] != tried[2]
    assert 0 < sum(tried[0]) < 40
    assert any(TechTree(1).needs(item) != TechTree(2).needs(item) for item in THINGS)


@pytest.mark.parametrize(
    ("call", "item", "said"),
    [
        ("gather", "gold", "gold is not gathered: gold is crafted from"),
        ("craft", "wood", "wood is not crafted: wood is gathered."),
        ("gather", "stone", "there is no wooden_pickaxe, which this needs"),
        ("craft", "plank", "wood more needed"),
        ("craft", "ladder", "1 workbench"),
        ("count", "unobtainium", "there is no item 'unobtainium'"),
        ("needs", 3, "there is no item 3"),
        ("count", ["wood"], "there is no item"),
    ],
)
def test_mistakes_are_told(call: str, item: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        getattr(TechTree(0), call)(item)


def test_a_goal_is_more_than_there_was() -> None:
    goal = Goal(item="wood", count=2)
    assert not reached(goal, {"wood": 5}, {"wood": 6})
    assert reached(goal, {"wood": 5}, {"wood": 7})
    assert reached(goal, {}, {"wood": 2})


class Pond:
    """A world, to be spoilt."""

    about = "A pond."
    calls: Any = ("fish",)
    items: Any = MappingProxyType({"trout": 0})

    def held(self) -> Any:
        return {"trout": 1}

    def hint(self, item: str) -> str:
        return ""

    def fish(self, times: int) -> int:
        """Fish so many times."""
        return times


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"about": None}, "a world has about"),
        ({"calls": "fish"}, "calls are names of methods"),
        ({"calls": ()}, "calls are names of methods"),
        ({"calls": ("swim",)}, "has a method swim, and this has none"),
        ({"items": ("trout",)}, "a world has items"),
        ({"items": {}}, "items are texts"),
        ({"items": {"trout": 0.5}}, "items are texts"),
        ({"held": lambda self: {"trout": 0.5}}, "whole numbers"),
        ({"held": lambda self: {"pike": 1}}, "pike, which is not in items"),
        ({"hint": None}, "has a method hint"),
        ({"fish": lambda self: 1}, "fish has no docstring"),
    ],
)
def test_what_is_no_world_is_refused(changes: Mapping[str, Any], said: str) -> None:
    check_world(Pond(), "Pond")
    with pytest.raises(ValueError, match=re.escape(said)):
        check_world(type("Spoilt", (Pond,), dict(changes))(), "Spoilt")


def test_calls_are_told_by_their_docstrings() -> None:
    assert calls_told(Pond()) == "fish(times): Fish so many times."  # type: ignore[arg-type]


def fenced(code: str) -> Reply:
    return Reply(text=f"Here it is:\n```python\n{code}\n```\nIt works.")


@pytest.mark.parametrize(
    ("code", "name", "inside"),
    [
        ("def a():\n    gather('wood')", "a", "gather('wood')"),
        ("def a():\n    # why\n    gather('wood')", "a", "# why"),
        ("def a(item='wood'):\n    gather(item)", "a", "item='wood'"),
        ("def a(*, n=-1, m=None):\n    gather('wood')", "a", "n=-1"),
        ("def one():\n    pass\ndef two():\n    one()", "two", "    def one():"),
        ("def help(x):\n    return x\ndef a():\n    help(1)", "a", "    def help(x):"),
        ("import math\nN = 3\ndef a():\n    return math.pi * N", "a", "    N = 3"),
        ("def a():\n    gather('wood')\na()\nprint(a())", "a", "gather"),
        ("x = gather('wood')\ndef a():\n    return 1", "a", "return 1"),
    ],
)
def test_a_skill_is_one_function(code: str, name: str, inside: str) -> None:
    found = code_of(fenced(code), CALLS)
    assert found.name == name
    assert inside in found.source
    assert found.source.startswith(f"def {name}(")
    assert "\na()" not in found.source
    assert "x = gather" not in found.source


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(text=""), "no code block"),
        (Reply(text="I cannot.", cut=True), "no code block with a function before it was cut off"),
        (Reply(text="```\nprint(1)\n```"), "no code block with a function"),
        (Reply(status="error", note="down"), "no answer: down"),
        (fenced("def a(x):\n    pass"), "no function without arguments"),
        (fenced("def a(*, x):\n    pass"), "no function without arguments"),
        (fenced("def gather():\n    pass"), "cannot be called gather"),
        (fenced("def range():\n    pass"), "cannot be called range"),
        (fenced("def print():\n    pass"), "cannot be called print"),
        (fenced("def a(x=(get_wood := 5)):\n    pass"), "a default is a plain number or text"),
        (fenced("def a(*, x=sum(range(10**8))):\n    pass"), "a default is a plain number or text"),
        (fenced("def a(x=[0] * 10**7):\n    pass"), "a default is a plain number or text"),
        (fenced("def gather(x):\n    pass\ndef a():\n    pass"), "gather is a call of the world"),
        (fenced("def a(:\n    pass"), "line 1"),
        (fenced("@staticmethod\ndef a():\n    pass"), "no decorators"),
        (fenced("async def a():\n    pass"), "no function without arguments"),
        (fenced(f"def {'a' * 61}():\n    pass"), "too long"),
        (fenced(f"def {chr(0x20000) * 16}():\n    pass"), "too long"),
        (fenced("def a():\n    return " + "(" * 5000 + ")" * 5000), "line 2"),
        (fenced("def a():\n    pass\n" + "#" * 20_000), "characters: at most"),
        (fenced("def a():\n    return '\0'"), "null bytes"),
    ],
)
def test_what_is_no_skill_is_told(reply: Reply, said: str) -> None:
    with pytest.raises(CodeFault, match=re.escape(said)):
        code_of(reply, CALLS)


def test_the_last_block_counts_also_when_it_is_cut_off() -> None:
    assert code_of(Reply(text="```\ndef a():\n    pass\n```\n```\ndef b():\n    pass\n"), CALLS).name == "b"
    assert code_of(Reply(text="def a():\n    craft(b())"), CALLS).called == ("b", "craft")


@pytest.mark.parametrize(
    ("code", "end", "said"),
    [
        ("return count('wood')", "ok", ""),
        ("gather(item='wood')", "ok", ""),
        ("x = [gather('wood') for _ in range(5)]\n    print(sum(x) >= 0)", "ok", ""),
        ("return [float('nan')]", "ok", ""),
        ("while True:\n        pass", "time", "loops for ever"),
        ("import time\n    time.sleep(100)", "time", "stopped"),
        ("while True:\n        gather('wood')", "calls", "after 50 calls"),
        (
            "while True:\n        try:\n            gather('wood')\n        except Exception:\n            pass",
            "calls",
            "50",
        ),
        ("x = 'x'\n    while True:\n        x += x", "memory", "memory"),
        ("a()", "error", "RecursionError"),
        ("craft('plank')", "error", "ValueError: craft plank"),
        ("gather()", "error", "missing a required argument"),
        ("gather('wood', 5)", "error", "too many positional"),
        ("gather(print)", "error", "takes texts and numbers"),
        ("gather('w' * 5000)", "error", "at most 2000 characters"),
        ("open('/etc/passwd').read()", "error", "Error"),
        ("import os\n    os.listdir('/')", "error", "Error"),
        ("import subprocess\n    subprocess.run('ls')", "error", "Error"),
        ("__import__('os').system('ls')", "error", "Error"),
        ("gather.__self__._held['wood'] = 9", "error", "AttributeError"),
        ("count.__globals__", "error", "AttributeError"),
        ("raise SystemExit", "error", "SystemExit"),
        ("nothing_like_this()", "error", "NameError"),
    ],
)
def test_a_skill_acts_and_ends(code: str, end: str, said: str) -> None:
    pytest.importorskip("pydantic_monty")
    world, limits = TechTree(0), Limits(calls=50, seconds=0.3)
    played = play(world, [f"def a():\n    {code}\n"], "a", limits)
    assert played.end == end
    assert said in ended_told(played, limits)
    assert len(played.calls) <= 50
    same = TechTree(0)
    again(same, played.calls)
    assert same.held() == world.held()
    assert set(world.held()) <= set(played.seen)


@pytest.mark.parametrize("name", ["__setattr__", "__init__", "held", "_chance", ""])
def test_only_calls_of_the_world_are_made_once_more(name: str) -> None:
    world = TechTree(0)
    with pytest.raises(ValueError, match="is no call of this world: it has gather, craft"):
        again(world, [("count", ("wood",)), (name, ("_held", {"diamond": 9}))])
    assert world.held() == {}


def test_what_it_says_counts_for_nothing_and_is_short() -> None:
    pytest.importorskip("pydantic_monty")
    world = TechTree(0)
    lying = "    global count\n    count = lambda item: 99\n    print('9' * 10**5)\n    return {'wood': count('wood')}"
    played = play(world, [f"def a():\n{lying}\n"], "a", Limits())
    assert (played.end, len(played.printed)) == ("ok", 2000)
    assert world.held() == {}


def test_a_skill_calls_another() -> None:
    pytest.importorskip("pydantic_monty")
    world = TechTree(0)
    sources = [
        "def wood():\n    while count('wood') < 3:\n        gather('wood')\n",
        "def plank():\n    wood()\n    craft('plank')\n",
    ]
    assert play(world, sources, "plank", Limits()).end == "ok"
    assert world.count("plank") == 1
