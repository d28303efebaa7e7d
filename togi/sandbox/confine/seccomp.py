"""The system calls that confined code is refused, as a filter that the kernel runs; it knows no tier and no program.

It closes what walls of files and processes leave open: memory that no limit counts, sockets of every family, other
processes' limits, files by their handle, namespaces, and the calls in which kernels had most of their faults. Numbers
of calls are those of x86-64 and of AArch64. A call by a 32-bit or an x32 number, and any that is newer than this table,
does not pass either.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass
from functools import cache

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By the machine's name: its column in NUMBERS, and what the kernel calls it (linux/audit.h)."""
NEWER = 450  # from here on numbers are the same everywhere, and no libc needs them; x32's lie far above

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # What reaches files past the paths that were mounted, or changes what is mounted.
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    # Namespaces of its own, in which a process would hold every right.
    "unshare": (272, 97),
    "setns": (308, 268),
    "clone": (56, 220),
    "clone3": (435, 435),
    # The kernel itself, its clocks and its names.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "personality": (135, 92),
    # Other processes: their memory, their files, their limits, their share of the machine.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    # The kernel's store of keys.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # System calls made by other ways than this filter sees.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "io_destroy": (207, 1),
    # Memory that no limit of a process counts.
    "mmap": (9, 222),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183),
    "fcntl": (72, 25),
    # Sockets.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # Attributes and input that are not the caller's.
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "ioctl": (16, 29),
    # Who owns a file, who may use it, and since when.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
}

NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW flag of clone(2)
ANYONE_SHARED, GROWS_DOWN, HUGE = 0x21, 0x100, 0x40000  # flags of mmap(2)
UNIX, STREAM, KIND = 1, 1, 0xF  # socketpair(2); the kind is what flags are not
ASKS, SELF = 0xFFFFFFFF, 0
SET_PIPE_SIZE = 1031  # fcntl(2)
CONTROLS = (0x5412, 0x541C, 0x40086602, 0x40046602, 0x401C5820)  # TIOCSTI, TIOCLINUX, and files' flags


@dataclass(frozen=True, kw_only=True)
class Case:
    """When a call is refused that is else allowed: if ``argument & mask`` is ``value``, or, with ``other``, is not."""

    argument: int
    mask: int = 0xFFFFFFFF
    value: int
    other: bool = False


CASES: dict[str, tuple[Case, ...]] = {
    "clone": (Case(argument=0, mask=NEW_NAMESPACES, value=0, other=True),),
    "mmap": tuple(Case(argument=3, mask=flags, value=flags) for flags in (ANYONE_SHARED, GROWS_DOWN, HUGE)),
    "socketpair": (
        Case(argument=0, value=UNIX, other=True),
        Case(argument=1, mask=KIND, value=STREAM, other=True),  # the other kinds can be sent to any address
    ),
    "personality": (Case(argument=0, value=ASKS, other=True),),
    "fcntl": (Case(argument=1, value=SET_PIPE_SIZE),),
    "ioctl": tuple(Case(argument=1, value=control) for control in CONTROLS),
}
CASES |= {
    name: (Case(argument=0, value=SELF, other=True),)
    for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
}
ABSENT = ("clone3", "io_uring_setup", "userfaultfd", "memfd_create", "memfd_secret")  # with a fallback where they lack
ERRORS = dict.fromkeys(ABSENT, errno.ENOSYS) | {"mmap": errno.ENOMEM, "socket": errno.EACCES, "connect": errno.EACCES}
OWNERSHIP = tuple(name for name in NUMBERS if name.startswith(("chmod", "fchmod", "chown", "fchown", "lchown")))
TIMES = ("utime", "utimes", "utimensat", "futimesat")

LOAD, AND, EQUALS, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # opcodes (linux/filter.h)
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def missing() -> str:
    """Why there is no filter for this machine; empty when there is."""
    names = ", ".join(ARCHITECTURES)
    return "" if platform.machine() in ARCHITECTURES else f"system calls are known of {names}, not {platform.machine()}"


@cache
def program(metadata: bool = True) -> bytes:
    """The filter for this machine, as bubblewrap and the kernel read it: 8 bytes an instruction. Without ``metadata``
    it also refuses to change the owner, the rights and the times of files, which it cannot tell one from another."""
    column, architecture = ARCHITECTURES[platform.machine()]
    kept = {*OWNERSHIP, *TIMES} if metadata else set()
    code = [_op(LOAD, ARCHITECTURE), _op(EQUALS, architecture, 1, 0), _op(RETURN, KILL)]
    code += [_op(LOAD, NUMBER), _op(AT_LEAST, NEWER, 0, 1), _op(RETURN, ERROR | errno.ENOSYS)]
    for name, numbers in NUMBERS.items():
        number = numbers[column]
        if number is not None and name not in kept:
            refused = _refused(name)
            code += [_op(EQUALS, number, 0, len(refused)), *refused]
    return b"".join([*code, _op(RETURN, ALLOW)])


def refused() -> dict[str, int]:
    """The numbers of the calls that are refused whatever their arguments."""
    column, _ = ARCHITECTURES[platform.machine()]
    kept = {*OWNERSHIP, *TIMES, *CASES}
    known = {name: numbers[column] for name, numbers in NUMBERS.items() if name not in kept}
    return {name: number for name, number in known.items() if number is not None}


def _refused(name: str) -> list[bytes]:
    refusal = _op(RETURN, ERROR | ERRORS.get(name, errno.EPERM))
    if name not in CASES:
        return [refusal]
    code = []
    for case in CASES[name]:
        equal, different = (1, 0) if case.other else (0, 1)  # instructions to skip: past the refusal, or none
        code += [_op(LOAD, ARGUMENTS + 8 * case.argument), _op(AND, case.mask)]
        code += [_op(EQUALS, case.value, equal, different), refusal]
    return [*code, _op(RETURN, ALLOW)]


def _op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("<HBBI", code, then, otherwise, value)
