"""What starts a command, here or on another machine, and what can be asked of it then. It starts nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Launched(Protocol):
    """A command that was started."""

    @property
    def host(self) -> str:
        """Where what it listens at is reached from here."""
        ...

    def alive(self) -> bool: ...

    def ending(self) -> str:
        """How it ended, such as "exit code 1" or "signal 9"; "" while it is alive."""
        ...

    def end(self, seconds: float) -> None:
        """Ask it, and all that it started, to end; kill what is left after so many seconds. Once over, it is over: a
        second call does nothing."""
        ...


class Launcher(Protocol):
    """Starts commands. What it started ends with this process, however that ends."""

    @property
    def listen(self) -> str:
        """The address at which a command listens, where it is to be reached from here."""
        ...

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Launched:
        """Start a command, called ``name`` in messages. ``env`` is set beside the variables that are set there; what
        it writes is added to the file ``log`` of this machine. Raises ValueError where it cannot be started."""
        ...
