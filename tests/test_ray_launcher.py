"""Commands in a Ray cluster: what an actor holds, what --on may say, and a real Ray of this machine with kills."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from togi.launch import open_launcher as opener
from togi.launch.needs import Needs
from togi.launch.open_launcher import check_on, open_launcher
from togi.launch.ray_process import RayProcess, answered, ask_for_answer

TELLS = "import os, sys; print(os.environ['TOLD'], os.getcwd()); sys.exit(3)"
SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def there(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_an_actor_starts_a_command_and_hands_over_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())  # the actor goes to another folder
    process = RayProcess()
    process.start("teller", ["/their/python", "-c", TELLS], {"TOLD": "this"}, "/their/python", str(tmp_path))
    until(lambda: bool(process.look(0)[0]))
    assert process.look(0) == ("exit code 3", f"this {tmp_path}\n".encode())
    assert process.look(5) == ("exit code 3", f"{tmp_path}\n".encode())
    process.end(0)


@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_is_shared_where_a_file_is_read_and_answered(tmp_path: Path, shared: bool) -> None:
    here, far = tmp_path / "here", tmp_path / ("here" if shared else "far")
    far.mkdir()
    asked = ask_for_answer(here)
    assert answered(here, asked, RayProcess().shares(str(far), asked)) is shared
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("on", ["local", "ray", "ray://10.0.0.7:10001", "ray://head.cluster:10001"])
def test_launchers_that_can_be_named(on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opener, "find_spec", lambda name: object())
    check_on(on)


@pytest.mark.parametrize("on", ["", "Ray", "slurm", "ray://", "ray://host", "http://host:1", "ray://host:1/x", "ray:1"])
def test_others_are_refused(on: str) -> None:
    with pytest.raises(ValueError, match="--on says who starts processes"):
        check_on(on)


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opener, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--on ray needs the ray extra: .*\[ray\]"):
        check_on("ray")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("ray") is None, reason="needs the ray extra")
def test_a_ray_of_this_machine_starts_and_ends_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes; one is killed and started again in its room; the other's actor is lost; the rest ends with Ray."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    needs = {"engine 1": Needs(cores=1), "engine 2": Needs(cores=1)}
    command = [sys.executable, "-c", SLEEPS]
    logs = {name: tmp_path / f"{name}.log" for name in needs}

    def pid(name: str, line: int = 0) -> int:
        until(lambda: logs[name].exists() and logs[name].read_text().count("\n") > line)
        return int(logs[name].read_text().split()[line])

    with open_launcher("ray", needs, tmp_path / "shared", here=Needs(cores=1)) as launcher:
        assert launcher.listen == "127.0.0.1"
        started = {name: launcher.start(name, command, env={"A": "1"}, log=log) for name, log in logs.items()}
        assert {each.host for each in started.values()} == {"127.0.0.1"}
        one, two = pid("engine 1"), pid("engine 2")
        os.kill(one, signal.SIGKILL)
        until(lambda: not started["engine 1"].alive())
        assert started["engine 1"].ending() == "signal 9"
        assert started["engine 2"].alive()
        again = launcher.start("engine 1", command, env={"A": "1"}, log=logs["engine 1"])
        third = pid("engine 1", line=1)
        assert again.alive()
        again.end(5)
        assert not there(third)
    until(lambda: not there(two))
    assert list((tmp_path / "shared").iterdir()) == []
