"""Pictures of one episode, before each skill and at the end, where the world draws itself. It judges nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from togi.agents.saycan.archive import Archive
from togi.agents.saycan.episodes import Episode, beginning
from togi.agents.saycan.read_saycan import SayCan
from togi.agents.saycan.skills import Skills
from togi.agents.saycan.world import Drawn
from togi.png import png, smaller


def keep_frames(saycan: SayCan, archive: Archive, skills: Skills) -> None:
    """Do the longest episode of the first arm and seed that was carried out once more, which goes as it went, and keep
    pictures of it."""
    episodes = archive.episodes(saycan.file.saycan.arms[0], 0) or []
    if episodes:
        shown = max(episodes, key=lambda each: (each.solved, len(each.decisions)))
        if pixels := _pixels(saycan, shown, skills):
            archive.keep_frames(shown.instruction, [png(smaller(np.asarray(each, np.uint8))) for each in pixels])


def _pixels(saycan: SayCan, episode: Episode, skills: Skills) -> list[Any]:
    number = episode.instruction
    world, rng = beginning(saycan.make, saycan.instructions[number], number, episode.seed)
    if not isinstance(world, Drawn):
        return []
    pixels = [world.picture()]
    for each in episode.decisions:
        if each.chosen < len(saycan.skills):
            skills.do(world, each.chosen, rng)
            pixels.append(world.picture())
    return pixels
