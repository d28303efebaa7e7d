"""A class that was written as an environment of TRL: ``reset(**row)``, public methods that are tools, and mostly
``get_reward()``. It knows no tokens, and TRL is not needed.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MethodType
from typing import Any

from togi.envs.chat import told_more
from togi.envs.step_clock import at_most
from togi.envs.tool_use import ToolEpisode, ToolUse
from togi.find_function import files_of
from togi.protocols import Env
from togi.tools.call_function import call_function
from togi.tools.function_tool import describe
from togi.tools.tool import Description, Kept, Result
from togi.types import Message, Task

OWN = ("reset", "get_reward")  # public methods that are no tools
_NOBODY = object()  # whose methods are looked at, and not called


@dataclass(frozen=True, kw_only=True)
class MethodTool:
    """A method of one episode's object."""

    description: Description
    signed: Callable[..., Any]
    method: Callable[..., Any]
    seconds: float
    files: tuple[Path, ...] = ()

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        def waited(**given: Any) -> Any:
            with at_most(self.seconds):
                return awaited(self.method(**given))

        return Result(**call_function(waited, arguments, self.signed))


@dataclass(frozen=True, kw_only=True)
class TrlEnv:
    """Makes an episode for each task: a new object of the class ``make``, found by its name ``use``. ``told`` has its
    tools, ``how`` all that tools have in common. No call of its methods may take longer than ``seconds``."""

    use: str
    make: Callable[[], Any] = field(compare=False, repr=False)
    told: Mapping[str, Description]
    how: ToolUse
    seconds: float

    def __call__(self, task: Task) -> Env:
        with at_most(self.seconds):
            made = self.make()
        return _Episode(self, made, task)

    @property
    def files(self) -> tuple[Path, ...]:
        return files_of(self.use)

    def equipped(self, task: Task) -> Task:
        return self.how.equipped(task)


class _Episode(ToolEpisode):
    """What the object says at its start stands at the end of the last message; its reward is paid at the end."""

    def __init__(self, env: TrlEnv, made: Any, task: Task) -> None:
        tools = [
            MethodTool(
                description=told,
                signed=_signed(type(made), name),
                method=getattr(made, name),
                seconds=env.seconds,
            )
            for name, told in env.told.items()
        ]
        super().__init__(replace(env.how, tools=tuple(tools)), task)
        self._made, self._task, self._seconds, self._name = made, task, env.seconds, env.use.rpartition(":")[2]

    def start(self) -> tuple[Message, ...]:
        shown = [{"role": message.role, "content": message.content} for message in self._task.prompt]
        row = {**self._task.info, "prompt": shown, "answer": self._task.answer}
        with at_most(self._seconds):
            said = awaited(self._made.reset(**row))
        if said is None:
            return self._task.prompt
        if not isinstance(said, str):
            raise ValueError(f"{self._name}.reset() gave {said!r:.200}; wanted a text, or None")
        return told_more(self._task.prompt, said)

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        replies, reward, done = super().step(message)
        if not done or not hasattr(self._made, "get_reward"):
            return replies, reward, done
        with at_most(self._seconds):
            reward = awaited(self._made.get_reward())
        if not isinstance(reward, bool | int | float) or not math.isfinite(reward):
            raise ValueError(f"{self._name}.get_reward() gave {reward!r:.200}; wanted a finite number")
        return replies, float(reward), done


def is_trl(made: object) -> bool:
    """Whether a class looks like one of TRL's environments, and not like one of Togi's."""
    return inspect.isclass(made) and callable(getattr(made, "reset", None)) and not hasattr(made, "start")


def trl_env(use: str, make: Callable[..., Any], settings: Mapping[str, Any], seconds: float) -> TrlEnv:
    """Raises ValueError for a class without tools, one that needs arguments, and settings that are none of tools'."""
    wanted = [each.name for each in fields(ToolUse) if each.init and each.name != "tools"]
    if odd := [name for name in settings if name not in wanted]:
        raise ValueError(f'"{use}" is an environment as TRL has them, and {odd[0]!r} none of its settings: {wanted}')
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        why = "is made without arguments, as TRL does, and what a row says goes to reset()"
        raise ValueError(f'"{use}" {why}: {error}') from error
    names = [
        name
        for name, _ in inspect.getmembers(make, predicate=inspect.isfunction)
        if name not in OWN and not name.startswith("_")
    ]
    if not names:
        raise ValueError(
            f'"{use}" has reset() and no other public method, and its public methods are the model\'s tools'
        )
    told = {name: describe(_signed(make, name), name) for name in names}
    shown = [
        MethodTool(description=each, signed=_signed(make, name), method=_signed(make, name), seconds=seconds)
        for name, each in told.items()
    ]
    how = ToolUse(**{**settings, "tools": tuple(shown)})
    return TrlEnv(use=use, make=make, told=told, how=how, seconds=seconds)


def _signed(made: Any, name: str) -> Callable[..., Any]:
    """A method without its ``self``, to be looked at."""
    return MethodType(getattr(made, name), _NOBODY)


def awaited(value: Any) -> Any:
    """The value, or what an async method gives at last; what a clock cuts short is ended with its loop."""
    if not inspect.isawaitable(value):
        return value

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())
