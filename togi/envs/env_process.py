"""The process of an environment: makes the user's object, and does what it is asked of it. It trusts who asks.

One process imports the user's file and is forked for each attempt, which costs milliseconds; each attempt's leads a
group of its own, so that whatever it started can be ended with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from togi.envs.user_env import user_env
from togi.find_function import resolve
from togi.protocols import Abort, Env, Heard
from togi.sandbox.codec import decode, encode
from togi.sandbox.workers.worker import die_with_parent
from togi.types import Message, Task, ToolCall

ATTRIBUTES = ("counts", "state_key", "cut", "player", "conversation", "tools", "harmless", "honest")
"""What is read of an environment beside its methods."""


def serve(control: int, use: str, base: str, settings: str, seconds: float) -> None:
    """Fork a process for each byte that comes, and send its number and a socket to ask it through."""
    asked = socket.socket(fileno=control)
    make = user_env(use, resolve(use, Path(base)), json.loads(settings), seconds)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that end
    here = os.getpid()
    while asked.recv(1):
        ours, theirs = socket.socketpair()
        process = os.fork()
        if not process:
            os.setsid()
            die_with_parent(here)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (asked, theirs):
                other.close()
            _answer(ours, make)
            os._exit(0)
        socket.send_fds(asked, [str(process).encode()], [theirs.fileno()])
        for one in (ours, theirs):
            one.close()


def _answer(asked: socket.socket, make: Callable[[Task], Env]) -> None:
    """Make an environment of the first message, a task, and answer calls of it with what they give or raise."""
    env: Env | None = None
    for line in asked.makefile("r", encoding="ascii"):
        method, given = decode(json.loads(line))
        reply: dict[str, Any] = {}
        try:
            if env is None:
                env = make(plain_task(given))
            elif method == "start":
                reply["given"] = _plain(env.start())
            elif method == "step":
                replies, reward, done = env.step(Message(role="assistant", content=given))
                reply["given"] = (_plain(replies), reward, done)
            else:
                env.close()
            reply["now"] = _attributes(env)
            said = json.dumps(encode(reply))
        except Exception as problem:
            kind = "Abort" if isinstance(problem, Abort) else type(problem).__name__
            text = problem.args[0] if len(problem.args) == 1 and type(problem.args[0]) is str else str(problem)
            said = json.dumps(encode({"raised": (kind, text)}))
        asked.sendall(said.encode("ascii") + b"\n")


def _attributes(env: Env) -> dict[str, Any]:
    """Those that are there now; what reading one raises is raised by the call."""
    found = {name: getattr(env, name, None) for name in ATTRIBUTES}
    if found["tools"] is not None:
        found["tools"] = tuple(dict(tool) for tool in found["tools"])
    return {name: value for name, value in found.items() if value is not None}


def _plain(heard: Heard) -> Any:
    if isinstance(heard, Mapping):
        return {player: _plain(messages) for player, messages in heard.items()}
    return [asdict(message) for message in heard]


def heard_of(plain: Any) -> Heard:
    """What ``_plain`` made of messages."""
    if isinstance(plain, dict):
        return {player: _messages(each) for player, each in plain.items()}
    return _messages(plain)


def _messages(plain: Any) -> tuple[Message, ...]:
    made = []
    for each in plain:
        calls = tuple(ToolCall(**call) for call in each["tool_calls"])
        made.append(Message(**{**each, "tool_calls": calls}))
    return tuple(made)


def task_plain(task: Task) -> dict[str, Any]:
    """The task as values that the codec writes, without recorded answers, which no environment plays with."""
    told = _plain(task.prompt), task.answer, dict(task.info), [dict(tool) for tool in task.tools]
    return dict(zip(("prompt", "answer", "info", "tools"), told, strict=True)) | {"id": task.id}


def plain_task(plain: Any) -> Task:
    prompt, tools = _messages(plain["prompt"]), tuple(plain["tools"])
    return Task(id=plain["id"], prompt=prompt, answer=plain["answer"], info=plain["info"], tools=tools)
