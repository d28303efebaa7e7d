"""How a process gives up what foreign code must not have, for good and for its children (Linux); it knows no jail.

Runs inside, so it imports nothing of Togi.
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
DUMPABLE, KEEP_CAPABILITIES, FILTER, NO_NEW_RIGHTS = 4, 8, 22, 38  # prctl(2)
SET_USER, SET_GROUP = 1 << 7, 1 << 6  # capabilities(7)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def become(user: int) -> None:
    """Change from root to ``user`` without any capability, but meet files as root does: as their owner, no more.

    Of another user than root the kernel counts processes, and what root alone may read is read without the right to
    read everything. A program that this one starts meets files as ``user``.
    """
    libc.prctl(KEEP_CAPABILITIES, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _hold(SET_USER | SET_GROUP)
    libc.setfsgid(0)
    libc.setfsuid(0)
    _hold(0)


def _hold(capabilities: int) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of capset(2), this process
    sets = (ctypes.c_uint32 * 6)(capabilities, capabilities, 0, 0, 0, 0)  # effective, permitted, inheritable; upper
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "cannot give up the rights of root")


def confine(program: bytes) -> None:
    """Let the kernel refuse the system calls that this filter refuses."""
    filtered = _Program(len(program) // 8, program)
    if libc.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0) or libc.prctl(FILTER, 2, ctypes.byref(filtered), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot filter system calls")


def conceal() -> None:
    """Keep processes of the same user out of this one's memory and files."""
    libc.prctl(DUMPABLE, 0, 0, 0, 0)
