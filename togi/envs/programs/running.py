"""Programs that play an episode: a function in a thread of this process, or a command in a process of its own. It knows
no model and no reward.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Protocol

from togi.envs.programs.endpoint import MODEL
from togi.envs.programs.session import Ended, Session
from togi.find_function import files_of, with_imports
from togi.types import Task

LAST_SECONDS = 5.0
"""How long a program that is no longer needed may take to end."""
KEPT_LINES, LONGEST_LINE = 100, 10_000  # of what a command writes


class Program(Protocol):
    """Something that plays an episode."""

    @property
    def files(self) -> tuple[Path, ...]: ...

    def begin(self, task: Task, session: Session, base_url: str) -> Callable[[], None]:
        """Start playing; the session is told of the end. Gives what ends it at once, which raises TimeoutError where it
        does not."""
        ...


@dataclass(frozen=True, kw_only=True)
class FunctionProgram:
    """``play(task, base_url, api_key, **arguments)``, which was found by its name ``use`` and may be async; it gives
    the reward, or nothing."""

    use: str
    play: Callable[..., Any] = field(compare=False, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        return files_of(self.use)

    def begin(self, task: Task, session: Session, base_url: str) -> Callable[[], None]:
        def play() -> None:
            try:
                gave = self.play(task, base_url, session.key, **self.arguments)
                session.ended(Ended(gave=asyncio.run(_waited(gave)) if inspect.isawaitable(gave) else gave))
            except Exception as problem:  # a program's own, told as that of an environment
                session.ended(Ended(raised=problem))
            except BaseException as problem:  # what would end this thread silently, such as sys.exit()
                session.ended(Ended(raised=RuntimeError(f"{type(problem).__name__}: {problem}")))

        thread = threading.Thread(target=play, name="program", daemon=True)
        thread.start()

        def end() -> None:
            thread.join(LAST_SECONDS)
            if thread.is_alive():
                name = self.use.rpartition(":")[2]
                raise TimeoutError(f"{name} goes on {LAST_SECONDS:g} s after its episode, and a thread cannot be ended")

        return end


async def _waited(value: Any) -> Any:
    return await value


@dataclass(frozen=True, kw_only=True)
class CommandProgram:
    """A command, run in ``folder``. It reads its task as JSON from standard input, and finds address and key where
    OpenAI's clients look for them. Its reward is the number that it writes into the file ``REWARD_FILE``: what it
    prints may be the model's words, which must not pay themselves."""

    command: tuple[str, ...]
    folder: Path

    @property
    def files(self) -> tuple[Path, ...]:
        named = [self.folder / word for word in self.command if not Path(word).is_absolute()]
        return tuple(path for file in named if file.is_file() for path in with_imports(file))

    def begin(self, task: Task, session: Session, base_url: str) -> Callable[[], None]:
        own = TemporaryDirectory(prefix="togi-program-", ignore_cleanup_errors=True)
        reward = Path(own.name) / "reward"
        told = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": session.key, "OPENAI_MODEL": MODEL}
        process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env={**os.environ, **told, "REWARD_FILE": str(reward)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        row = json.dumps(row_of(task))
        threading.Thread(target=_watch, args=(process, row, reward, session), name="program", daemon=True).start()

        def end() -> None:
            with own, suppress(ProcessLookupError):  # all of them have ended
                os.killpg(process.pid, signal.SIGKILL)

        return end


def row_of(task: Task) -> dict[str, Any]:
    """A task as its row, in values that JSON has."""
    prompt = [{"role": message.role, "content": message.content} for message in task.prompt]
    row = {**task.info, "id": task.id, "prompt": prompt, "answer": task.answer}
    return dict(json.loads(json.dumps(row, default=str)))


def _watch(process: subprocess.Popen[str], task: str, reward: Path, session: Session) -> None:
    assert process.stdin is not None
    assert process.stderr is not None
    printed = deque[str](maxlen=KEPT_LINES)
    reader = threading.Thread(target=read_lines, args=(process.stderr, printed), daemon=True)
    reader.start()
    with suppress(BrokenPipeError):  # it does not read its task
        process.stdin.write(task)
    with suppress(BrokenPipeError):
        process.stdin.close()
    code = process.wait()
    reader.join(LAST_SECONDS)  # children that it left may hold its output open
    if code:
        last = f": {printed[-1]}" if printed else ""
        session.ended(Ended(raised=RuntimeError(f"the command ended with {code}{last:.500}")))
    else:
        session.ended(Ended(gave=_written(reward)))


def read_lines(stream: IO[str], lines: deque[str]) -> None:
    """Keeps the last lines that are not blank; what floods is read and dropped."""
    with stream:
        while line := stream.readline(LONGEST_LINE):
            if line.strip():
                lines.append(line.strip())


def _written(reward: Path) -> float | str | None:
    """The number in the file, or what stands there instead; None where there is no file."""
    try:
        with reward.open(encoding="utf-8", errors="replace") as file:
            text = file.read(100).strip()
    except OSError:
        return None
    try:
        return float(text)
    except ValueError:
        return text
