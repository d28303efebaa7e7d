"""The shared libraries that Python and its standard library load here, and the loader; it knows no jail.

Found by loading them: a process of the base interpreter imports every compiled module of the standard library and says
what the system mapped for it. So no rule of where libraries lie has to be known.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

LOADED = """
import importlib, json, os, sys
for folder in [path for path in sys.path if path.endswith("lib-dynload")]:
    for name in {file.partition(".")[0] for file in os.listdir(folder)} - {"_tkinter"}:  # there is no screen
        try:
            importlib.import_module(name)
        except Exception:  # of a library that is not installed
            pass
with open("/proc/self/maps") as maps:
    files = {line.split(None, 5)[-1].strip() for line in maps if "/" in line}
print(json.dumps(sorted(files)))
"""
INTERPRETER = 3  # the kind of an ELF program header that names the loader


def interpreter() -> Path:
    """The program file of the Python that a virtual environment was made from."""
    bin_folder = Path(sys.base_prefix) / "bin"
    return (bin_folder / f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()


@cache
def libraries() -> tuple[Path, ...]:
    """The files of the shared libraries, the interpreter's own among them where it has one."""
    command = [str(interpreter()), "-I", "-S", "-c", LOADED]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60, stdin=subprocess.DEVNULL).stdout
    files = [Path(name).resolve() for name in json.loads(said)]
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return tuple(file for file in files if ".so" in file.name and file.is_file() and library not in file.parents)


@cache
def loader() -> Path | None:
    """Where programs want the system's loader to be; None for a program that needs none."""
    with interpreter().open("rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01":
            raise OSError(f"{interpreter()} is no 64-bit little-endian ELF program")
        first, size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        for number in range(count):
            file.seek(first + number * size)
            header = file.read(size)
            if struct.unpack_from("<I", header)[0] == INTERPRETER:
                offset, length = (struct.unpack_from("<Q", header, place)[0] for place in (8, 32))
                file.seek(offset)
                return Path(file.read(length).rstrip(b"\0").decode())
    return None


def shared_python() -> Path | None:
    """The library that the interpreter itself is in; None where it is in its program file."""
    return next((library for library in libraries() if library.name.startswith("libpython")), None)


def copy_libraries(folder: Path) -> None:
    """Copy the libraries but Python's own into ``folder``, under every name that they have where they lie."""
    folder.mkdir(mode=0o755)
    for library in libraries():
        if library == shared_python():  # larger than the others together
            continue
        shutil.copyfile(library, folder / library.name)
        (folder / library.name).chmod(0o755)
        for name in library.parent.glob(f"{library.name.partition('.so')[0]}.so*"):
            if name.is_symlink() and name.resolve() == library:
                (folder / name.name).symlink_to(library.name)
