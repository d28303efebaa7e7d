"""The strongest tier: bubblewrap, which gives each program namespaces of its own. It knows no reward.

Inside there is the base Python's standard library, the system's shared libraries, three devices and an empty folder in
memory; no network, no other process, no installed package, no file of any person, no shell. Where Togi runs as root,
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
from pathlib import Path

from togi.sandbox.box import Calls, Limits, Ran, Script, Tier
from togi.sandbox.child import Place, run_child
from togi.sandbox.slots import side_by_side

PYTHON = "/python"
NOBODY = 65534
USERS = 0x5000_0000  # the first of the users that slots become, where this machine has so many
SLOTS = 64  # users of one process of Togi
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
    user = USERS + os.getpid() * SLOTS + slot % SLOTS
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
    folders = [PYTHON, f"{PYTHON}/bin", f"{PYTHON}/lib", f"{PYTHON}/{sys.platlibdir}"]
    # Made on the way to a mount, a folder would be root's alone.
    binds = [word for folder in dict.fromkeys(folders) for word in ("--dir", folder)]
    binds += ["--ro-bind", str(interpreter()), f"{PYTHON}/bin/python3", "--ro-bind", str(library), inside]
    if (library / "site-packages").is_dir():
        binds += ["--tmpfs", f"{inside}/site-packages"]
    shared = _shared_python()
    if shared is not None:
        binds += ["--ro-bind", str(shared), f"{PYTHON}/lib/{shared.name}"]
    binds += ["--setenv", "LD_LIBRARY_PATH", f"{PYTHON}/lib"]
    return [*binds, *_system()]


def _system() -> list[str]:
    """The shared libraries and three devices."""
    binds = ["--dir", "/usr", "--dir", "/dev"]
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


def worker_jail(folder: Path, readable: Sequence[Path]) -> list[str]:
    """The wall around a worker of a pool: its own folder to write in, the Python it was made for with what is
    installed there and ``readable`` to read, all where they are outside, no network and no other process."""
    own = Path(__file__).resolve().parents[1]
    asked = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    named = [Path(sys.base_prefix), Path(sys.prefix), own, *_installed(own.parent), *asked, *readable]
    places = dict.fromkeys(place for name in named if name.exists() for place in (name.resolve(), name.absolute()))
    kept = [place for place in places if not any(other in place.parents for other in places)]
    inside = [*_system(), "--proc", "/proc"]
    for name in ("/etc/ld.so.cache", "/etc/localtime"):
        inside += ["--ro-bind-try", name, name]
    parents = [parent for place in [*kept, folder] for parent in reversed(place.parents)]
    inside += [word for parent in dict.fromkeys(parents) for word in ("--dir", str(parent))]
    inside += [word for place in kept for word in ("--ro-bind", str(place), str(place))]
    inside += ["--bind", str(folder), str(folder), "--chdir", str(folder), "--remount-ro", "/", "--"]
    wall = [word for word in jail() if word != "--clearenv"]
    if os.geteuid() == 0:  # files of this user's alone are read by a worker that is no longer root
        wall += ["--cap-add", "CAP_DAC_READ_SEARCH"]
    return [*wall, *inside]


def _installed(checkout: Path) -> list[Path]:
    """Where packages are installed, and the folders that .pth files add, but for Togi's own checkout: a worker is
    given Togi's package, not what lies beside it."""
    sites = [Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())]
    files = [file for folder in sites if folder.is_dir() for file in folder.glob("*.pth")]
    lines = [Path(line.strip()) for file in files for line in file.read_text("utf-8", "replace").splitlines()]
    return [*sites, *(line for line in lines if line.is_absolute() and line != checkout)]
