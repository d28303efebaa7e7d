"""Programs in every tier that holds here: what they are paid back, what they cannot do, and what ends them.

A tier that this machine does not offer is skipped, with the reason.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from togi.sandbox.box import Box, Calls, Limits, Outcome, Ran, Script, Tier
from togi.sandbox.confine import footprint
from togi.sandbox.confine.escape_probe import escapes
from togi.sandbox.confine.process_end import ending
from togi.sandbox.tiers.choose_tier import available, open_box, why_not

QUICK = Limits(seconds=10.0, memory_mb=128, processes=8, file_mb=1, output_bytes=1 << 16)
JAILS: list[Tier] = ["bubblewrap", "landlock"]
TIERS: list[Tier] = [*JAILS, "process"]


FORGE = """
import os
for fd in range(3, 1024):
    try:
        os.write(fd, {line!r})
    except OSError:
        pass
"""
SUCCEEDS = """
import os
out = []
for path in a:
    try:
        {attempt}
        out.append(path)
    except OSError:
        pass
return out
"""
FORKS = """
import os, time
n = 0
try:
    while n < 100:
        if not os.fork():
            time.sleep(30)
        n += 1
except OSError:
    pass
return n
"""
HOLD_TOGETHER = """
import os, time
shared = bytearray(b"x") * (a[1] * 2**20)
for n in range(a[0]):
    if not os.fork():
        own = bytearray(b"x") * (a[2] * 2**20)
        time.sleep(0.7)
        os._exit(0)
return sum(os.wait()[1] == 0 for n in range(a[0]))
"""
MANY_FILES = """
size = 0
try:
    for n in range(40):
        with open(str(n), 'wb', buffering=0) as file:
            size += file.write(b'x' * 2**19)
except OSError:
    pass
return size
"""
SEND = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    s.sendto(b'x', ('127.0.0.1', a[0]))
except OSError:
    pass
"""
LINGERS = """
import os, sys, time
if not os.fork():
    os.setsid()
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", a[0]])
time.sleep(0.3)
return a[0]
"""
MACHINE_CODE = """
import ctypes, mmap
code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON, prot=mmap.PROT_READ | mmap.PROT_WRITE | 4)
code.write(bytes.fromhex(a[0]))
return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
"""
LINGER = """
import atexit, threading, time
atexit.register(time.sleep, 60)
threading.Thread(target=time.sleep, args=(60,)).start()
return 1
"""


def opened(tier: Tier) -> Box:
    if tier != "process" and why_not(tier):
        pytest.skip(f"{tier}: {why_not(tier)}")
    return open_box(tier, workers=2)


@pytest.fixture(scope="module", params=TIERS)
def box(request: pytest.FixtureRequest) -> Box:
    return opened(request.param)


@pytest.fixture(scope="module", params=JAILS)
def jail(request: pytest.FixtureRequest) -> Box:
    return opened(request.param)


def calls(box: Box, body: str, *arguments: Any, limits: Limits = QUICK) -> Ran:
    """Run ``def f(*a)`` with this body once."""
    source = "def f(*a):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    (ran,) = box.run([Calls(source=source, function="f", arguments=(arguments,))], limits)
    return ran


def value(box: Box, body: str, *arguments: Any) -> Any:
    ran = calls(box, body, *arguments)
    assert ran.status == "ok", ran
    assert ran.outcomes[0].status == "ok", ran
    return ran.outcomes[0].value


# What comes back -----------------------------------------------------------------------------------------------------


def test_each_call_has_an_outcome(box: Box) -> None:
    source = "seen = []\ndef f(x):\n    seen.append(x)\n    print('looking at', x)\n    return 12 // x, len(seen)"
    (ran,) = box.run([Calls(source=source, function="f", arguments=((3,), (0,), (5.0,)))], QUICK)
    assert (ran.status, ran.judged) == ("ok", True)
    assert ran.outcomes[0] == Outcome(value=(4, 1))
    assert ran.outcomes[1].status == "raised"
    assert ran.outcomes[1].note.startswith("ZeroDivisionError")
    assert ran.outcomes[2] == Outcome(value=(2.0, 3))
    assert ran.stdout == "looking at 3\nlooking at 0\nlooking at 5.0\n"


def test_values_go_in_and_out_with_their_types(box: Box) -> None:
    given = ({1: (2, 3.0), "a": {b"x"}}, 2**200, float("inf"), [None, True], 1j)
    assert value(box, "return a", *given) == given


