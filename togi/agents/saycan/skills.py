"""The skills of a world: one policy for all of them, told which one is wanted, and its value function. Both are learned
by PPO of stable-baselines3 from sparse success: 1 where a skill succeeds, else 0. It knows no language model.

A skill that has not succeeded after ``horizon`` actions has failed, and how much of them is used up is observed, so
that the value at the beginning of a skill is its chance, discounted by how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from togi.agents.saycan.world import Vector, World
from togi.extras import lacking

Array = NDArray[np.float64]
SETTINGS = {
    "n_steps": 256,
    "batch_size": 512,
    "n_epochs": 5,
    "learning_rate": 1e-3,
    "gamma": 0.98,
    "ent_coef": 0.01,
}
"""Of PPO: for small networks and many short episodes. They were not tuned."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How skills are trained: for so many actions in all, in so many worlds at once."""

    steps: int
    worlds: int
    horizon: int
    seed: int


def check_extra() -> None:
    """Raise ValueError where a library is not installed."""
    for library in ("gymnasium", "stable_baselines3"):
        if find_spec(library) is None:
            raise ValueError(lacking("SayCan", "saycan"))


class Skills:
    """A policy and its values, as they are now."""

    def __init__(self, policy: Any, horizon: int) -> None:
        self._policy, self._horizon = policy, horizon

    def values(self, world: World) -> Array:
        """What each skill promises in the world as it is: 0 to 1."""
        import torch

        seen = np.stack([_seen(world, skill, 0.0) for skill in range(len(world.skills))])
        with torch.no_grad():
            values: Array = self._policy.predict_values(torch.from_numpy(seen)).squeeze(1).double().numpy()
        return np.clip(values, 0.0, 1.0)

    def do(self, world: World, skill: int, rng: np.random.Generator) -> tuple[bool, int]:
        """Do a skill until it succeeds or its time is over; says whether it succeeded, and after how many actions."""
        import torch

        world.begin(skill)
        for used in range(self._horizon):
            seen = torch.from_numpy(_seen(world, skill, used / self._horizon))[None]
            with torch.no_grad():
                chances = self._policy.get_distribution(seen).distribution.probs[0].double().numpy()
            if world.act(int(rng.choice(len(chances), p=chances / chances.sum()))):
                return True, used + 1
        return False, self._horizon

    def save(self, path: Path) -> None:
        """Write the weights, and nothing that a reader would run."""
        from safetensors.torch import save_file

        save_file({name: weight.contiguous() for name, weight in self._policy.state_dict().items()}, path)


def train_skills(make: Callable[[], World], how: Training, tell: Callable[[str], None]) -> Skills:
    """Skills learned in worlds of their own, each in any state, for any skill."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)  # such small networks are slower with more, and the same skills come out everywhere
    worlds = [_environment(make, how, number) for number in range(how.worlds)]
    agent = PPO("MlpPolicy", DummyVecEnv(worlds), seed=how.seed, device="cpu", **SETTINGS)
    agent.set_logger(Logger(folder=None, output_formats=[]))  # its own makes an empty folder that stays
    due = [how.steps * part // 8 for part in range(1, 8)]

    def look(*_: Any) -> bool:
        if due and agent.num_timesteps >= due[0] and agent.ep_info_buffer:
            won = float(np.mean([episode["r"] for episode in agent.ep_info_buffer]))
            tell(f"{agent.num_timesteps:,} of {how.steps:,} actions: {won:.0%} of skills succeed, possible or not")
            due.pop(0)
        return True

    agent.learn(total_timesteps=how.steps, callback=look)
    return Skills(agent.policy, how.horizon)


def load_skills(path: Path, make: Callable[[], World], horizon: int) -> Skills:
    """The skills in a file. Raises ValueError for weights that do not fit the world."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from stable_baselines3.common.policies import ActorCriticPolicy

    practice = _environment(make, Training(steps=0, worlds=1, horizon=horizon, seed=0), 0)()
    policy = ActorCriticPolicy(practice.observation_space, practice.action_space, lambda _: 0.0)
    try:
        policy.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: no skills of this world ({str(error)[:200]}): choose another folder") from error
    return Skills(policy, horizon)


def _seen(world: World, skill: int, used: float) -> Vector:
    return np.append(world.observe(skill), used).astype(np.float32)


def _environment(make: Callable[[], World], how: Training, number: int) -> Callable[[], Any]:
    """One of the worlds that skills are trained in, as stable-baselines3 wants it."""
    import gymnasium
    from gymnasium.spaces import Box, Discrete
    from stable_baselines3.common.monitor import Monitor

    class Practice(gymnasium.Env[Vector, int]):
        def __init__(self) -> None:
            self.world, self.skill, self.used = make(), 0, 0
            self.chance = np.random.default_rng((how.seed, number))
            self.world.start(0)
            length = len(_seen(self.world, 0, 0.0))
            self.observation_space = Box(-np.inf, np.inf, (length,), np.float32)
            self.action_space = Discrete(self.world.actions)  # type: ignore[assignment]

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Vector, dict[str, Any]]:
            self.world.start(int(self.chance.integers(2**31)))
            self.skill, self.used = int(self.chance.integers(len(self.world.skills))), 0
            self.world.begin(self.skill)
            return _seen(self.world, self.skill, 0.0), {}

        def step(self, action: int) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
            won = self.world.act(int(action))
            self.used += 1
            over = won or self.used >= how.horizon
            return _seen(self.world, self.skill, self.used / how.horizon), float(won), over, False, {}

    return lambda: Monitor(Practice())
