"""Agents of stable-baselines3: made, trained with their weights kept on the way, and made again from weights to be
played. It knows no reward and no fitness."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Weights = dict[str, Any]
OWN = frozenset({"policy", "env", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model"})
"""Arguments of an algorithm that a design decides otherwise, or not at all."""


def new_agent(algorithm: str, settings: Mapping[str, Any], environments: Sequence[Callable[[], Any]], seed: int) -> Any:
    """An agent before its training. Raises ValueError for settings that the algorithm does not take."""
    import torch
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common import buffers
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.vec_env import DummyVecEnv

    if refused := sorted(OWN & settings.keys()):
        raise ValueError(f"train.settings: {refused[0]} is not for settings")
    torch.set_num_threads(1)  # such small networks are slower with more, and the same agent comes out everywhere
    buffers.psutil = None  # it would ask /proc how much memory is left, and the jail has none
    kind = {"ppo": PPO, "sac": SAC}[algorithm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a batch does not divide what is collected
        try:
            agent = kind("MlpPolicy", DummyVecEnv(list(environments)), seed=seed, device="cpu", **settings)
        except Exception as error:  # the boundary to another library, which is given the user's settings
            raise ValueError(f"train.settings: stable-baselines3 says: {error}") from error
    agent.set_logger(Logger(folder=None, output_formats=[]))  # its own makes an empty folder that stays
    return agent


def snapshots(agent: Any, algorithm: str, steps: int, checks: int) -> list[tuple[int, Weights]]:
    """Train an agent; gives its weights at the beginning, on the way, and after ``checks`` equal parts at the end, by
    steps. Nothing is trained where ``steps`` is 0."""
    if not steps:
        return []
    kept = [(0, _weights(agent, algorithm))]
    due = [steps * part // checks for part in range(1, checks)]

    def keep(*_: Any) -> bool:
        """While episodes are collected the weights are those of all steps before."""
        while due and due[0] <= agent.num_timesteps:
            at = due.pop(0)
            kept.append((at, _weights(agent, algorithm)))
        return True

    agent.learn(total_timesteps=steps, callback=keep)
    return [*kept, (agent.num_timesteps, _weights(agent, algorithm))]


def _acting(agent: Any, algorithm: str) -> Any:
    """What is needed to act: without the critics of SAC, which are many times larger."""
    return agent.policy if algorithm == "ppo" else agent.policy.actor


def _weights(agent: Any, algorithm: str) -> Weights:
    state = _acting(agent, algorithm).state_dict()
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}


class Player:
    """An agent that is only played: what it does is the mean of its policy."""

    def __init__(self, algorithm: str, settings: Mapping[str, Any], environment: Callable[[], Any]) -> None:
        small = {"buffer_size": 1} if algorithm == "sac" else {}
        self._agent = new_agent(algorithm, {**settings, **small}, [environment], 0)
        self._acting = _acting(self._agent, algorithm)

    def become(self, weights: Mapping[str, Any]) -> None:
        """Raises ValueError for weights that are not an agent's of this kind, or not finite."""
        import torch

        if not all(np.isfinite(value).all() for value in weights.values()):
            raise ValueError("the agent's weights are not finite: its training diverged")
        try:
            self._acting.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the weights are no agent's: {str(error)[:200]}") from error

    def act(self, seen: Any) -> Any:
        return self._agent.predict(seen, deterministic=True)[0]
