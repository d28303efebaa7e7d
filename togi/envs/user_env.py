"""A user's own class as the environment of a recipe: found by ``file.py:Class``, checked before anything is loaded, and
its messages read as generously as they are plain. It knows no tokens and no reward.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from togi.envs.step_clock import at_most
from togi.find_function import files_of
from togi.protocols import Env, Heard
from togi.types import Message, Task

METHODS = ("start", "step")
SECONDS = 60.0
MOST = sys.float_info.max
NAME = re.compile(r"[A-Za-z0-9_-]+")  # of a player, which stands in names of metrics


@dataclass(frozen=True, kw_only=True)
class UserEnv:
    """Makes an episode for each task: ``make``, which was found by its name ``use``, is called with the task, and
    ``settings`` by name. It is imported once, so that a file that is edited meanwhile does not change a run.

    What it gives needs ``start()`` and ``step(message)``; ``close()`` where something has to be put away. Messages may
    be a text (said by the user), ``{"role", "content"}``, a ``Message``, or several of these. No call of its methods
    may take longer than ``seconds``. ``players`` are the names of its players, where there are several.
    """

    use: str
    make: Callable[..., Any] = field(compare=False, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = SECONDS
    players: tuple[str, ...] = ()

    def __call__(self, task: Task) -> Env:
        with at_most(self.seconds):
            made = self.make(task, **self.settings)
        if self.players:
            return _OfPlayers(made, self.use, self.seconds, self.players)
        return _Checked(made, self.use, self.seconds)

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that it is made of."""
        return files_of(self.use)


def user_env(use: str, make: Callable[..., Any], settings: Mapping[str, Any], seconds: float) -> UserEnv:
    """The environment of a class (or function) that was found by its name ``use``.

    Raises ValueError for a class without the methods of an environment, a harmless message that is no text, players
    that cannot be told apart, and settings that it does not take.
    """
    players: tuple[str, ...] = ()
    if inspect.isclass(make):
        missing = [name for name in METHODS if not callable(getattr(make, name, None))]
        if missing:
            raise ValueError(
                f'"{use}" has no {" and no ".join(f"{name}()" for name in missing)}: an environment has start(), which '
                "gives the first messages, and step(message), which gives replies, a reward and whether it is over"
            )
        if not isinstance(harmless := getattr(make, "harmless", ""), str | property):
            raise ValueError(f'"{use}" names {harmless!r:.200} as harmless; wanted a text that step() always takes')
        players = _players(use, getattr(make, "players", ()))
    try:
        inspect.signature(make).bind(None, **settings)
    except TypeError as error:
        given = ", ".join(["task", *(f"{name}=…" for name in settings)])
        raise ValueError(f'"{use}" cannot be called as {make.__name__}({given}): {error}') from error
    return UserEnv(use=use, make=make, settings=settings, seconds=seconds, players=players)


def _players(use: str, given: object) -> tuple[str, ...]:
    if given == ():
        return ()
    if not isinstance(given, tuple | list) or not all(isinstance(each, str) and NAME.fullmatch(each) for each in given):
        raise ValueError(f'"{use}" has players = {given!r:.200}; wanted names of letters, digits, "_" and "-"')
    if len(given) < 2 or len(set(given)) < len(given):
        raise ValueError(f'"{use}" has players = {given!r:.200}; wanted two or more, and no name twice')
    return tuple(given)


