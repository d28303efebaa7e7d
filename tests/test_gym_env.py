"""Games of gymnasium, played in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from togi.envs.gym_env import GymEnv, gym_env
from togi.envs.open_env import opening
from togi.types import Message, Task

pytest.importorskip("gymnasium", reason="needs the gymnasium extra")
LAKE = {"id": "FrozenLake-v1", "make": {"is_slippery": False}, "actions": ["left", "down", "right", "up"]}
TASK = Task(id="t", prompt=(Message(role="user", content="Reach G."),), info={"seed": 3})


def said(text: str) -> Message:
    return Message(role="assistant", content=text)


def made(place: Path | None = None, **settings: Any) -> GymEnv:
    return gym_env({**LAKE, **settings}, place or Path(), 10.0)


def test_an_episode_shows_its_picture_and_pays_each_turn() -> None:
    env = made()(TASK)
    assert env.start()[0].content == "Reach G.\n[S]FFF\nFHFH\nFFFH\nHFFG"
    paid = []
    for move in ("down", "Down.", "<think>up?</think>right", "I go <action>right</action>", "down", "right"):
        replies, reward, done = env.step(said(move))
        paid.append((reward, done))
    assert paid == [(0.0, False)] * 5 + [(1.0, True)]
    assert dict(env.counts) == {"unreadable": 0, "ended": 1, "cut": 0}  # type: ignore[attr-defined]
    assert replies[0].content.endswith("[G]")
    env.close()


def test_states_are_told_apart_by_what_is_shown() -> None:
    env = made()(TASK)
    env.start()
    first = env.state_key  # type: ignore[attr-defined]
    env.step(said("down"))
    assert env.state_key != first  # type: ignore[attr-defined]
    env.step(said("up"))
    assert env.state_key.count("[") == first.count("[") == 1  # type: ignore[attr-defined]


UNREADABLE = [
    "",
    "jump",
    "left right",
    "4",
    "<action></action>",
    "down" * 1000,
    "<think>down",
    "<action>down",
    "<action>" * 20_000,
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_action_is_told_and_counted(text: str) -> None:
    env = made()(TASK)
    env.start()
    replies, reward, done = env.step(said(text))
    assert replies[0].content == "That is no action. Answer with one of: left, down, right, up"
    assert (reward, done, env.counts["unreadable"]) == (0.0, False, 1)  # type: ignore[attr-defined]


def test_turns_run_out() -> None:
    env = made(turns=2)(TASK)
    env.start()
    assert env.step(said("left"))[2] is False
    assert env.step(said("what?"))[2] is True
    assert env.counts["cut"] == 1  # type: ignore[attr-defined]


def test_all_attempts_at_a_task_play_the_same_game() -> None:
    env = gym_env({"id": "Blackjack-v1"}, Path(), 10.0)
    starts = [[env(task).start()[0].content for _ in range(3)] for task in (TASK, Task(id="u", prompt=TASK.prompt))]
    assert all(len(set(each)) == 1 for each in starts)


def test_numbers_are_actions_too() -> None:
    env = gym_env({"id": "MountainCarContinuous-v0"}, Path(), 10.0)(TASK)
    shown = json.loads(env.start()[0].content.partition("\n")[2])
    assert len(shown) == 2
    for text, told in (("[0.5]", False), ("0.5", False), ("7", True), ("fast", True), ("[1, 2]", True), ("[[", True)):
        replies, _, _ = env.step(said(text))
        assert ("That is no action" in replies[0].content) is told, text


def test_a_function_of_ones_own_tells_what_is_observed(tmp_path: Path) -> None:
    (tmp_path / "lake.py").write_text("def tell(observed, info):\n    return f'You are on field {observed}.'\n")
    made_of = made(tmp_path, tell="lake.py:tell")
    assert opening(made_of, TASK)[1][0].content == "Reach G.\nYou are on field 0."
    assert made_of.files == (tmp_path / "lake.py",)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": "FrozenLaek-v1"}, "gymnasium cannot make 'FrozenLaek-v1'"),
    ({"id": 3}, "it needs the name"),
    ({"id": "Taxi-v3"}, "gymnasium cannot make 'Taxi-v3'"),
    ({"make": {"slippery": True}}, "gymnasium cannot make"),
    ({"actions": ["left", "right"]}, "and actions names 2"),
    ({"actions": "left"}, "wanted their names in order"),
    ({"turns": 0}, "turns = 0"),
    ({"steps": 3}, "'steps' is no setting of gymnasium's: there are id, make, actions, tell, turns"),
    ({"tell": "nowhere.py:tell"}, "there is no file"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as error:
        made(**settings)
    assert why in str(error.value)
