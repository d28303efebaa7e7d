"""How well an agent drives the car of mountain_car.toml. No reward program and no model sees this."""

from __future__ import annotations

from togi.reward_design.training.episodes import Episode


def fitness(episode: Episode) -> float:
    """1 when the car reached the flag, which alone ends an episode before its last step."""
    return float(episode.terminated)
