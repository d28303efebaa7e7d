"""What runs in the jail, beside programs that a model wrote: a program is tried, is paid by, or trains an agent.

Out come faults, sums and an agent's weights, as JSON. Nobody believes more of them than that they are numbers: how well
an agent does is measured outside, by playing it. The fitness is not here, but for the sparse reward, which is trained
in a process without any program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from togi.reward_design.programs.reward_program import ProgramFault, RewardProgram
from togi.reward_design.training.episodes import Episode
from togi.reward_design.training.packed import pack, unpack

Transition = tuple[Any, Any, Any, dict[str, float]]


def try_out(program: str, transitions: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a program pays finite numbers, the same for the same step whatever came before, and not the same for
    every step."""
    try:
        paid = RewardProgram(program)
        steps = list(_transitions(transitions))
        forwards = [paid(*step)[0] for step in steps]
        backwards = [paid(*step)[0] for step in reversed(steps)][::-1]
    except ProgramFault as fault:
        return {"fault": str(fault)}
    if forwards != backwards:
        return {
            "fault": "it pays otherwise for the same step when it is asked again: a reward keeps nothing between calls"
        }
    if len(set(forwards)) == 1:
        return {
            "fault": f"it pays {forwards[0]:g} for every step of an agent that acts at random: nothing can be learned"
        }
    return {"fault": ""}


def pay(program: str, transitions: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    """What a program pays for episodes: every step's reward, and each episode's parts."""
    try:
        paid = RewardProgram(program)
        rewards, parts = [], []
        for step in _transitions(transitions):
            total, each = paid(*step)
            rewards.append(total)
            parts.append(each)
    except ProgramFault as fault:
        return {"fault": str(fault)}
    names = sorted({name for each in parts for name in each})
    ends = np.cumsum(lengths)[:-1]
    table = np.array([[each.get(name, 0.0) for name in names] for each in parts]).reshape(len(parts), len(names))
    sums = np.array([part.sum(0) for part in np.split(table, ends)])
    return {"fault": "", "rewards": pack(np.array(rewards)), "names": names, "sums": pack(sums)}


def _transitions(packed: Mapping[str, Any]) -> Iterator[Transition]:
    before, actions, after, values = (unpack(packed[name]) for name in ("before", "actions", "after", "info"))
    names = [str(name) for name in packed["names"]]
    for one, action, other, row in zip(before, actions, after, values, strict=True):
        yield one, action, other, dict(zip(names, row.tolist(), strict=True))


def train(
    program: str | None,
    environment: str,
    info: Sequence[str],
    algorithm: str,
    settings: Mapping[str, Any],
    environments: int,
    steps: int,
    checks: int,
    seed: int,
    make: Callable[[], Any] | None = None,
    fitness: Callable[[Episode], float] | None = None,
) -> dict[str, Any]:
    """The weights of an agent at its beginning, at each check and at its end, by steps. Without ``program`` it learns
    from the environment's own reward, or from ``fitness`` at the end of an episode."""
    from togi.reward_design.training.agent import new_agent, snapshots
    from togi.reward_design.training.environment import open_environment
    from togi.reward_design.training.paid_environment import AtTheEnd, ByProgram, paid_by

    try:
        paid = None if program is None else RewardProgram(program)

        def one() -> Any:
            opened = open_environment(environment, make)
            if paid is not None:
                return paid_by(ByProgram(paid, tuple(info)), opened)
            return opened if fitness is None else paid_by(AtTheEnd(fitness), opened)

        agent = new_agent(algorithm, settings, [one] * environments, seed)
        found = [
            {"steps": at, "weights": {name: pack(value) for name, value in weights.items()}}
            for at, weights in snapshots(agent, algorithm, steps, checks)
        ]
    except ProgramFault as fault:
        return {"fault": str(fault)}
    return {"fault": "", "agents": found}