def test_a_value_that_cannot_be_written_is_none(box: Box) -> None:
    for body in (
        "return object()",
        "class A(int): pass\nreturn A()",
        "a = []\na.append(a)\nreturn a",
        "return iter([])",
    ):
        ran = calls(box, body)
        assert (ran.status, ran.outcomes[0].status) == ("ok", "no value")


def test_a_program_without_the_function_ends_in_an_error(box: Box) -> None:
    for source, note in (("x = 1", "no function f"), ("def f(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError")):
        (ran,) = box.run([Calls(source=source, function="f", arguments=((),))], QUICK)
        assert (ran.status, ran.outcomes, ran.judged) == ("error", (), True)
        assert note in ran.note


def test_scripts_read_and_write(box: Box) -> None:
    source = "import sys\nif __name__ == '__main__':\n    print(sum(map(int, sys.stdin)))\n    sys.exit(3)"
    long = "\n".join(["1"] * 100_000)
    first, second = box.run([Script(source=source, stdin="4\n5\n"), Script(source=source, stdin=long)], QUICK)
    assert (first.status, first.stdout, first.outcomes) == ("ok", "9\n", ())
    assert (second.status, second.stdout) == ("ok", "100000\n")
    (failed,) = box.run([Script(source="print('half')\nraise KeyError('no')")], QUICK)
    assert (failed.status, failed.stdout, failed.note) == ("error", "half\n", "KeyError: 'no'")
    assert "KeyError" in failed.stderr


def test_programs_keep_their_order_and_share_nothing(box: Box) -> None:
    source = (
        "import os\ndef f(x):\n    new = not os.path.exists('mark')\n    open('mark', 'w').close()\n    return x, new"
    )
    ran = box.run([Calls(source=source, function="f", arguments=((number,),)) for number in range(12)], QUICK)
    assert [each.outcomes[0].value for each in ran] == [(number, True) for number in range(12)]
    assert box.run([], QUICK) == []


def test_arguments_that_cannot_be_written_are_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="arguments of f cannot enter a box"):
        calls(box, "return 1", object())


# Limits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["while True: pass", "import time\ntime.sleep(60)", "return 9**9**9**9"])
def test_a_hang_ends_at_its_limit(box: Box, body: str) -> None:
    ran = calls(box, body, limits=Limits(seconds=0.7, memory_mb=128))
    assert ran.status == "timeout"
    assert 0.7 <= ran.seconds < 1.7


def test_calls_before_a_hang_are_kept(box: Box) -> None:
    source = "def f(x):\n    while x == 2: pass\n    return x"
    program = Calls(source=source, function="f", arguments=((0,), (1,), (2,), (3,)))
    (ran,) = box.run([program], Limits(seconds=1.5))
    assert ran.status == "timeout"
    assert [outcome.value for outcome in ran.outcomes] == [0, 1]


@pytest.mark.parametrize(
    "body",
    [
        "return len(bytearray(2**30))",
        "a = []\nwhile True: a.append(bytes(2**20))",
        "a = []\nwhile True: a.append(None)",
    ],
)
def test_memory_is_limited(box: Box, body: str) -> None:
    assert calls(box, body).status == "memory"


def test_memory_that_is_shared_is_limited(box: Box) -> None:
    ran = calls(box, "import mmap\nreturn len(mmap.mmap(-1, 2**30))")
    assert ran.status == "memory" or ran.outcomes[0].status == "raised"


@pytest.mark.parametrize(
    "body",
    [
        "import mmap\nreturn len(mmap.mmap(-1, 4096))",
        "import mmap\nreturn len(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON | 0x100))",
        "import mmap\nfile = open('/dev/zero', 'r+b')\nreturn len(mmap.mmap(file.fileno(), 2**30))",
        "import os\nreturn os.memfd_create('x')",
        "import ctypes\nif ctypes.CDLL(None).shmget(0, 2**30, 0o1600) < 0: raise OSError",
        "import ctypes\nif ctypes.CDLL(None).msgget(0, 0o1600) < 0: raise OSError",
        "import multiprocessing.shared_memory as m\nreturn m.SharedMemory(create=True, size=2**20).size",
        "import fcntl, os\nreturn fcntl.fcntl(os.pipe()[1], 1031, 2**20)",
        "import resource\nreturn resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import resource\nreturn resource.prlimit(os.getppid(), resource.RLIMIT_AS)",
    ],
)
def test_no_memory_passes_the_limit(jail: Box, body: str) -> None:
    ran = calls(jail, f"import os\n{body}")
    assert ran.status == "memory" or ran.outcomes[0].status == "raised", ran


