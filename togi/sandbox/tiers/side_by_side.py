"""Runs one thing for each of many programs, some side by side; it knows no tier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from togi.sandbox.box import Calls, Ran, Script


def side_by_side(one: Callable[[Calls | Script], Ran], programs: Sequence[Calls | Script], workers: int) -> list[Ran]:
    """``one(program)`` for each program, at most ``workers`` at a time; results keep the programs' order."""
    workers = min(workers, len(programs))
    if workers < 2:
        return [one(program) for program in programs]
    with ThreadPoolExecutor(workers, thread_name_prefix="box") as threads:
        return list(threads.map(one, programs))
