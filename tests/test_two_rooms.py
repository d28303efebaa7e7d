"""The world of two rooms: that its instructions can be carried out, that its oracle knows what can be done, and that no
instruction says the words of a skill."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from togi.agents.saycan.scores import check_template
from togi.agents.saycan.world import Instruction, check_world
from togi.find_function import imported

pytest.importorskip("minigrid")
RECIPES = Path(__file__).parent.parent / "recipes"
rooms: ModuleType = sys.modules[imported("two_rooms.py:TwoRooms", RECIPES).__module__]
INSTRUCTIONS: tuple[Instruction, ...] = rooms.TwoRooms.instructions


def plan(setting: dict[str, Any]) -> list[str]:
    """A right plan, from what an instruction's setting says."""
    goal, here = setting["goal"], [*setting.get("west", []), *setting.get("east", [])]
    if goal.get("nothing"):
        return []
    skills = []
    locked = setting["door"] == "locked" and (goal.get("door") == "open" or goal.get("room") or setting.get("east"))
    if locked:
        skills += ["pick up the yellow key", "open the door"]
    if goal.get("door") == "shut":
        skills.append("close the door")
    if goal.get("holding"):
        thing = next(thing for thing in here if thing in goal["holding"])
        skills += ["put down what you are holding"] if locked else []
        skills.append(f"pick up the {thing}")
    if "facing" in goal:
        skills.append(f"go to the {next(thing for thing in here if thing in goal['facing'])}")
    if "room" in goal:
        skills.append(f"go to the {goal['room']} room")
    return skills


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda each: each.text[:30])
def test_a_right_plan_carries_an_instruction_out(instruction: Instruction) -> None:
    world, wanted = rooms.TwoRooms(), plan(instruction.setting)
    for seed in range(5):
        world.start(seed, instruction)
        assert world.solved([]) == (not wanted)
        for skill in wanted:
            number = world.skills.index(skill)
            assert world.possible(number), skill
            world.begin(number)
            world.carry_out(number)
        assert world.solved(wanted)
        assert instruction.family != "impossible" or not world.solved(["open the door"])


def test_instructions_are_of_many_kinds_and_say_no_skill() -> None:
    families = Counter(each.family for each in INSTRUCTIONS)
    assert len(INSTRUCTIONS) >= 40
    assert min(families.values()) >= 6
    assert not [each for each in INSTRUCTIONS for skill in rooms.TwoRooms.skills if skill in each.text.lower()]


def test_what_cannot_be_done_is_never_done_and_the_rest_can_be() -> None:
    """Whoever acts at random succeeds only where the oracle says that it is possible."""
    world, chance = check_world(rooms.TwoRooms(), "TwoRooms"), np.random.default_rng(0)
    succeeded = 0
    for seed in range(150):
        world.start(seed)
        skill = int(chance.integers(len(world.skills)))
        possible = world.possible(skill)
        world.begin(skill)
        for _ in range(40):
            if world.act(int(chance.integers(world.actions))):
                assert possible, world.skills[skill]
                succeeded += 1
                break
    assert succeeded > 3


@pytest.mark.parametrize("seed", range(8))
def test_what_is_possible_succeeds_at_once_when_carried_out(seed: int) -> None:
    world, done = rooms.TwoRooms(), 0
    for skill in range(len(world.skills)):
        world.start(seed)
        seen = [world.observe(other) for other in range(len(world.skills))]
        if world.possible(skill):
            world.begin(skill)
            world.carry_out(skill)
            assert world._succeeded(), world.skills[skill]
            done += 1
        else:
            world.carry_out(skill)
            assert np.array_equal(seen, [world.observe(other) for other in range(len(world.skills))])
    assert done >= 3


def test_the_prompt_can_be_asked() -> None:
    check_template((RECIPES / "two_rooms.txt").read_text(encoding="utf-8").removesuffix("\n"), "two_rooms.txt")
