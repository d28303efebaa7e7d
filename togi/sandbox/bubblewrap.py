"""The strongest tier: bubblewrap, which gives each program namespaces of its own. It knows no reward.

Inside there is the base Python's standard library, the system's shared libraries, three devices and an empty folder in
memory; no network, no other process, no installed package, no file of any person, no shell. Where Togi runs as root,
the program starts as root with no right but to change its user, and the harness does so before foreign code runs:
for root itself the kernel counts no processes.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from togi.sandbox.box import Calls, Limits, Ran, Script, Tier
from togi.sandbox.child import Place, run_child
from togi.sandbox.slots import side_by_side

PYTHON = "/python"
NOBODY = 65534
USERS = 0x5000_0000  # the first of the users that slots become, where this machine has so many
INSTALL = "install bubblewrap (Debian: apt install bubblewrap)"


@dataclass(frozen=True, kw_only=True)
class Bubblewrap:
    """A box of namespaces. ``folder`` holds the compiled harness, ``workers`` programs run side by side."""

    folder: Path
    workers: int
    tier: Tier = field(default="bubblewrap", init=False)

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        def one(program: Calls | Script, slot: int) -> Ran:
            user = slot_user(slot)

            def start(job_fd: int, reply_fd: int) -> Sequence[str]:
                inside = ["/python/bin/python3", "-E", "-s", "-S", "-X", "utf8", "/box/harness.pyc"]
                wall = [*jail(), *python(), "--ro-bind", str(self.folder), "/box", *scratch(limits)]
                return [*wall, "--", *inside, str(job_fd), str(reply_fd)]

            place = Place(folder=self.folder, environment={}, user=user, counts=True)
            return run_child(program, limits, start, place)

        return side_by_side(one, programs, self.workers)


def missing() -> str:
    """Why bubblewrap cannot be started here; empty when it is installed."""
    if sys.platform != "linux":
        return "bubblewrap is for Linux"
    return "" if shutil.which("bwrap") else f"there is no bwrap: {INSTALL}"


def slot_user(slot: int) -> int | None:
    """The user a program becomes when Togi runs as root; one a slot, that none counts another's processes."""
    if os.geteuid() != 0:
        return None
    user = USERS + os.getpid() * 64 + slot
    spans = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
    held = any(int(first) <= user < int(first) + int(count) for first, _, count in spans)
    return user if held else NOBODY


def jail() -> list[str]:
    """The wall itself: nothing shared, nothing inherited, an end with the parent's end."""
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    wall = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:
        wall += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        wall += ["--unshare-user", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    return [*wall, "--die-with-parent", "--new-session", "--clearenv", "--hostname", "box"]


def scratch(limits: Limits) -> list[str]:
    """A folder in memory to work in, and nothing else that can be written."""
    size = str(limits.file_mb * 2**20)
    return ["--perms", "1777", "--size", size, "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]


def python() -> list[str]:
    """The base interpreter and its standard library at a neutral place, the shared libraries, and three devices."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    inside = f"{PYTHON}/{sys.platlibdir}/{version}"
    folders = [PYTHON, f"{PYTHON}/bin", f"{PYTHON}/lib", f"{PYTHON}/{sys.platlibdir}", "/usr", "/dev"]
    # Made on the way to a mount, a folder would be root's alone.
    binds = [word for folder in dict.fromkeys(folders) for word in ("--dir", folder)]
    binds += ["--ro-bind", str(interpreter()), f"{PYTHON}/bin/python3", "--ro-bind", str(library), inside]
    if (library / "site-packages").is_dir():
        binds += ["--tmpfs", f"{inside}/site-packages"]
    shared = _shared_python()
    if shared is not None:
        binds += ["--ro-bind", str(shared), f"{PYTHON}/lib/{shared.name}"]
    binds += ["--setenv", "LD_LIBRARY_PATH", f"{PYTHON}/lib"]
    for name in ("/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        place = Path(name)
        if place.is_symlink():
            binds += ["--symlink", str(place.readlink()), name]
        elif place.is_dir():
            binds += ["--ro-bind", name, name]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        binds += ["--dev-bind", device, device]
    return binds


def interpreter() -> Path:
    """The program file of the Python that a virtual environment was made from."""
    bin_folder = Path(sys.base_prefix) / "bin"
    return (bin_folder / f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()


def _shared_python() -> Path | None:
    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    shared = Path(str(folder)) / str(name)
    return shared if str(name).startswith("libpython") and ".so" in str(name) and shared.is_file() else None
