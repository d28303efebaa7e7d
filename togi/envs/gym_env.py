"""An environment of gymnasium, played in words: what is observed becomes text, and what the model writes an action. It
knows no tokens.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from togi.envs.chat import told_more
from togi.envs.read_settings import refuse_odd, settings_of, whole_number
from togi.envs.row_seed import seed_of
from togi.envs.step_clock import at_most
from togi.extras import lacking
from togi.find_function import absolute, files_of, resolve
from togi.protocols import Env
from togi.types import Message, Task

PICTURE = "ansi"
MARKED = re.compile(r"\x1b\[[\d;]+m(.+?)\x1b\[0m")
ANSWER = re.compile(r"<action>(.*?)</action>", re.DOTALL)
ENDED = "</action>"
DECIMALS = 3
LONGEST = 1000  # characters of an action


@dataclass(frozen=True, kw_only=True)
class GymEnv:
    """Makes an episode for each task: ``gymnasium.make(id, **make)``, begun with the ``seed`` of the task's row, or one
    made of its id.

    ``actions`` names the actions of a discrete space, from 0 on. ``tell``, a function of (observation, info) that was
    found by its name, says what is observed; without it that is the environment's own picture in letters, else the
    numbers. An attempt has at most ``turns`` turns; no call may take longer than ``seconds``.
    """

    id: str
    make: Mapping[str, Any] = field(default_factory=dict)
    actions: tuple[str, ...] = ()
    tell: str = ""
    turns: int = 50
    seconds: float = 60.0
    _tell: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    def __call__(self, task: Task) -> Env:
        with at_most(self.seconds):
            return _Episode(self, self.opened(), task)

    @property
    def files(self) -> tuple[Path, ...]:
        return files_of(self.tell)

    def opened(self) -> Any:
        import gymnasium

        return gymnasium.make(self.id, **self.make)


class _Episode(Env):
    """``counts``: actions that could not be read, and whether the attempt reached an end of the game's, or was cut."""

    def __init__(self, how: GymEnv, env: Any, task: Task) -> None:
        self._how, self._env, self._task = how, env, task
        self._turn = 0
        self.state_key, self.cut = "", False
        self.counts: Counter[str] = Counter({"unreadable": 0, "ended": 0, "cut": 0})

    def start(self) -> tuple[Message, ...]:
        with at_most(self._how.seconds):
            observed, info = self._env.reset(seed=seed_of(self._task))
            shown = self._shown(observed, info)
        return told_more(self._task.prompt, f"\n{shown}")

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self._turn += 1
        last = self._turn == self._how.turns
        action, problem = read_action(message.content, self._env.action_space, self._how.actions)
        if problem:
            self.counts["unreadable"] += 1
            self.counts["cut"] += last
            self.cut = last
            return (Message(role="user", content=problem),), 0.0, last
        with at_most(self._how.seconds):
            observed, reward, ended, cut, info = self._env.step(action)
            shown = self._shown(observed, info)
        if not math.isfinite(reward):
            raise ValueError(f"{self._how.id} gave {reward!r:.200} as reward; wanted a finite number")
        self.counts["ended"] += bool(ended)
        self.cut = not ended and (bool(cut) or last)
        self.counts["cut"] += self.cut
        return (Message(role="user", content=shown),), float(reward), bool(ended or cut or last)

    def close(self) -> None:
        self._env.close()

    def _shown(self, observed: Any, info: Mapping[str, Any]) -> str:
        """What the model is told of an observation, which names the state as well."""
        if self._how._tell is not None:
            text = str(self._how._tell(observed, info))
        elif self._env.render_mode == PICTURE:
            text = MARKED.sub(r"[\1]", str(self._env.render())).strip("\n")
        else:
            text = json.dumps(_plain(observed))
        self.state_key = text
        return text


def read_action(text: str, space: Any, names: Sequence[str]) -> tuple[Any, str]:
    """The action that a turn names, or what the model is told where it names none: what stands in ``<action>``, else
    all that follows the thought."""
    text = text.rpartition("</think>")[2]
    found = ANSWER.findall(text, 0, text.rfind(ENDED) + len(ENDED))  # what is opened later, nothing closes
    said = (found[-1] if found else text).strip()[: LONGEST + 1].strip(" \n.!\"'`").casefold()
    wanted = _wanted(space, names)
    if hasattr(space, "n"):
        known = {name.casefold(): number for number, name in enumerate(names)} or {
            str(number): number for number in range(int(space.n))
        }
        if said in known:
            return known[said] + int(getattr(space, "start", 0)), ""
        return None, wanted
    try:
        import numpy as np

        action = np.array(json.loads(said), dtype=space.dtype).reshape(space.shape)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None, wanted
    return (action, "") if space.contains(action) else (None, wanted)


def _wanted(space: Any, names: Sequence[str]) -> str:
    if hasattr(space, "n"):
        return f"That is no action. Answer with one of: {', '.join(names or map(str, range(int(space.n))))}"
    low, high = (_plain(bound) for bound in (space.low, space.high))
    return f"That is no action. Answer with numbers such as {json.dumps(low)}, at least {low} and at most {high}"


def _plain(value: Any) -> Any:
    """Arrays and numbers as plain values, rounded."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def gym_env(settings: Mapping[str, Any], base: Path, seconds: float) -> GymEnv:
    """Raises ValueError for a name that gymnasium does not know, and settings that it does not take."""
    if find_spec("gymnasium") is None:
        raise ValueError(lacking("this environment", "gymnasium"))
    refuse_odd(settings, settings_of(GymEnv), "gymnasium's")
    if not isinstance(settings.get("id"), str):
        raise ValueError('it needs the name of the environment: settings = { id = "FrozenLake-v1" }')
    turns = whole_number(settings, "turns", 1, GymEnv.turns)
    tell = str(settings.get("tell", ""))
    actions = settings.get("actions", ())
    if isinstance(actions, str) or not all(isinstance(name, str) for name in actions):
        raise ValueError(f'actions = {actions!r:.200}: wanted their names in order, such as ["left", "right"]')
    made = GymEnv(
        id=settings["id"],
        make=dict(settings.get("make", {})),
        actions=tuple(actions),
        tell=absolute(tell, base) if tell else "",
        turns=turns,
        seconds=seconds,
        _tell=resolve(tell, base) if tell else None,
    )
    try:
        env = made.opened()
    except Exception as error:  # gymnasium's own, of many kinds
        raise ValueError(f"gymnasium cannot make {settings['id']!r}: {type(error).__name__}: {error}") from error
    space, pictures = env.action_space, env.metadata.get("render_modes", ())
    env.close()
    if not hasattr(space, "n") and not (hasattr(space, "low") and hasattr(space, "shape")):
        raise ValueError(f"{settings['id']} takes actions of a kind that cannot be written: {space}")
    if made.actions and len(made.actions) != getattr(space, "n", -1):
        raise ValueError(f"{settings['id']} takes {space}, and actions names {len(made.actions)}")
    draws = PICTURE in pictures and not tell
    return replace(made, make={"render_mode": PICTURE, **made.make}) if draws else made
