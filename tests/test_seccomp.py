"""The filter of system calls, run by a small machine of its own, so that both processors' filters are tested on one."""

from __future__ import annotations

import errno
import platform
import re
import struct
from pathlib import Path

import pytest

from togi.sandbox.confine import seccomp
from togi.sandbox.confine.escape_attempts import escapes
from togi.sandbox.confine.escape_probe import bait

X86, ARM = "x86_64", "aarch64"
HEADERS = {X86: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", ARM: "/usr/include/asm-generic/unistd.h"}


def run(program: bytes, number: int, architecture: int, arguments: tuple[int, ...]) -> int:
    """What the filter returns for a call: the few instructions of BPF that it is made of."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *(arguments + (0,) * 6)[:6])
    code = list(struct.iter_unpack("<HBBI", program))
    place, value = 0, 0
    while True:
        kind, then, otherwise, constant = code[place]
        place += 1
        if kind == seccomp.LOAD:
            value = struct.unpack_from("<I", data, constant)[0]
        elif kind == seccomp.AND:
            value &= constant
        elif kind in (seccomp.EQUALS, seccomp.AT_LEAST):
            holds = value == constant if kind == seccomp.EQUALS else value >= constant
            place += then if holds else otherwise
        else:
            assert kind == seccomp.RETURN
            return int(constant)


def answer(
    machine: str, call: str | int, *arguments: int, metadata: bool = True, monkeypatch: pytest.MonkeyPatch
) -> int:
    """0 for a call that is allowed, its error, or -1 for the end of the process."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    seccomp.program.cache_clear()
    column, architecture = seccomp.ARCHITECTURES[machine]
    number = seccomp.NUMBERS[call][column] if isinstance(call, str) else call
    assert number is not None
    said = run(seccomp.program(metadata), number, architecture, arguments)
    seccomp.program.cache_clear()
    return {seccomp.ALLOW: 0, seccomp.KILL: -1}.get(said, said & 0xFFFF)


@pytest.mark.parametrize("machine", [X86, ARM])
@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        ("open_by_handle_at", (), errno.EPERM),
        ("unshare", (0x10000000,), errno.EPERM),
        ("clone", (0x11,), 0),  # fork
        ("clone", (0x3D0F00,), 0),  # a thread
        ("clone", (0x10000011,), errno.EPERM),  # CLONE_NEWUSER
        ("clone", (0x20000011,), errno.EPERM),
        ("clone", (0x00020011,), errno.EPERM),
        ("clone3", (), errno.ENOSYS),
        ("mmap", (0, 1, 3, 0x22), 0),  # private
        ("mmap", (0, 1, 3, 0x01), 0),  # a file that is shared
        ("mmap", (0, 1, 3, 0x21), errno.ENOMEM),  # shared, of no file
        ("mmap", (0, 1, 3, 0x23), errno.ENOMEM),  # the same, validated
        ("mmap", (0, 1, 3, 0x122), errno.ENOMEM),  # grows down
        ("mmap", (0, 1, 3, 0x40022), errno.ENOMEM),  # huge pages
        ("socket", (1, 1), errno.EACCES),
        ("socket", (40, 1), errno.EACCES),
        ("socketpair", (1, 1), 0),
        ("socketpair", (1, 0x80001), 0),  # closed on exec
        ("socketpair", (1, 2), errno.EPERM),
        ("socketpair", (2, 1), errno.EPERM),
        ("prlimit64", (0, 7), 0),
        ("prlimit64", (1, 7), errno.EPERM),
        ("sched_setaffinity", (17,), errno.EPERM),
        ("personality", (0xFFFFFFFF,), 0),
        ("personality", (0x40000,), errno.EPERM),
        ("ioctl", (0, 0x5412), errno.EPERM),
        ("ioctl", (0, 0x5401), 0),
        ("fcntl", (1, 1031), errno.EPERM),
        ("fcntl", (1, 1), 0),
        ("fchmod", (), 0),
        (450, (), errno.ENOSYS),
        (600, (), errno.ENOSYS),
        (0x40000027, (), errno.ENOSYS),  # a number of x32
    ],
)
def test_calls(
    machine: str, call: str | int, arguments: tuple[int, ...], said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(machine, call, *arguments, monkeypatch=monkeypatch) == said


@pytest.mark.parametrize("call", ["fchmod", "fchmodat", "fchown", "fchownat", "utimensat"])
def test_what_files_are_like_is_left_alone_where_they_cannot_be_told_apart(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(X86, call, monkeypatch=monkeypatch) == 0
    assert answer(X86, call, metadata=False, monkeypatch=monkeypatch) == errno.EPERM


@pytest.mark.parametrize("architecture", [0x40000003, 0xC00000B7, 0])  # i386, another processor, none
def test_calls_of_another_architecture_end_the_process(architecture: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: X86)
    seccomp.program.cache_clear()
    assert run(seccomp.program(), 39, architecture, ()) == seccomp.KILL
    seccomp.program.cache_clear()


@pytest.mark.parametrize("machine", [X86, ARM])
def test_numbers_are_the_kernel_s(machine: str) -> None:
    header = Path(HEADERS[machine])
    if not header.exists():
        pytest.skip(f"there is no {header}")
    known = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    kernel = {name: int(number) for name, number in known}
    column, _ = seccomp.ARCHITECTURES[machine]
    ours = {name: numbers[column] for name, numbers in seccomp.NUMBERS.items() if numbers[column] is not None}
    assert {name: kernel.get(name, number) for name, number in ours.items()} == ours
    assert len(ours.keys() & kernel.keys()) > 90


def test_a_processor_without_a_filter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "not riscv64" in seccomp.missing()


def test_the_attempts_succeed_where_nothing_keeps_them_in() -> None:
    """Here, in the process of the tests: an attempt that cannot succeed would show nothing. The calls are left out."""
    with bait(2) as arguments:
        found = escapes(**arguments | {"calls": {"getpid": 39 if platform.machine() == X86 else 172}})
    wanted = ["network", "reads files", "rights of files", "times of files", "ends processes", "shares memory"]
    wanted += ["/dev/zero", "widens pipes", "family 1", "family 2", "call getpid", "processes have", "threads have"]
    assert [what for what in wanted if not any(what in each for each in found)] == []
