"""Whether graders take so much of the time that something should be done about it, and what. It measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from togi.protocols import Reward
from togi.rewards import python
from togi.rewards.algebra import leaves_of
from togi.sandbox.tiers.choose_tier import cores
from togi.sandbox.workers.pool import Pool

MUCH = 0.3  # of the time of a step
STEPS = 3  # that are looked at, after the first, in which workers start


def advice(reward: Reward, share: float, available: int) -> str:
    """What to do where grading takes ``share`` of the time; empty where it takes little, or nothing here would help."""
    pools = [each for leaf in leaves_of(reward) for each in vars(leaf).values() if isinstance(each, Pool)]
    if share < MUCH or not pools:
        return ""
    workers = min(pool.size for pool in pools)
    words = f"grading takes {share:.0%} of the time"
    if workers < available:
        return f"{words}, with {workers} of {available} cores: try workers = {available} under [grading]"
    if any(isinstance(leaf, python) for leaf in leaves_of(reward)):
        return f"{words}: where an own reward waits for a server, write it as async def, and it is asked many at once"
    return ""


class GradingTime:
    """The seconds of a stage's first steps. It gives its advice once."""

    def __init__(self, reward: Reward | None) -> None:
        self._reward = reward
        self._steps: list[Mapping[str, float]] = []

    def look(self, seconds: Mapping[str, float]) -> str:
        self._steps.append(seconds)
        if self._reward is None or len(self._steps) != STEPS + 1:
            return ""
        return advice(self._reward, grading_share(self._steps[1:]), cores())


def grading_share(steps: Sequence[Mapping[str, float]]) -> float:
    """The part of these steps' time that graders took."""
    total = sum(sum(seconds.values()) for seconds in steps)
    return sum(seconds.get("grade", 0.0) for seconds in steps) / total if total > 0 else 0.0
