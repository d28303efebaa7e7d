"""The portable tier: monty, an interpreter of a subset of Python that has no files, network or system. Calls only.

It keeps programs in on every system, and starts in a few milliseconds, but it lacks ``yield``, inheritance and most of
the standard library: a program that needs those ends with ``judged`` False, which says nothing about the program.
Needs the extra ``togi[subset]``.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from togi.extras import install
from togi.sandbox.box import Calls, Limits, Outcome, Ran, Script, Tier
from togi.sandbox.codec import NoValue, encode
from togi.sandbox.tiers.side_by_side import side_by_side

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession, ResourceLimits

INSTALL = install("subset")
GRACE = 0.5  # seconds from the interpreter's own limit to the end of its process
LACKING = (NotImplementedError, ImportError)


def missing() -> str:
    """Why the interpreter is not there; empty when it is."""
    return "" if find_spec("pydantic_monty") else f"there is no pydantic_monty: {INSTALL}"


@dataclass(frozen=True, kw_only=True)
class Subset:
    """A box that interprets. Each program has an interpreter process of its own."""

    workers: int
    tier: Tier = field(default="subset", init=False)

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        from pydantic_monty import Monty

        if any(isinstance(program, Script) for program in programs):
            raise ValueError(
                'the tier "subset" runs programs that define a function, and not those that read standard input: it '
                "has none. Use bubblewrap or landlock for them"
            )
        if not programs:
            return []
        workers = min(self.workers, len(programs))
        timeout = limits.seconds + GRACE
        with Monty(max_processes=workers, request_timeout=timeout, max_checkouts_per_worker=1) as interpreters:

            def one(program: Calls | Script) -> Ran:
                assert isinstance(program, Calls)
                return _Program(program, limits).run(interpreters)

            return side_by_side(one, programs, workers)


class _Program:
    """One program being run: what its calls gave so far, and what it printed."""

    def __init__(self, program: Calls, limits: Limits) -> None:
        self.program, self.limits = program, limits
        self.outcomes: list[Outcome] = []
        self.printed, self.flooded = "", False
        self.began = time.monotonic()

    def run(self, interpreters: Monty) -> Ran:
        from pydantic_monty import MontyCrashedError, MontyError

        most: ResourceLimits = {
            "max_feed_duration_secs": self.limits.seconds,
            "max_memory": self.limits.memory_mb * 2**20,
            "max_total_sleep_secs": self.limits.seconds,  # its clock stands still while it sleeps
        }
        try:
            with interpreters.checkout(limits=most) as session:
                session.feed_run(self.program.source, print_callback=self._print)
                for arguments in self.program.arguments:
                    over = self._over()
                    if over is not None:
                        return over
                    ended = self._call(session, arguments)
                    if ended is not None:
                        return ended
        except MontyCrashedError as error:
            return self._ran("timeout" if error.timed_out else "error", str(error))
        except MontyError as error:
            return self._failed(error.exception())
        return self._over() or self._ran("ok")

    def _call(self, session: MontySession, arguments: tuple[Any, ...]) -> Ran | None:
        """Make one call; gives the program's end where this was its last."""
        from pydantic_monty import MontyConversionError, MontyError

        try:
            value = session.feed_run(
                f"{self.program.function}(*arguments_)",
                inputs={"arguments_": arguments},
                print_callback=self._print,
            )
            encode(value)
        except (NoValue, MontyConversionError) as error:
            self.outcomes.append(Outcome(status="no value", note=str(error)[:300]))
        except MontyError as error:
            inner = error.exception()
            if isinstance(inner, TimeoutError | MemoryError) or _lacks(inner):
                return self._failed(inner)
            self.outcomes.append(Outcome(status="raised", note=f"{type(inner).__name__}: {inner}"[:300]))
        else:
            self.outcomes.append(Outcome(value=value))
        return None

    def _print(self, stream: str, text: str) -> None:
        room = self.limits.output_bytes - len(self.printed)
        self.flooded = self.flooded or len(text) > room
        self.printed += text[:room]

    def _over(self) -> Ran | None:
        if self.flooded:
            return self._ran("output", f"wrote more than {self.limits.output_bytes} characters")
        if time.monotonic() - self.began > self.limits.seconds:
            return self._ran("timeout", f"took longer than {self.limits.seconds:g} s")
        return None

    def _failed(self, error: BaseException) -> Ran:
        note = f"{type(error).__name__}: {error}"[:300]
        if isinstance(error, TimeoutError):
            return self._ran("timeout", f"took longer than {self.limits.seconds:g} s")
        if isinstance(error, MemoryError):
            return self._ran("memory", note)
        return self._ran("error", note, judged=not _lacks(error))

    def _ran(self, status: Any, note: str = "", judged: bool = True) -> Ran:
        seconds = time.monotonic() - self.began
        return Ran(
            status=status,
            outcomes=tuple(self.outcomes),
            stdout=self.printed,
            seconds=seconds,
            note=note,
            judged=judged,
        )


def _lacks(error: BaseException) -> bool:
    """Whether this says that the interpreter knows less than Python does."""
    unknown = isinstance(error, NameError) and any(f"'{name}'" in str(error) for name in dir(builtins))
    return isinstance(error, LACKING) or unknown or "not supported in this environment" in str(error)
