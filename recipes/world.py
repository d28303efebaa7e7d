"""A small world of several turns: the model walks over a grid to a goal, a step a turn. The task of the world recipe.

``start`` makes a row: the goal and where the walk begins. ``walk`` makes a conversation in which somebody walks at
random, which teaches the form of a turn and nothing of the way. ``World`` answers the model.
"""

from __future__ import annotations

import random
from typing import Any

SIDE = 4
TURNS = 8
LOOKS = 0.3  # how often who walks at random looks where the goal is
STEPS = {"n": (-1, 0), "e": (0, 1), "s": (1, 0), "w": (0, -1)}
Place = tuple[int, int]


class World:
    """Says ``goal:place`` at each turn; whoever reaches the goal within ``turns`` turns is paid 1. What is no step, or
    leads off the grid, changes nothing."""

    def __init__(self, task: Any, turns: int = TURNS) -> None:
        self.goal, self.place = (place_of(text) for text in task.prompt[-1].content.split(":"))
        self.turns = turns
        self.counts = {"steps": 0}
        self.honest = shortest(self.place, self.goal)  # for the red team

    def start(self) -> str:
        return said(self.goal, self.place)

    def step(self, message: Any) -> tuple[str, float, bool]:
        self.place = moved(self.place, message.content)
        self.counts["steps"] += 1
        if self.place == self.goal:
            return "", 1.0, True
        return said(self.goal, self.place), 0.0, self.counts["steps"] == self.turns


def start(rng: random.Random) -> dict[str, str]:
    """A goal and another place."""
    goal, place = rng.sample([(row, column) for row in range(SIDE) for column in range(SIDE)], 2)
    return {"prompt": said(goal, place)}


def walk(rng: random.Random) -> dict[str, Any]:
    """A whole attempt of somebody who mostly does not look where the goal is."""
    env_says = start(rng)["prompt"]
    goal, place = (place_of(text) for text in env_says.split(":"))
    messages: list[dict[str, str]] = []
    while place != goal and len(messages) < 2 * TURNS:
        nearer = [step for step in STEPS if distance(moved(place, step), goal) < distance(place, goal)]
        step = rng.choice(nearer if rng.random() < LOOKS else list(STEPS))
        messages += [{"role": "user", "content": said(goal, place)}, {"role": "assistant", "content": step}]
        place = moved(place, step)
    return {"messages": messages}


def shortest(place: Place, goal: Place) -> list[str]:
    """The steps of a shortest way."""
    down, right = goal[0] - place[0], goal[1] - place[1]
    return ["s" if down > 0 else "n"] * abs(down) + ["e" if right > 0 else "w"] * abs(right)


def moved(place: Place, step: str) -> Place:
    down, right = STEPS.get(step, (0, 0))
    row, column = place[0] + down, place[1] + right
    return (row, column) if 0 <= row < SIDE and 0 <= column < SIDE else place


def distance(place: Place, goal: Place) -> int:
    return abs(place[0] - goal[0]) + abs(place[1] - goal[1])


def said(goal: Place, place: Place) -> str:
    return "{}{}:{}{}".format(*goal, *place)


def place_of(text: str) -> Place:
    return int(text[0]), int(text[1])
