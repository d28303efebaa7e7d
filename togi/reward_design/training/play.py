"""Plays episodes, of agents or at random, and packs their steps for the jail. It judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from togi.reward_design.design import AgentDesign
from togi.reward_design.seeds import random_seeds
from togi.reward_design.training.environment import open_environment
from togi.reward_design.training.episodes import Episode, told
from togi.reward_design.training.packed import pack
from togi.reward_design.training.paid_environment import episode_of

TRIED = 300  # steps of random play that a program is tried on


def play(act: Callable[[Any], Any], opened: Callable[[], Any], seeds: Sequence[int]) -> list[Episode]:
    """Episodes side by side, one a seed, each in an environment of its own; ``act`` maps what they see to actions."""
    environments = [opened() for _ in seeds]
    try:
        seen = [[np.array(each.reset(seed=seed)[0])] for each, seed in zip(environments, seeds, strict=True)]
        did: list[list[tuple[Any, float, Mapping[str, Any]]]] = [[] for _ in seeds]
        ended = [False] * len(seeds)
        going = list(range(len(seeds)))
        while going:
            actions = act(np.array([seen[i][-1] for i in going]))
            left = []
            for i, action in zip(going, actions, strict=True):
                after, own, terminated, truncated, info = environments[i].step(action)
                seen[i].append(np.array(after))
                did[i].append((np.array(action), float(own), dict(info)))
                ended[i] = bool(terminated)
                if not (terminated or truncated):
                    left.append(i)
            going = left
    finally:
        for each in environments:
            each.close()
    return [episode_of(*each) for each in zip(seen, did, ended, strict=True)]


def random_play(design: AgentDesign) -> list[Episode]:
    """Some steps of an agent that does anything, for programs to be tried on."""
    space = open_environment(design.environment)
    space.action_space.seed(design.file.search.seed)
    episodes: list[Episode] = []
    for seed in random_seeds(design, TRIED):
        episodes += play(
            lambda seen: [space.action_space.sample() for _ in seen],
            lambda: open_environment(design.environment),
            [seed],
        )
        if sum(episode.length for episode in episodes) >= TRIED:
            break
    space.close()
    return episodes


def transitions(played: Sequence[Episode], names: tuple[str, ...]) -> dict[str, Any]:
    """The steps of episodes as the jail reads them."""
    info = [[told(each, names)[name] for name in names] for episode in played for each in episode.infos]
    return {
        "before": pack(np.concatenate([episode.observations[:-1] for episode in played])),
        "actions": pack(np.concatenate([episode.actions for episode in played])),
        "after": pack(np.concatenate([episode.observations[1:] for episode in played])),
        "info": pack(np.array(info, np.float64).reshape(len(info), len(names))),
        "names": list(names),
    }
