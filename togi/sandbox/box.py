"""Running a foreign program once, under limits: the nouns and the protocol. It knows no tier and no reward.

A box gets inputs and gives outputs. What an output should have been never enters it, and its exit code says nothing:
whoever asked compares values outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Tier = Literal["bubblewrap", "landlock", "subset", "process"]
"""How a program is kept in, the strongest first; "process" keeps nothing in and must be asked for."""
AnyTier = Tier | Literal["auto"]
"""A tier, or the strongest that holds."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use: wall clock and processor seconds, memory, processes, files and output. The limit on
    memory is one for each process and for all of them together."""

    seconds: float = 5.0
    memory_mb: int = 512
    processes: int = 16
    file_mb: int = 16
    output_bytes: int = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Calls:
    """A program that defines ``function``, to be called once for each list of arguments, in one process.

    Arguments and results are plain Python values that togi.sandbox.codec can write down.
    """

    source: str
    function: str
    arguments: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Script:
    """A program that reads standard input and writes standard output."""

    source: str
    stdin: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one call gave: a value, or the kind of its failure and what was said of it."""

    value: Any = None
    status: Literal["ok", "raised", "no value"] = "ok"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of one program.

    ``outcomes`` has one entry for each call, as many as were reached; a script has none. ``stdout`` and ``stderr`` are
    cut at the limit. A status other than ``ok`` says which limit it ran into, or "error" when it did not start or died;
    ``judged`` is False when that says nothing about the program: the box failed, or does not speak all of its language.
    """

    status: Literal["ok", "timeout", "memory", "output", "error"]
    outcomes: tuple[Outcome, ...] = ()
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    note: str = ""
    judged: bool = True


class Box(Protocol):
    """A place to run programs in, each in a fresh process of its own that is gone when ``run`` returns."""

    @property
    def tier(self) -> Tier: ...

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        """Run the programs, some side by side, and give what became of each, in their order.

        What a program does never raises here. Raises ValueError for a kind of program that this tier cannot run.
        """
        ...
