"""The strongest tier: bubblewrap, which gives each program namespaces of its own. It knows no reward.

Inside there is the base Python's standard library, the shared libraries that it needs, two devices and an empty folder
in memory; no network, no other process, no installed package, no file of any person, no shell. Where Togi runs as root,
the program starts as root with no right but to change its user, and the harness does so before foreign code runs:
for root itself the kernel counts no processes.
"""

from __future__ import annotations

import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from togi.sandbox.box import Calls, Limits, Ran, Script, Tier
from togi.sandbox.confine import seccomp
from togi.sandbox.confine.libraries import interpreter, libraries, loader, shared_python
from togi.sandbox.tiers.child_process import LIBRARIES, Place, run_child
from togi.sandbox.tiers.side_by_side import side_by_side

PYTHON = "/python"
NOBODY = 65534
USERS = 0x5000_0000  # the first of the users that programs become, where this machine has so many
OWN_USERS = 64  # of one process of Togi
DEVICES = ("/dev/null", "/dev/urandom")
COMMANDS = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives")))
"""Where a system has its programs and what they need."""
_started = count()
INSTALL = "install bubblewrap (Debian: apt install bubblewrap)"


@dataclass(frozen=True, kw_only=True)
class Bubblewrap:
    """A box of namespaces. ``folder`` holds the compiled harness, ``workers`` programs run side by side. With
    ``commands`` the system's own are there to be read and started."""

    folder: Path
    workers: int
    commands: bool = False
    tier: Tier = field(default="bubblewrap", init=False)

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        def one(program: Calls | Script) -> Ran:
            def start(job_fd: int, reply_fd: int, filter_fd: int) -> Sequence[str]:
                inside = ["/python/bin/python3", "-E", "-s", "-S", "-X", "utf8", "/box/harness.pyc"]
                wall = [
                    *jail(filter_fd),
                    *python(commands=self.commands),
                    "--ro-bind",
                    str(self.folder),
                    "/box",
                    *scratch(limits.file_mb),
                ]
                return [*wall, "--", *inside, str(job_fd), str(reply_fd)]

            most = {"RLIMIT_NPROC": limits.processes}
            place = Place(folder=self.folder, environment={}, user=fresh_user(), most=most)
            return run_child(program, limits, start, place)

        return side_by_side(one, programs, self.workers)


def missing() -> str:
    """Why bubblewrap cannot be started here; empty when it is installed."""
    if sys.platform != "linux":
        return "bubblewrap is for Linux"
    return seccomp.missing() if shutil.which("bwrap") else f"there is no bwrap: {INSTALL}"


def fresh_user() -> int | None:
    """The user that foreign code becomes when Togi runs as root, another each time: none counts another's processes."""
    if os.geteuid() != 0:
        return None
    user = USERS + os.getpid() * OWN_USERS + next(_started) % OWN_USERS
    spans = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
    held = any(int(first) <= user < int(first) + int(size) for first, _, size in spans)
    return user if held else NOBODY


def jail(filter_fd: int) -> list[str]:
    """The wall itself: nothing shared, nothing inherited, the system calls of a filter, an end with the parent's."""
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    wall = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:
        wall += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        wall += ["--unshare-user", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    return [*wall, "--die-with-parent", "--new-session", "--hostname", "box", "--seccomp", str(filter_fd)]


def scratch(megabytes: int, place: str = "/tmp") -> list[str]:
    """A folder in memory to work in, and nothing else that can be written."""
    size = str(megabytes * 2**20)
    return ["--perms", "1777", "--size", size, "--tmpfs", place, "--chdir", place, "--remount-ro", "/"]


def python(*, commands: bool = False) -> list[str]:
    """The base interpreter and its standard library at a neutral place, the loader or all ``commands``, and two
    devices."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    inside = f"{PYTHON}/{sys.platlibdir}/{version}"
    # Made on the way to a mount, a folder would be root's alone.
    folders = [PYTHON, f"{PYTHON}/bin", f"{PYTHON}/lib", f"{PYTHON}/{sys.platlibdir}"]
    binds = ["--clearenv", *(word for folder in dict.fromkeys(folders) for word in ("--dir", folder))]
    binds += ["--ro-bind", str(interpreter()), f"{PYTHON}/bin/python3", "--ro-bind", str(library), inside]
    if (library / "site-packages").is_dir():
        binds += ["--tmpfs", f"{inside}/site-packages"]
    shared = shared_python()
    if shared is not None:
        binds += ["--ro-bind", str(shared), f"{PYTHON}/lib/{shared.name}"]
    return [
        *binds,
        "--setenv",
        "LD_LIBRARY_PATH",
        f"/box/{LIBRARIES}:{PYTHON}/lib",
        *(_commands() if commands else _loader()),
        *_devices(),
    ]


def _commands() -> list[str]:
    """The system's programs and their libraries where they are outside, to read."""
    binds: list[str] = []
    for place in COMMANDS:
        if place.is_symlink():
            binds += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            folders = [word for folder in reversed(place.parents) for word in ("--dir", str(folder))]
            binds += [*folders, "--ro-bind", str(place), str(place)]
    return binds


def _loader() -> list[str]:
    place = loader()
    if place is None:
        return []
    folders = [word for folder in reversed(place.parents) for word in ("--dir", str(folder))]
    return [*folders, "--ro-bind", str(place.resolve()), str(place)]


def _devices() -> list[str]:
    return ["--dir", "/dev", *(word for device in DEVICES for word in ("--dev-bind", device, device))]


def worker_jail(folder: Path, readable: Sequence[Path], megabytes: int, filter_fd: int) -> list[str]:
    """The wall around a worker of a pool: ``folder``, in memory, to write in, the Python it was made for with what is
    installed there and ``readable`` to read, all where they are outside, no network and no other process."""
    own = Path(__file__).resolve().parents[2]
    asked = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    named = [*_python_here(), own, *_installed(own.parent), *asked, *readable]
    named += [Path("/etc/ld.so.cache"), Path("/etc/localtime")]
    places = dict.fromkeys(place for name in named if name.exists() for place in (name.resolve(), name.absolute()))
    kept = [place for place in places if not any(other in place.parents for other in places)]
    parents = [parent for place in [*kept, folder] for parent in reversed(place.parents)]
    inside = [word for parent in dict.fromkeys(parents) for word in ("--dir", str(parent))]
    inside += [word for place in kept for word in ("--ro-bind", str(place), str(place))]
    return [*jail(filter_fd), *inside, *_loader(), *_devices(), *scratch(megabytes, str(folder)), "--"]


def _python_here() -> list[Path]:
    """The interpreter, its standard library, the folders that their shared libraries lie in, and the virtual
    environment."""
    found = [interpreter(), Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib"))]
    found += [Path(sys.base_prefix) / "bin" / name for name in ("python3", interpreter().name)]
    found += [library.parent for library in libraries()]
    return [*found, Path(sys.prefix)] if sys.prefix != sys.base_prefix else [*found, Path(sys.executable)]


def _installed(checkout: Path) -> list[Path]:
    """Where packages are installed, and the folders that .pth files add, but for Togi's own checkout: a worker is
    given Togi's package, not what lies beside it."""
    sites = [Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())]
    files = [file for folder in sites if folder.is_dir() for file in folder.glob("*.pth")]
    lines = [Path(line.strip()) for file in files for line in file.read_text("utf-8", "replace").splitlines()]
    return [*sites, *(line for line in lines if line.is_absolute() and line != checkout)]
