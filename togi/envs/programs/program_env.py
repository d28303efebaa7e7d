"""A program with a loop of its own as an environment: what it asks the model is what the model sees, and what it gives
at its end is the reward. It knows no tokens.
"""

from __future__ import annotations

import inspect
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from togi.envs.programs.endpoint import Endpoint
from togi.envs.programs.histories import Histories
from togi.envs.programs.running import CommandProgram, FunctionProgram, Program
from togi.envs.programs.session import Asked, Ended
from togi.envs.read_settings import refuse_odd, whole_number
from togi.extras import lacking
from togi.find_function import absolute, resolve
from togi.protocols import Env
from togi.tools.read_calls import read_calls
from togi.tools.tool import Description
from togi.types import Message, Task, ToolCall

TURNS = 50
SETTINGS = ("run", "arguments", "command", "turns")


@dataclass(frozen=True, kw_only=True)
class ProgramEnv:
    """Makes an episode for each task: the program is begun, and asks the model through an endpoint of this process. An
    attempt has at most ``turns`` answers of the model; before each of them the program may take ``seconds``."""

    program: Program
    turns: int = TURNS
    seconds: float = 60.0
    _endpoint: Endpoint = field(default_factory=Endpoint, compare=False, repr=False)

    def __call__(self, task: Task) -> Env:
        return _Episode(self, task)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.program.files


class _Episode(Env):
    """``counts``: histories in which the program changed what the model had said, conversations that it began beside
    the first, attempts whose turns were used up, and, where there are tools, calls and those that could not be read."""

    def __init__(self, how: ProgramEnv, task: Task) -> None:
        self._how, self._task = how, task
        self._session = how._endpoint.open()
        self._histories = Histories()
        self._asked: Asked | None = None
        self._end: Callable[[], None] = _nothing
        self._turn = 0
        self.conversation, self.cut = "", False
        self.counts: Counter[str] = Counter(dict.fromkeys(("edited", "begun", "out_of_turns"), 0))

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        return () if self._asked is None else self._asked.tools

    def start(self) -> tuple[Message, ...]:
        self._end = self._how.program.begin(self._task, self._session, self._how._endpoint.base_url(self._session))
        event = self._session.next(self._how.seconds)
        if isinstance(event, Ended):
            raise event.raised or ValueError("the program ended, and had not asked the model anything")
        return self._take(event)

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        assert self._asked is not None
        self._turn += 1
        said = self._said(message.content)
        self._histories.said(self.conversation, said)
        self._session.answer(self._asked, said)
        event = self._session.next(self._how.seconds)
        if isinstance(event, Ended):
            if event.raised is not None:
                raise event.raised
            return (), _reward(event.gave), True
        if self._turn == self._how.turns:
            self.counts["out_of_turns"] += 1
            self.cut = True
            return (), 0.0, True
        return self._take(event), 0.0, False

    def close(self) -> None:
        self._how._endpoint.close(self._session)
        self._end()

    def _take(self, asked: Asked) -> tuple[Message, ...]:
        self._asked = asked
        if asked.tools:
            self.counts = Counter({"calls": 0, "calls_unreadable": 0, **self.counts})
        following = self._histories.follow(asked.messages, asked.tools)
        self.conversation = following.conversation
        self.counts["edited"] += following.edited
        self.counts["begun"] += following.begun and self._turn > 0
        return following.new

    def _said(self, text: str) -> Message:
        """What the program is told of a turn: its calls as calls, if all of them can be read, else its text."""
        tools = [_described(tool["function"]) for tool in self.tools]
        said = read_calls(text, tools) if tools else None
        if said is None or not said.calls:
            return Message(role="assistant", content=text)
        self.counts["calls"] += len(said.calls)
        if unreadable := sum(call.arguments is None for call in said.calls):
            self.counts["calls_unreadable"] += unreadable
            return Message(role="assistant", content=text)
        calls = tuple(
            ToolCall(
                name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False), id=_id(self._turn, place)
            )
            for place, call in enumerate(said.calls)
        )
        return Message(role="assistant", content=said.content, tool_calls=calls)


def _nothing() -> None:
    pass


def _id(turn: int, place: int) -> str:
    return f"call_{turn}_{place}"


def _described(function: Mapping[str, Any]) -> Description:
    return Description(
        name=function["name"], text=function.get("description", ""), parameters=function.get("parameters", {})
    )


def _reward(gave: Any) -> float:
    if gave is None:
        return 0.0
    if not isinstance(gave, bool | int | float) or not math.isfinite(gave):
        raise ValueError(f"the program gave {gave!r:.200} as reward; wanted a number, or nothing")
    return float(gave)


def program_env(settings: Mapping[str, Any], base: Path, seconds: float) -> ProgramEnv:
    """Raises ValueError for a program that is not there, and settings that make no sense."""
    refuse_odd(settings, SETTINGS, "programs")
    if ("run" in settings) == ("command" in settings):
        raise ValueError(
            'it needs either a function, { run = "agent.py:play" }, or a { command = ["python", "agent.py"] }'
        )
    if "command" in settings:
        if "arguments" in settings:
            raise ValueError("arguments are a function's; a command's stand in the command itself")
        return opened(CommandProgram(command=_command(settings["command"], base), folder=base), settings, seconds)
    use = absolute(str(settings["run"]), base)
    play, arguments = resolve(use, base), dict(settings.get("arguments", {}))
    try:
        inspect.signature(play).bind(None, "", "", **arguments)
    except TypeError as error:
        given = ", ".join(["task", "base_url", "api_key", *(f"{name}=…" for name in arguments)])
        raise ValueError(f'"{use}" cannot be called as {play.__name__}({given}): {error}') from error
    return opened(FunctionProgram(use=use, play=play, arguments=arguments), settings, seconds)


def opened(program: Program, settings: Mapping[str, Any], seconds: float) -> ProgramEnv:
    """Raises ValueError where nothing could listen, and for a number of turns that makes no sense."""
    if find_spec("uvicorn") is None:
        raise ValueError(lacking("an environment that is a program", "serve"))
    return ProgramEnv(program=program, turns=whole_number(settings, "turns", 1, TURNS), seconds=seconds)


def _command(given: Any, base: Path) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ValueError(f'command = {given!r:.200}: wanted its words, such as ["python", "agent.py"]')
    if not all(isinstance(word, str) for word in given):
        raise ValueError(f"command = {given!r:.200}: wanted texts only")
    if shutil.which(given[0]) is None and shutil.which(base / given[0]) is None:
        raise ValueError(f"there is no command {given[0]!r:.200} on this machine, nor in {base}")
    return tuple(given)
