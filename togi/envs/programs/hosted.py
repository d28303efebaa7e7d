"""Episodes of another library as a program: they are played in one process beside this one, so that what the library
does to its process, such as taking its signals, is done there. It knows no model and no reward.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.envs.programs.running import KEPT_LINES, read_lines, row_of
from togi.envs.programs.session import Ended, Session
from togi.find_function import absolute, files_of
from togi.protocols import Abort
from togi.types import Task

LOADING_SECONDS = 300.0
"""How long a library may take to load what is played."""


@dataclass(frozen=True, kw_only=True)
class HostedProgram:
    """``player`` names a function that is called once with ``settings``, in ``folder``, and gives the async function
    that plays an episode: (the row, base_url, api_key) to the reward."""

    player: str
    settings: Mapping[str, Any]
    folder: Path
    named: tuple[str, ...] = ()
    """Functions of the user's that the settings name."""
    _host: _Host = field(default_factory=lambda: _Host(), compare=False, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for name in self.named for path in files_of(name))

    def begin(self, task: Task, session: Session, base_url: str) -> Callable[[], None]:
        first = {"player": self.player, "settings": dict(self.settings)}
        self._host.begin(first, self.folder, session, {"task": row_of(task), "base_url": base_url})
        return lambda: self._host.cancel(session)


def hosted(player: str, name: str, settings: Mapping[str, Any], base: Path) -> HostedProgram:
    """The program of a ``player`` that is called with a ``name``, and ``arguments`` of the settings. Raises ValueError
    for arguments that are no table, and a function of the user's that is not there."""
    arguments = settings.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise ValueError(f"arguments = {arguments!r:.200}: wanted a table of arguments by name")
    own = absolute(name, base) if ":" in name else ""
    return HostedProgram(
        player=player,
        settings={"name": own or name, "arguments": dict(arguments)},
        folder=base,
        named=(own,) if own else (),
    )


class _Host:
    """The process, and the episodes that it plays. One that has ended is started anew for the next episode."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._playing: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, first: Mapping[str, Any], folder: Path, session: Session, told: Mapping[str, Any]) -> None:
        """Raises ValueError where the library does not take the settings, and Abort where the process is gone."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process, self._playing = self._start(first, folder)
            self._playing[session.name] = session
            self._tell({"episode": session.name, "api_key": session.key, **told})

    def cancel(self, session: Session) -> None:
        with self._lock:
            if self._playing.pop(session.name, None) is not None:
                with suppress(Abort):
                    self._tell({"episode": session.name})

    def _tell(self, line: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Abort("the process that plays has ended") from None

    def _start(self, first: Mapping[str, Any], folder: Path) -> tuple[subprocess.Popen[str], dict[str, Session]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "togi.envs.programs.host"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is this process's to answer
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(first) + "\n")
        process.stdin.flush()
        loaded, playing = queue.SimpleQueue[str](), dict[str, Session]()
        threading.Thread(target=self._listen, args=(process, loaded, playing), daemon=True).start()
        try:
            refused = loaded.get(timeout=LOADING_SECONDS)
        except queue.Empty:
            refused = f"it was not loaded within {LOADING_SECONDS:g} s"
        if refused:
            process.kill()
            raise ValueError(refused)
        return process, playing

    def _listen(
        self, process: subprocess.Popen[str], loaded: queue.SimpleQueue[str], playing: dict[str, Session]
    ) -> None:
        """Hands on what the process says; ``loaded`` gets why it refused, or nothing."""
        assert process.stdout is not None
        assert process.stderr is not None
        printed = deque[str](maxlen=KEPT_LINES)
        reader = threading.Thread(target=read_lines, args=(process.stderr, printed), daemon=True)
        reader.start()
        with process.stdout as answers:
            if first := answers.readline():
                loaded.put(json.loads(first).get("refused", ""))
            for line in answers:
                said = json.loads(line)
                session = playing.pop(said["episode"], None)
                if session is not None:
                    raised = RuntimeError(said["raised"]) if "raised" in said else None
                    session.ended(Ended(gave=said.get("gave"), raised=raised))
        code = process.wait()
        reader.join(1)
        why = f"the process that plays ended with {code}{f': {printed[-1]}' if printed else '':.500}"
        loaded.put(why)
        with self._lock:
            lost = list(playing.values())
            playing.clear()
        for session in lost:
            session.ended(Ended(raised=RuntimeError(why)))  # no Abort: what the model said may have ended it
