"""The seeds of a design: all chance comes from one number, and the last agents and episodes share none with those that
were chosen by."""

from __future__ import annotations

from togi.reward_design.design import Design

SEEDS = 100_000  # of one design, for agents and episodes
FINAL, PLAYED = 10_000, 20_000  # where the seeds of the last agents begin, and those of episodes


def agent_seed(design: Design, number: int, *, final: bool) -> int:
    """The seed of an agent; those of the last agents are none that was chosen by."""
    return design.file.search.seed * SEEDS + FINAL * final + number


def episode_seeds(design: Design, count: int, *, final: bool) -> list[int]:
    return [design.file.search.seed * SEEDS + PLAYED + FINAL * final + number for number in range(count)]


def random_seeds(design: Design, count: int) -> list[int]:
    """Those of episodes in which anything is done."""
    return [(design.file.search.seed + 1) * SEEDS - 1 - number for number in range(count)]