def test_memory_of_all_processes_together_is_limited(box: Box) -> None:
    ran = calls(box, HOLD_TOGETHER, 6, 0, 60)
    assert ran.status == "memory" if box.tier != "landlock" else ran.outcomes[0].value < 6, ran


def test_memory_that_processes_share_counts_once(box: Box) -> None:
    assert value(box, HOLD_TOGETHER, 4, 60, 0) == 4


@pytest.mark.parametrize("stream", [1, 2])
def test_floods_of_output_are_cut(box: Box, stream: int) -> None:
    ran = calls(box, f"import os\nwhile True: os.write({stream}, b'x' * 65536)")
    assert ran.status == "output"
    assert len(ran.stdout) + len(ran.stderr) == QUICK.output_bytes


def test_a_value_too_large_to_send_is_a_flood(box: Box) -> None:
    assert calls(box, "return 'x' * 10**6").status == "output"


def test_files_are_limited(box: Box) -> None:
    body = "with open('big', 'wb') as file:\n    try:\n        file.write(b'x' * 10**7)\n    except OSError: pass\n"
    assert value(box, body + "import os\nreturn os.stat('big').st_size <= 2**20")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL"),
        (137, "was killed by SIGKILL"),
        (-signal.SIGXCPU, "used up its processor time"),
        (128 + signal.SIGXCPU, "used up its processor time"),
        (255, "ended with exit code 255"),
    ],
)
def test_how_a_process_ended_is_told_in_words(code: int, words: str) -> None:
    assert ending(code) == words


@pytest.mark.slow
def test_the_probe_sees_that_memory_has_no_limit_for_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    jail = opened("bubblewrap")
    monkeypatch.setattr(footprint, "exceeds", lambda process, limit: False)
    assert escapes(jail) == "the memory of a program's processes together has no limit"


# What programs try ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import ctypes\nctypes.string_at(0)",
        FORGE.format(line=b'{"value": 1}\n' * 9) + "os._exit(0)",
        FORGE.format(line=b"paid") + "return 1",
        FORGE.format(line=b"[" * 10_000 + b"\n") + "return 1",
        "import json\njson.dumps = lambda reply: 'nonsense'\nreturn 1",
    ],
)
def test_a_program_that_ends_or_forges_its_replies_gets_an_error(box: Box, body: str) -> None:
    # sandlock cannot tell a program that it ended from one that ended itself by the same signal.
    assert calls(box, body).status in (("error", "memory") if box.tier == "landlock" else ("error",))


def test_leaving_early_keeps_only_what_was_answered(box: Box) -> None:
    source = "import os\ndef f(x):\n    if x: os._exit(0)\n    return x"
    (ran,) = box.run([Calls(source=source, function="f", arguments=((0,), (1,), (0,)))], QUICK)
    assert (ran.status, ran.outcomes) == ("error", (Outcome(value=0),))


def test_exits_are_not_waited_for(box: Box) -> None:
    assert value(box, LINGER) == 1


def test_an_exception_may_not_be_printable(box: Box) -> None:
    ran = calls(box, "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E")
    assert (ran.status, ran.outcomes[0].status, ran.outcomes[0].note) == ("ok", "raised", "E")


def test_no_variable_of_ours_is_seen(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "secret")
    assert "secret" not in value(box, "import os\nreturn list(os.environ.values())")


# What jails keep in --------------------------------------------------------------------------------------------------


