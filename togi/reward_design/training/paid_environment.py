"""Environments whose steps are paid by something else than themselves, for agents that train in the jail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from togi.reward_design.programs.reward_program import RewardProgram
from togi.reward_design.training.episodes import Episode, told


class Payer(Protocol):
    """What pays the steps of one environment, one after the other."""

    def began(self, first: Any) -> None: ...

    def pay(self, action: Any, seen: Any, own: float, info: Mapping[str, Any], ended: bool, cut: bool) -> float: ...


def paid_by(payer: Payer, environment: Any) -> Any:
    """The environment, with its steps paid by ``payer``."""
    import gymnasium

    class Paid(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            first, info = self.env.reset(**options)
            payer.began(first)
            return first, info

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            seen, own, terminated, truncated, info = self.env.step(action)
            paid = payer.pay(action, seen, float(own), info, bool(terminated), bool(truncated))
            return seen, paid, terminated, truncated, info

    return Paid(environment)


class ByProgram:
    """Paid by a program after every step."""

    def __init__(self, program: RewardProgram, info: tuple[str, ...]) -> None:
        self._program, self._info = program, info
        self._seen: Any = None

    def began(self, first: Any) -> None:
        self._seen = np.array(first)

    def pay(self, action: Any, seen: Any, own: float, info: Mapping[str, Any], ended: bool, cut: bool) -> float:
        before, self._seen = self._seen, np.array(seen)
        return self._program(before, action, self._seen, told(info, self._info))[0]


class AtTheEnd:
    """Paid the fitness of an episode at its last step, and nothing before."""

    def __init__(self, fitness: Callable[[Episode], float]) -> None:
        self._fitness = fitness
        self._seen: list[Any] = []
        self._did: list[tuple[Any, float, Mapping[str, Any]]] = []

    def began(self, first: Any) -> None:
        self._seen, self._did = [np.array(first)], []

    def pay(self, action: Any, seen: Any, own: float, info: Mapping[str, Any], ended: bool, cut: bool) -> float:
        self._seen.append(np.array(seen))
        self._did.append((np.array(action), own, dict(info)))
        return self._fitness(episode_of(self._seen, self._did, ended)) if ended or cut else 0.0


def episode_of(seen: list[Any], did: list[tuple[Any, float, Mapping[str, Any]]], ended: bool) -> Episode:
    actions, rewards, infos = zip(*did, strict=True)
    return Episode(
        observations=np.array(seen),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminated=ended,
        infos=infos,
    )
