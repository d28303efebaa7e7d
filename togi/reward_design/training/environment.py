"""Opens an environment of gymnasium by its name, or with a function of the user's, and says what it is in words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from togi.extras import lacking
from togi.find_function import resolve

SECTIONS = ("Observation Space", "Action Space", "Transition Dynamics")
"""What a writer is told of an environment whose docstring has these parts; never its own reward."""
LONGEST = 6000  # characters of a description


def check_extra() -> None:
    """Raise ValueError where a library is not installed."""
    for library in ("gymnasium", "stable_baselines3"):
        if find_spec(library) is None:
            raise ValueError(lacking("a reward design", "reward_design"))


def is_function(environment: str) -> bool:
    return ".py:" in environment


def open_environment(environment: str, make: Callable[[], Any] | None = None, **options: Any) -> Any:
    """The environment, with a flat vector of numbers to see. ``make`` is the user's function, where that was found
    already. Raises ValueError for one that is not there or cannot be used."""
    import gymnasium
    from gymnasium.spaces import Box, Discrete

    if make is None and is_function(environment):
        make = resolve(environment, Path())
    try:
        opened = make() if make is not None else gymnasium.make(environment, **options)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(_why_not(environment, error)) from error
    except Exception as error:
        raise ValueError(f"{environment} cannot be opened: {type(error).__name__}: {error}") from error
    if not isinstance(opened, gymnasium.Env):
        raise ValueError(f"{environment} gives {type(opened).__name__}, and a gymnasium.Env is wanted")
    seen, done = opened.observation_space, opened.action_space
    if not isinstance(seen, Box) or len(seen.shape) != 1:
        raise ValueError(
            f"{environment} shows {seen}, and a vector of numbers is wanted: wrap it in "
            "gymnasium.wrappers.FlattenObservation, in a function of your own"
        )
    if not isinstance(done, Discrete) and not (isinstance(done, Box) and len(done.shape) == 1):
        raise ValueError(f"{environment} takes {done} for an action, and a choice or a vector of numbers is wanted")
    if (opened.spec is not None and opened.spec.max_episode_steps is None) or (
        opened.spec is None and not _limited(opened)
    ):
        raise ValueError(
            f"{environment} has no limit of steps, so an episode might never end: give it one, in gymnasium.register "
            "or by gymnasium.wrappers.TimeLimit"
        )
    return opened


def _limited(environment: Any) -> bool:
    from gymnasium.wrappers import TimeLimit

    while environment is not environment.unwrapped:
        if isinstance(environment, TimeLimit):
            return True
        environment = environment.env
    return False


def _why_not(environment: str, error: Exception) -> str:
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    more = re.search(r"pip install [\"'`]?(gymnasium\[[\w-]+\])", said)
    help_ = f": pip install -c constraints.txt '{more[1]}', in Togi's own folder" if more else ""
    return f"{environment} cannot be opened ({said}){help_}"


def described(environment: Any) -> str:
    """What the environment's own docstring says of observations, actions and what follows from them. Empty where it
    says nothing."""
    text = inspect.getdoc(type(environment.unwrapped)) or ""
    parts = re.split(r"^#+ *(.+?):? *$", text, flags=re.MULTILINE)
    found = {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=False)}
    return "\n\n".join(f"{name}: {found[name]}" for name in SECTIONS if found.get(name))[:LONGEST]


def observation_told(environment: Any) -> str:
    return _vector(environment.observation_space.shape[0])


def action_told(environment: Any) -> str:
    space = environment.action_space
    if hasattr(space, "n"):
        first = int(space.start)
        return f"an int from {first} to {first + int(space.n) - 1}"
    return _vector(space.shape[0])


def _vector(length: int) -> str:
    return f"a numpy array of {length} number{'s' if length != 1 else ''}"
