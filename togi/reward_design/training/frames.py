"""Pictures of an agent at work, where its environment draws itself. It judges nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from togi.png import png, smaller
from togi.reward_design.archive import FRAMES, Archive
from togi.reward_design.design import AgentDesign
from togi.reward_design.seeds import episode_seeds
from togi.reward_design.training.agent import Player
from togi.reward_design.training.environment import is_function, open_environment

PICTURES = 8


def keep_frames(design: AgentDesign, archive: Archive, candidate: str, seed: int) -> str:
    """Play one episode of a last agent and keep pictures of it; why there are none, where there are none."""
    weights = archive.weights(candidate, seed)
    if not weights:
        return "the agent could not be trained"
    if is_function(design.environment):
        return "an environment of a function of your own is not drawn"
    train = design.file.train
    try:
        drawn = open_environment(design.environment, render_mode="rgb_array")
        player = Player(train.algorithm, train.settings, lambda: open_environment(design.environment))
        player.become(weights)
        frames = _episode(player, drawn, episode_seeds(design, 1, final=True)[0])
        drawn.close()
    except Exception as error:  # of a library that draws, or of the screen that it wants
        return f"{design.environment} cannot be drawn here: {type(error).__name__}: {error}"
    for step, frame in frames:
        archive.add_bytes(f"{FRAMES}/{step:05d}.png", png(smaller(frame)), "drawn")
    return ""


def _episode(player: Player, environment: Any, seed: int) -> list[tuple[int, Any]]:
    """Frames at even distances over an episode, its first and its last among them."""
    seen, _ = environment.reset(seed=seed)
    frames = [environment.render()]
    ended = False
    while not ended:
        action = player.act(np.array(seen)[None])[0]
        seen, _, terminated, truncated, _ = environment.step(action)
        frames.append(environment.render())
        ended = terminated or truncated
    steps = sorted({round(at) for at in np.linspace(0, len(frames) - 1, PICTURES)})
    return [(step, np.asarray(frames[step])) for step in steps]
