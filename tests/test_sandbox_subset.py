"""The interpreter of a subset of Python: what it runs, what it cannot, and what ends a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from togi.sandbox.box import Box, Calls, Limits, Outcome, Ran, Script
from togi.sandbox.tiers.choose_tier import open_box, why_not

QUICK = Limits(seconds=5.0, memory_mb=64, output_bytes=1 << 12)


@pytest.fixture(scope="module")
def box() -> Box:
    if why_not("subset"):
        pytest.skip(why_not("subset"))
    return open_box("subset", workers=2)


def run(box: Box, source: str, *arguments: Any, limits: Limits = QUICK) -> Ran:
    (ran,) = box.run([Calls(source=source, function="f", arguments=(arguments,))], limits)
    return ran


def test_calls_have_outcomes(box: Box) -> None:
    source = "seen = []\ndef f(x):\n    seen.append(x)\n    print(x)\n    return 12 // x, len(seen)"
    (ran,) = box.run([Calls(source=source, function="f", arguments=((3,), (0,), (4,)))], QUICK)
    assert ran.status == "ok"
    assert ran.outcomes[0] == Outcome(value=(4, 1))
    assert ran.outcomes[1].status == "raised"
    assert ran.outcomes[1].note.startswith("ZeroDivisionError")
    assert ran.outcomes[2] == Outcome(value=(3, 3))
    assert ran.stdout == "3\n0\n4\n"


def test_values_keep_their_types(box: Box) -> None:
    given = ({1: (2, 3.0), "a": b"x"}, 2**200, float("inf"), [None, True])
    assert run(box, "def f(*a): return a", *given).outcomes[0].value == given
    assert run(box, "class A:\n    pass\ndef f(): return A()").outcomes[0].status == "no value"


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    yield 1",
        "class A(int): pass\ndef f(): return 1",
        "import heapq\ndef f(): return 1",
        "def f():\n    import heapq",
        "def f(): return bytearray(3)",
    ],
)
def test_what_the_subset_lacks_is_not_held_against_the_program(box: Box, source: str) -> None:
    ran = run(box, source)
    assert (ran.status, ran.judged) == ("error", False)


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def f(:", "error"),
        ("1 / 0", "error"),
        ("def f():\n    while True: pass", "timeout"),
        ("import time\ndef f(): time.sleep(60)", "timeout"),
        ("import time\ndef f():\n    while True: time.sleep(0.2)", "timeout"),
        ("import time\ntime.sleep(60)\ndef f(): return 1", "timeout"),
        ("def f(): return [0] * 10**9", "memory"),
        ("def f(): return 9**9**9", "memory"),
        ("def f():\n    while True: print('x' * 1000)", "timeout"),
        ("def f():\n    for n in range(100): print('x' * 1000)", "output"),
    ],
)
def test_ends(box: Box, source: str, status: str) -> None:
    ran = run(box, source, limits=Limits(seconds=1.0, memory_mb=64, output_bytes=1 << 12))
    assert (ran.status, ran.judged) == (status, True)
    assert ran.seconds < 2.5


def test_there_is_nothing_outside(box: Box, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("42")
    ran = run(box, "def f(path): return open(path).read()", str(tmp_path / "secret"))
    assert not ran.outcomes or ran.outcomes[0].status == "raised"
    for source in ("import socket\ndef f(): return 1", "import subprocess\ndef f(): return 1"):
        assert run(box, source).status == "error"


def test_scripts_are_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="not those that read standard input"):
        box.run([Script(source="print(1)")], QUICK)


def test_programs_share_nothing(box: Box) -> None:
    programs = [Calls(source=f"x = {n}\ndef f(): return x", function="f", arguments=((),)) for n in range(8)]
    programs.append(Calls(source="def f(): return x", function="f", arguments=((),)))
    ran = box.run(programs, QUICK)
    assert [each.outcomes[0].value for each in ran[:8]] == list(range(8))
    assert ran[8].outcomes[0].status == "raised"
