"""Awaits what functions that are ``async`` give, on one loop a worker; it knows neither the functions nor rewards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def one(given: Awaitable[T]) -> T:
    return _loop().run_until_complete(_awaited(given))


def together(given: Sequence[Coroutine[Any, Any, T]], seconds: float) -> list[T | BaseException | None]:
    """What became of each, awaited at once: its result, what it raised, or None where it was late and is ended."""
    return _loop().run_until_complete(_together(given, seconds))


async def _together(given: Sequence[Coroutine[Any, Any, T]], seconds: float) -> list[T | BaseException | None]:
    tasks = [asyncio.ensure_future(each) for each in given]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [None if task in late else task.exception() or task.result() for task in tasks]


async def _awaited(given: Awaitable[T]) -> T:
    return await given


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    """One loop as long as the worker lives: a function may keep a client that belongs to it."""
    return asyncio.new_event_loop()
