"""A world of a line: an agent stands at 0 and is to reach 1 within 20 steps. Its own reward pays nothing."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from togi.reward_design.training.episodes import Episode


class Line(gymnasium.Env[Any, Any]):
    """Go along a line.

    ## Observation Space
    One number, the place on the line.

    ## Action Space
    One number, the way to go.
    """

    def __init__(self) -> None:
        self.observation_space, self.action_space = Box(-5, 5, (1,), np.float32), Box(-1, 1, (1,), np.float32)
        self.place = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-0.1, 0.1))
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += 0.1 * float(np.clip(action[0], -1, 1))
        return self._seen(), 0.0, self.place >= 1, False, {"place": self.place, "secret": 1.0}

    def _seen(self) -> Any:
        return np.array([self.place], np.float32)


def make() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Line(), 20)


def endless() -> gymnasium.Env[Any, Any]:
    return Line()


def fitness(episode: Episode) -> float:
    return float(episode.terminated)


def wild(episode: Episode) -> float:
    return 2.0
