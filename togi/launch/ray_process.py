"""A command on a machine of a Ray cluster: what an actor holds there. It starts the command as ``local.py`` does, under
a guard that ends it with the actor, and hands over what it writes. It knows no cluster.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from togi.launch.local import LocalLauncher, LocalProcess

_AT_ONCE = 1 << 20  # bytes of output handed over at once


class RayProcess:
    """Made without arguments, since Ray keeps those of actors, and a command's environment may hold a key."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="togi-ray-")
        self._log = Path(self._folder.name) / "log"
        self._process: LocalProcess | None = None

    def address(self) -> str:
        """That of this machine in the cluster."""
        import ray

        return str(ray.util.get_node_ip_address())

    def cards(self) -> list[str]:
        """The cards that are reserved for it."""
        import ray

        return [str(card) for card in ray.get_gpu_ids()]

    def shares(self, folder: str, asked: str) -> str:
        """What the file ``asked`` in a folder says here, after another one was written beside it; "" where one of the
        two cannot be done."""
        try:
            said = (Path(folder) / asked).read_text(encoding="ascii")
            (Path(folder) / f"{asked}.answer").write_text(said, encoding="ascii")
        except OSError:
            return ""
        return said

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str], python: str, folder: str) -> None:
        """Start a command. Where it names ``python``, that of the machine it comes from, it runs with the one here;
        relative paths are those of ``folder``, where there is one of that name."""
        with suppress(OSError):
            os.chdir(folder)
        own = [sys.executable if word == python else word for word in command]
        self._process = LocalLauncher().start(name, own, env=env, log=self._log)

    def look(self, since: int) -> tuple[str, bytes]:
        """How the command ended, "" while it is alive, and what it wrote after so many bytes."""
        assert self._process is not None, "a command is started before it is looked at"
        ending = self._process.ending()  # first, so that nothing is written after the last look
        with self._log.open("rb") as file:
            file.seek(since)
            return ending, file.read(_AT_ONCE)

    def end(self, seconds: float) -> None:
        if self._process is not None:
            self._process.end(seconds)


def ask_for_answer(folder: Path) -> str:
    """Write a file that another machine is to read and answer; gives its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f".shared-{secrets.token_hex(8)}"
    (folder / name).write_text(name, encoding="ascii")
    return name


def answered(folder: Path, asked: str, said: str) -> bool:
    """Whether it was read and answered there; removes both files."""
    answer = folder / f"{asked}.answer"
    try:
        return said == asked and answer.read_text(encoding="ascii") == asked
    except OSError:
        return False
    finally:
        for path in (answer, folder / asked):
            path.unlink(missing_ok=True)
