"""A process of its own that plays episodes of another library, side by side on one event loop. It is started by
``hosted.py``, is told of episodes line by line, and ends when its input does. It knows no model.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import IO, Any

from togi.find_function import resolve

Play = Callable[[dict[str, Any], str, str], Coroutine[Any, Any, Any]]


def main() -> None:
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what the library prints is no answer of ours
    first = json.loads(sys.stdin.readline())
    try:
        play = resolve(first["player"], Path())(**first["settings"])
    except Exception as problem:  # the library's own, of many kinds
        _tell(out, {"refused": _said(problem)})
        return
    _tell(out, {"ready": True})
    asyncio.run(_serve(play, out))


async def _serve(play: Play, out: IO[str]) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.Queue[str]()
    playing: dict[str, asyncio.Task[None]] = {}

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        os._exit(0)  # nobody waits for what is still played

    threading.Thread(target=read, daemon=True).start()
    while True:
        told = json.loads(await lines.get())
        name = told["episode"]
        if "task" in told:
            playing[name] = asyncio.create_task(_play(play, told, out))
            playing[name].add_done_callback(partial(_forget, playing, name))
        elif name in playing:
            playing[name].cancel()


def _forget(playing: dict[str, asyncio.Task[None]], name: str, _: asyncio.Task[None]) -> None:
    del playing[name]


async def _play(play: Play, told: dict[str, Any], out: IO[str]) -> None:
    try:
        gave = await play(told["task"], told["base_url"], told["api_key"])
        answer = {"episode": told["episode"], "gave": gave}
        json.dumps(answer)
    except Exception as problem:
        answer = {"episode": told["episode"], "raised": _said(problem)}
    _tell(out, answer)


def _tell(out: IO[str], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


if __name__ == "__main__":
    main()