class _Checked(Env):
    """An episode whose messages and rewards are read, and refused where they make no sense; each call has its clock."""

    def __init__(self, env: Any, use: str, seconds: float) -> None:
        self._env, self._use, self._seconds = env, use.rpartition(":")[2], seconds

    @property
    def harmless(self) -> Any:
        return getattr(self._env, "harmless", None)

    @property
    def honest(self) -> Any:
        return getattr(self._env, "honest", None)

    @property
    def counts(self) -> dict[str, float]:
        given = getattr(self._env, "counts", {})
        try:
            return {str(name): float(number) for name, number in given.items()}
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"{self._use}.counts is {given!r:.200}; wanted numbers by name") from None

    @property
    def cut(self) -> bool:
        return bool(getattr(self._env, "cut", False))

    @property
    def state_key(self) -> str:
        given = getattr(self._env, "state_key", "")
        if not isinstance(given, str | int | tuple):
            raise ValueError(f"{self._use}.state_key is {given!r:.200}; wanted a text, a number or a tuple")
        return str(given)

    def start(self) -> Heard:
        asked = self._messages(self._started(), "start()")
        if not asked:
            raise ValueError(f"{self._use}.start() gave no message, and the model must be asked something")
        return asked

    def step(self, message: Message) -> tuple[Heard, float | Mapping[str, float], bool]:
        replies, reward, done = given = self._stepped(message)
        if _is_pay(reward) and isinstance(done, bool):
            said = self._messages(replies, "step()")
            if said or done:
                return said, float(reward), done
            raise ValueError(f"{self._use}.step() gave no reply and did not end; nothing is left to answer")
        raise ValueError(
            f"{self._use}.step() gave {given!r:.200}; wanted a finite number as reward, and done as True or False"
        )

    def close(self) -> None:
        if callable(getattr(self._env, "close", None)):
            with at_most(self._seconds):
                self._env.close()

    def _started(self) -> object:
        with at_most(self._seconds):
            return self._env.start()

    def _stepped(self, message: Message) -> tuple[Any, Any, Any]:
        with at_most(self._seconds):
            given = self._env.step(message)
        if not isinstance(given, tuple | list) or len(given) != 3:
            raise ValueError(f"{self._use}.step() gave {given!r:.200}; wanted (replies, reward, done)")
        replies, reward, done = given
        return replies, reward, done

    def _messages(self, given: object, where: str) -> tuple[Message, ...]:
        if given is None or given == "":
            return ()
        if isinstance(given, str | Message | Mapping):
            given = (given,)
        if not isinstance(given, Sequence):
            raise ValueError(f"{self._use}.{where} gave {given!r:.200}; wanted a text, or messages")
        return tuple(self._message(each, where) for each in given)

    def _message(self, given: object, where: str) -> Message:
        match given:
            case Message():
                return given
            case str():
                return Message(role="user", content=given)
            case {"role": ("user" | "system" | "assistant" | "tool") as role, "content": str(text), **rest} if not rest:
                return Message(role=role, content=text)
        raise ValueError(
            f'{self._use}.{where} gave {given!r:.200}; a message is a text, {{"role": …, "content": …}} or a Message'
        )


def _is_pay(given: object) -> TypeGuard[bool | int | float]:
    """Whether it is a number that can be paid: infinity and nan are what a message may have made of one."""
    return isinstance(given, bool | int | float) and abs(given) <= MOST


class _OfPlayers(_Checked):
    """An episode of several players: what is said and paid may be given by player."""

    def __init__(self, env: Any, use: str, seconds: float, players: tuple[str, ...]) -> None:
        super().__init__(env, use, seconds)
        self._players = players

    @property
    def player(self) -> str:
        given = getattr(self._env, "player", None)
        if given not in self._players:
            wanted = f"the one who is to act next: {' or '.join(map(repr, self._players))}"
            raise ValueError(f"{self._use}.player is {given!r:.200}; wanted {wanted}")
        return str(given)

    def start(self) -> Heard:
        return self._by_player(self._started(), "start()")

    def step(self, message: Message) -> tuple[Heard, float | Mapping[str, float], bool]:
        replies, reward, done = given = self._stepped(message)
        paid = reward if isinstance(reward, Mapping) else {self._players[0]: reward}
        if not isinstance(done, bool) or not all(_is_pay(each) for each in paid.values()):
            wanted = "a finite number as reward, or one for each player, and done as True or False"
            raise ValueError(f"{self._use}.step() gave {given!r:.200}; wanted {wanted}")
        self._known(paid, "step()")
        earned = {name: float(each) for name, each in paid.items()} if isinstance(reward, Mapping) else float(reward)
        return self._by_player(replies, "step()"), earned, done

    def _by_player(self, given: object, where: str) -> Heard:
        if not isinstance(given, Mapping) or "role" in given:
            return self._messages(given, where)
        self._known(given, where)
        return {name: self._messages(each, where) for name, each in given.items()}

    def _known(self, named: Mapping[str, object], where: str) -> None:
        if odd := [name for name in named if name not in self._players]:
            there = " and ".join(map(repr, self._players))
            raise ValueError(f"{self._use}.{where} names a player {odd[0]!r:.200}; there are {there}")
