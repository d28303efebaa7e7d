"""Lets a skill act in a world: the skill runs in an interpreter that has no system around it, the world stays here.

The interpreter (monty, of the extra) has its own process, and stops at each call of the world; what the call is to do
comes out as plain values, and what it gave goes in. So code cannot touch the world's state, read a file or hang: it is
ended by its time, its memory and its number of calls, and a loop that calls nothing by its time.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from togi.agents.voyager.world import World
from togi.extras import lacking
from togi.sandbox.tiers.python_subset import missing

Call = tuple[str, tuple[Any, ...]]
"""A call of the world: its name and arguments."""
End = Literal["ok", "error", "time", "memory", "calls"]
GRACE = 0.5  # seconds from the interpreter's own limit to the end of its process
LONGEST_SAID = 2000
LONGEST_ARGUMENT = 2000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run of a skill may use; ``calls`` are those of the world."""

    calls: int = 200
    seconds: float = 2.0
    memory_mb: int = 64


@dataclass(frozen=True, kw_only=True)
class Played:
    """What became of a run: how it ended, what was said of that, what it printed, all the calls it made, and the items
    that were there after any of them."""

    end: End
    note: str = ""
    printed: str = ""
    calls: tuple[Call, ...] = ()
    seen: tuple[str, ...] = ()


def check_extra() -> None:
    """Raises ValueError where the interpreter is not installed."""
    if missing():
        raise ValueError(lacking("the interpreter of skills (monty)", "voyager"))


def play(world: World, sources: Sequence[str], name: str, limits: Limits) -> Played:
    """Call the function ``name`` of ``sources`` once. The world keeps what was done until the end, however it came."""
    from pydantic_monty import Monty, MontyCrashedError, MontyError, ResourceLimits

    at = _At(world, limits.calls)
    most: ResourceLimits = {
        "max_feed_duration_secs": limits.seconds,
        "max_memory": limits.memory_mb * 2**20,
        "max_total_sleep_secs": limits.seconds,  # its clock stands still while it sleeps
    }
    known: dict[str, Any] = {call: at.door(call) for call in world.calls}
    printed: list[str] = []

    def said(stream: str, text: str) -> None:
        if sum(map(len, printed)) < LONGEST_SAID:
            printed.append(text[:LONGEST_SAID])

    end: End = "ok"
    note = ""
    with Monty(max_processes=1, request_timeout=limits.seconds + GRACE, max_checkouts_per_worker=1) as interpreters:
        try:
            with interpreters.checkout(limits=most, script_name="skill.py") as session:
                for source in sources:
                    session.feed_run(source, print_callback=said)
                session.feed_run(f"{name}()\nNone", external_lookup=known, print_callback=said)
        except MontyCrashedError as error:
            end, note = ("time", "") if error.timed_out else ("error", "the interpreter ended")
        except MontyError as error:
            end, note = _ended(error.exception())
    if at.over:
        end, note = "calls", ""
    return Played(
        end=end,
        note=note,
        printed="".join(printed)[:LONGEST_SAID],
        calls=tuple(at.made),
        seen=tuple(sorted(at.seen)),
    )


def again(world: World, calls: Sequence[Call]) -> None:
    """Make the same calls once more, as they were written down. Raises ValueError for what is no call of this world."""
    for name, arguments in calls:
        if name not in world.calls:
            raise ValueError(f"{name!r:.60} is no call of this world: it has {', '.join(world.calls)}")
        with suppress(Exception):
            getattr(world, name)(*arguments)


def ended_told(played: Played, limits: Limits) -> str:
    """How a run ended, in a sentence for whoever wrote the skill."""
    return {
        "ok": "It ran to its end.",
        "error": f"It failed: {played.note}",
        "time": f"It was stopped after {limits.seconds:g} seconds: it loops for ever.",
        "memory": f"It was stopped: it used more than {limits.memory_mb} MB of memory.",
        "calls": f"It was stopped after {limits.calls} calls of the world, which is all it may make.",
    }[played.end]


class _At:
    """The calls of one run, counted and written down."""

    def __init__(self, world: World, most: int) -> None:
        self._world, self._most = world, most
        self.made: list[Call] = []
        self.seen = set[str]()
        self.over = False

    def door(self, name: str) -> Callable[..., Any]:
        call = getattr(self._world, name)
        signature = inspect.signature(call)

        def made(*arguments: Any, **named: Any) -> Any:
            if len(self.made) >= self._most:
                self.over = True
                raise RuntimeError(f"no more than {self._most} calls")
            plain = _plain(name, signature.bind(*arguments, **named).args)
            self.made.append((name, plain))
            given = call(*plain)
            self.seen |= {item for item, count in self._world.held().items() if count}
            return given

        return made


def _plain(name: str, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments as JSON has them, so that they are the same when they are read again."""
    try:
        text = json.dumps(list(arguments), allow_nan=False)
    except (RecursionError, TypeError, ValueError):
        raise TypeError(f"{name}() takes texts and numbers") from None
    if len(text) > LONGEST_ARGUMENT:
        raise ValueError(f"{name}() takes at most {LONGEST_ARGUMENT} characters")
    return tuple(json.loads(text))


def _ended(error: BaseException) -> tuple[End, str]:
    if isinstance(error, TimeoutError):
        return "time", ""
    if isinstance(error, MemoryError):
        return "memory", ""
    return "error", f"{type(error).__name__}: {error}"[:300]