def test_files_of_the_host_are_not_read(jail: Box, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secret = tmp_path / "answers.txt"
    secret.write_text("42")
    secret.chmod(0o644)
    places = [str(secret), "/etc/passwd", "/etc/machine-id", str(Path(__file__)), str(Path.home()), "/proc/1/environ"]
    assert value(jail, SUCCEEDS.format(attempt="open(path).read()"), *places) == []
    body = SUCCEEDS.format(attempt="os.listdir(path)")
    assert value(jail, body, "/root", "/home", "/etc", "/work", str(tmp_path), "/proc/1/fd") == []


def test_nothing_but_a_scratch_folder_is_written(jail: Box, tmp_path: Path) -> None:
    body = SUCCEEDS.format(attempt="open(path + '/mark', 'w').close()")
    assert (
        value(jail, body, str(tmp_path), "/", "/usr", "/usr/lib", "/dev", "/dev/shm", "/box", "/python", "/var/tmp")
        == []
    )
    assert value(jail, "open('mark', 'w').close()\nimport os\nreturn os.path.exists('mark')") is True
    assert value(jail, "import os\nreturn os.path.exists('mark')") is False


@pytest.mark.parametrize(
    "attempt", ["os.chmod(path, 0o600)", "os.utime(path)", "os.setxattr(path, 'user.x', b'')", "os.chown(path, 0, 0)"]
)
def test_what_files_of_the_host_are_like_stays(jail: Box, tmp_path: Path, attempt: str) -> None:
    (tmp_path / "file").write_text("x")
    before = (tmp_path / "file").stat()
    assert value(jail, SUCCEEDS.format(attempt=attempt), str(tmp_path / "file"), str(tmp_path)) == []
    after = (tmp_path / "file").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (before.st_mode, before.st_mtime_ns, before.st_uid)


def test_python_s_own_library_is_all_that_is_read(jail: Box) -> None:
    body = SUCCEEDS.format(attempt="os.listdir(path)")
    assert value(jail, body, "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/share", "/lib", "/usr/bin", "/etc") == []
    body = "import ssl, sqlite3, zlib, bz2, lzma, ctypes, hashlib, decimal, readline, uuid, zoneinfo\nreturn 1"
    assert value(jail, body) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have no second set of numbers")
@pytest.mark.parametrize("code", ["b814000000cd80c3", "b827000040 0f05 4889c0 c3"])  # getpid, of i386 and of x32
def test_other_numbers_of_system_calls_are_no_way_in(jail: Box, code: str) -> None:
    assert calls(jail, MACHINE_CODE, code).status == "error" or calls(jail, MACHINE_CODE, code).outcomes[0].value < 0


@pytest.mark.parametrize("body", ["n = 3000\nfor _ in range(n):\n    os.mkdir('d')\n    os.chdir('d')\nreturn n"])
def test_what_a_program_leaves_is_removed_however_deep(box: Box, body: str) -> None:
    assert value(box, f"import os\n{body}") == 3000


def test_files_together_are_limited() -> None:
    jail = opened("bubblewrap")
    assert value(jail, MANY_FILES) <= 2 * 2**20


def test_the_network_is_not_reached(jail: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        body = "import socket\ntry: socket.create_connection(('127.0.0.1', a[0]), 2)\nexcept OSError: return 'no'"
        assert value(jail, body, server.getsockname()[1]) == "no"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            datagrams.setblocking(False)
            calls(jail, SEND, datagrams.getsockname()[1])
            with pytest.raises(BlockingIOError):
                datagrams.recv(1)


def test_a_fork_bomb_is_held(jail: Box) -> None:
    assert value(jail, FORKS) < 8
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert calls(jail, bomb, limits=Limits(seconds=1.0, memory_mb=128, processes=8)).status in ("timeout", "error")
    assert value(jail, "return 1") == 1


def test_no_process_outlives_its_program(jail: Box) -> None:
    mark = f"lingers-{os.getpid()}-{jail.tier}"
    assert value(jail, LINGERS, mark) == mark
    assert (
        calls(jail, LINGERS.replace("return a[0]", "time.sleep(60)"), mark, limits=Limits(seconds=1.0)).status
        == "timeout"
    )
    for _ in range(500):
        if not any(mark.encode() in _arguments(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
            return
        time.sleep(0.01)
    raise AssertionError(f"{mark} lives on")


def _arguments(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_programs_do_not_run_as_root() -> None:
    jail = opened("bubblewrap")
    assert value(
        jail, "import os\nreturn os.getuid() != 0 and os.getgid() != 0 and os.getgroups() in ([], [os.getgid()])"
    )
    assert value(jail, "import os\ntry: os.setuid(0)\nexcept OSError: return 'no'") == "no"


# Which tier ----------------------------------------------------------------------------------------------------------


def test_auto_takes_the_strongest_that_holds_and_never_the_plain_process() -> None:
    holding = [tier for tier, reason in available() if not reason]
    if holding:
        assert open_box().tier == holding[0]
    else:
        with pytest.raises(ValueError, match="nothing on this machine can keep a program in"):
            open_box()
    assert "process" not in [tier for tier, _ in available()]
    assert open_box("process").tier == "process"


def test_impossible_boxes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match='"docker" is no tier'):
        open_box("docker")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 worker"):
        open_box("process", workers=0)
    monkeypatch.setenv("PATH", "")
    why_not.cache_clear()
    try:
        with pytest.raises(ValueError, match="install bubblewrap"):
            open_box("bubblewrap")
    finally:
        why_not.cache_clear()
