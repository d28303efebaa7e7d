"""Commands that are started here: what they write, how they end, and that they end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from togi.launch.local import LocalLauncher, LocalProcess
from togi.launch.log_end import end_of

SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]); " + SLEEPS


def started(code: str, log: Path) -> LocalProcess:
    launcher = LocalLauncher()
    return launcher.start("sleeper", [sys.executable, "-c", code], env={"TOLD": "this"}, log=log)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def written(log: Path, lines: int = 1) -> list[int]:
    """The process numbers in a log, once there are as many."""
    until(lambda: log.exists() and log.read_text().count("\n") == lines)
    return [int(each) for each in log.read_text().split()]


def there(pid: int) -> bool:
    """Whether a process runs: one that has ended and that nobody waits for yet does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    ("code", "ending", "said"),
    [
        ("import os; print(os.environ['TOLD'])", "exit code 0", "this"),
        ("import sys; print('gone', file=sys.stderr); sys.exit(3)", "exit code 3", "gone"),
        ("import os; print('killed', flush=True); os.kill(os.getpid(), 9)", "signal 9", "killed"),
        ("import sys; print(sys.stdin.read() == '')", "exit code 0", "True"),
    ],
)
def test_it_writes_and_ends(tmp_path: Path, code: str, ending: str, said: str) -> None:
    process = started(code, tmp_path / "logs" / "log")
    until(lambda: not process.alive())
    assert process.ending() == ending
    assert end_of(tmp_path / "logs" / "log") == said
    process.end(1)


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    process = LocalLauncher().start("nothing", [str(tmp_path / "nothing")], env={}, log=tmp_path / "log")
    until(lambda: not process.alive())
    assert process.ending() == "exit code 127"
    assert "nothing cannot be started" in end_of(tmp_path / "log")


@pytest.mark.parametrize(("code", "processes"), [(SLEEPS, 1), (DEAF, 1), (PARENT, 2)])
def test_it_ends_with_all_that_it_started(tmp_path: Path, code: str, processes: int) -> None:
    process = started(code, tmp_path / "log")
    pids = written(tmp_path / "log", processes)
    assert process.alive()
    assert process.ending() == ""
    process.end(0.2)
    process.end(0.2)
    assert not process.alive()
    assert process.ending() in ("signal 15", "signal 9")
    until(lambda: not any(map(there, pids)))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_with_its_guard(tmp_path: Path) -> None:
    process = started(SLEEPS, tmp_path / "log")
    [pid] = written(tmp_path / "log")
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not there(pid))
    assert process.ending() == "signal 9"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from togi.launch.local import LocalLauncher
command = [sys.executable, "-c", {SLEEPS!r}]
process = LocalLauncher().start("one", command, env={{}}, log=Path({str(tmp_path / "log")!r}))
time.sleep(600)
"""
    starter = subprocess.Popen([sys.executable, "-c", code])
    [pid] = written(tmp_path / "log")
    starter.kill()
    starter.wait()
    until(lambda: not there(pid))


@pytest.mark.parametrize(
    ("said", "end"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo"),
        (b"\x1b[31mred\xff", "⟨U+001B⟩[31mred\ufffd"),
        (b"\n".join(b"%d" % line for line in range(50)), "\n".join(map(str, range(38, 50)))),
        (b"x" * 100_000, "x" * 8192),
    ],
)
def test_the_end_of_a_log(tmp_path: Path, said: bytes, end: str) -> None:
    (tmp_path / "log").write_bytes(said)
    assert end_of(tmp_path / "log") == end
    assert end_of(tmp_path / "none") == ""
