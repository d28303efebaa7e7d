"""The only place that makes an environment from its name in a recipe. It plays nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from togi.envs.env_apart import EnvApart
from togi.envs.gym_env import GymEnv, gym_env
from togi.envs.openenv_env import OpenEnv, openenv_env
from togi.envs.other_players import OtherPlayers
from togi.envs.programs.inspect_player import inspect_env
from togi.envs.programs.program_env import ProgramEnv, program_env
from togi.envs.programs.verifiers_player import verifiers_env
from togi.envs.textarena_env import TextArenaEnv, textarena_env
from togi.envs.tool_use import ToolUse, tool_use
from togi.envs.trl_env import TrlEnv, is_trl, trl_env
from togi.envs.user_env import UserEnv, user_env
from togi.find_function import absolute, resolve
from togi.protocols import Env
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

NONE = "none"  # the first answer ends the attempt, also where the recipe has an environment
TOOLS = "tools"
Opened = ToolUse | GymEnv | TextArenaEnv | OpenEnv | ProgramEnv | TrlEnv | UserEnv | EnvApart | OtherPlayers
SpeaksFirst = GymEnv | TextArenaEnv | OpenEnv | ProgramEnv | TrlEnv | UserEnv | EnvApart | OtherPlayers
"""Environments that say by themselves what the model is asked first."""
Equips = ToolUse | TrlEnv
"""Environments that give tasks their tools."""
SHIPPED: Mapping[str, Callable[[Mapping[str, Any], Path, float], Opened]] = {
    "gymnasium": gym_env,
    "textarena": textarena_env,
    "program": program_env,
    "verifiers": verifiers_env,
    "inspect": inspect_env,
    "openenv": openenv_env,
}
"""What is opened with its settings, the recipe's folder, and the seconds that a call may take."""


def open_env(use: str, settings: Mapping[str, Any], base: Path, pool: Pool, *, processes: bool = False) -> Opened:
    """The environment of a recipe: no call of its own may take longer than a call of the pool, in which tools run. With
    ``processes`` each object of a class of one's own has a process of its own.

    Raises ValueError for a name, a file or a class that is not there or is no environment, and for settings that it
    does not take.
    """
    if processes and ":" not in use:
        raise ValueError(f'"{use}" is no class of yours, and cannot be in processes of its own: leave processes out')
    if use == TOOLS:
        return tool_use(settings, base, pool)
    if use in SHIPPED:
        return SHIPPED[use](settings, base, pool.seconds)
    if use == NONE:
        raise ValueError(f'use = "{NONE}" is no environment, and takes no settings')
    if ":" not in use:
        own = ", ".join(f'"{name}"' for name in (TOOLS, *SHIPPED, NONE))
        raise ValueError(f'{use!r} is no environment: there are {own}, and your own as "file.py:Class"')
    use = absolute(use, base)
    made = resolve(use, base)
    env = (trl_env if is_trl(made) else user_env)(use, made, settings, pool.seconds)
    if not processes:
        return env
    if not isinstance(env, UserEnv):
        raise ValueError(f'"{use}" answers as tools do, and cannot be in processes of its own: leave processes out')
    return EnvApart(own=env, base=base)


def against(game: Opened, others: str, base: Path) -> OtherPlayers:
    """The game with somebody for all players but one. Raises ValueError where it has one player, and for a name, a file
    or a function that is not there."""
    if not isinstance(game, UserEnv | EnvApart) or not game.players:
        raise ValueError(f'"{others}" has nobody to play: this environment has one player, and says no `players`')
    others = absolute(others, base)
    move = resolve(others, base)
    try:
        inspect.signature(move).bind("", None)
    except TypeError as error:
        raise ValueError(f'"{others}" cannot be called as {move.__name__}(told, chance): {error}') from error
    return OtherPlayers(game=game, others=others, move=move)


def opening(make: Callable[[Task], Env], task: Task) -> tuple[Task, tuple[Message, ...]]:
    """The task with the tools that its environment names, and what the model is asked first. What the environment
    raises passes through."""
    env = make(task)
    try:
        told = env.start()
        asked = replace(task, tools=getattr(env, "tools", task.tools))
        return asked, told[getattr(env, "player", "")] if isinstance(told, Mapping) else told
    finally:
        env.close()
