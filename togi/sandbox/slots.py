"""Runs one thing for each of many programs, some side by side, each in a numbered slot; it knows no tier."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from togi.sandbox.box import Calls, Ran, Script


def side_by_side(
    one: Callable[[Calls | Script, int], Ran], programs: Sequence[Calls | Script], workers: int
) -> list[Ran]:
    """``one(program, slot)`` for each program, at most ``workers`` at a time; results keep the programs' order.

    No two that run at the same time have the same slot, a number below ``workers``.
    """
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(min(workers, len(programs))):
        slots.put(slot)

    def in_a_slot(program: Calls | Script) -> Ran:
        slot = slots.get()
        try:
            return one(program, slot)
        finally:
            slots.put(slot)

    if slots.qsize() < 2:
        return [in_a_slot(program) for program in programs]
    with ThreadPoolExecutor(slots.qsize(), thread_name_prefix="box") as threads:
        return list(threads.map(in_a_slot, programs))
