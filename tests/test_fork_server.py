"""Cells are forked from one process: how each ends is known, and none outlives who wanted it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from togi.experiment.cell import BAD_INPUT, FAULT, Order
from togi.experiment.fork_server import Forked, ForkServer


def order(recipe: Path) -> Order:
    return Order(
        recipe=str(recipe),
        changes=[],
        folder=str(recipe.parent / "run"),
        stages=1,
        source=None,
        taken=0,
        tokens_of=None,
    )


@pytest.fixture
def endless(tmp_path: Path) -> Order:
    """A cell that is at work until somebody ends it: its recipe is a pipe which nobody writes."""
    os.mkfifo(tmp_path / "recipe.toml")
    return order(tmp_path / "recipe.toml")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with closing(ForkServer(1, tmp_path_factory.mktemp("server") / "logs" / "fork_server.log")) as server:
        yield server


def process_of(log: Path) -> int:
    """The process whose words go into a log, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for each in Path("/proc").iterdir():
            try:
                if each.name.isdigit() and (each / "fd" / "1").readlink() == log.resolve():
                    return int(each.name)
            except OSError:
                continue
        time.sleep(0.05)
    raise AssertionError(f"no process writes {log}")


def gone(process: int) -> bool:
    """Whether a process has ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def killed(forked: Forked, log: Path, number: int) -> int:
    process_of(log)
    forked.send_signal(number)
    return forked.wait(30)


def test_a_cell_that_cannot_run_says_why_in_its_log(server: ForkServer, tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    assert server.start(order(tmp_path / "missing.toml"), log).wait(60) == BAD_INPUT
    assert re.search(r"error: .*missing\.toml", log.read_text())


def test_several_are_at_work_and_a_signal_ends_one_alone(server: ForkServer, endless: Order, tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    first, second, third = [server.start(endless, log) for log in logs]
    assert killed(second, logs[1], signal.SIGKILL) == -signal.SIGKILL
    assert (first.poll(), third.poll()) == (None, None)
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) != 0
    assert third.poll() is None
    third.send_signal(signal.SIGKILL)
    second.send_signal(signal.SIGKILL)  # one that has ended hears nothing


def test_waiting_has_an_end(server: ForkServer, endless: Order, tmp_path: Path) -> None:
    forked = server.start(endless, tmp_path / "cell.log")
    with pytest.raises(TimeoutError, match=r"still at work after 0.1 s"):
        forked.wait(0.1)
    forked.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_the_death_of_the_server_ends_its_cells_and_the_next_has_a_new_one(
    server: ForkServer, endless: Order, tmp_path: Path
) -> None:
    log = tmp_path / "cell.log"
    forked = server.start(endless, log)
    cell = process_of(log)
    parent = int(Path(f"/proc/{cell}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert forked.wait(30) == -signal.SIGKILL
    assert gone(cell)
    assert server.start(order(tmp_path / "missing.toml"), tmp_path / "next.log").wait(60) == BAD_INPUT


@pytest.mark.slow
def test_closing_ends_cells(endless: Order, tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    with closing(ForkServer(1, tmp_path / "fork_server.log")) as server:
        forked = server.start(endless, log)
        cell = process_of(log)
    assert forked.code == FAULT
    assert gone(cell)


@pytest.mark.slow
def test_cells_end_with_who_wanted_them(endless: Order, tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    caller = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from togi.experiment.cell import Order\n"
            "from togi.experiment.fork_server import ForkServer\n"
            f"ForkServer(1, Path({str(tmp_path / 'fork_server.log')!r})).start({endless!r}, Path({str(log)!r}))\n"
            "time.sleep(600)",
        ]
    )
    try:
        cell = process_of(log)
    finally:
        caller.kill()
        caller.wait()
    assert gone(cell)


def test_a_forked_process_leaves_the_harness_that_it_shares() -> None:
    script = (
        "import os, sys\nfrom togi.sandbox.tiers import choose_tier\n"
        "place = choose_tier._harness()\n"
        "if (child := os.fork()) == 0:\n    sys.exit(0)\n"
        "os.waitpid(child, 0)\nprint(place.exists(), place)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    there, place = said.strip().split(" ", 1)
    assert there == "True"
    assert not Path(place).exists()
