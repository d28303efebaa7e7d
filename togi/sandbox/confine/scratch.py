"""A folder that foreign code wrote in, emptied whatever it holds; it knows no program and no call.

``shutil.rmtree`` goes down level by level: some thousand folders within each other end it by Python's limit on
recursion, and names too long for the system keep it out.
"""

from __future__ import annotations

import stat
from itertools import count
from pathlib import Path


def empty(folder: Path) -> list[str]:
    """Remove what lies in ``folder``; gives the names that lay there. Raises OSError for what cannot be removed, and
    for a link to a folder, put there in its place."""
    if folder.is_symlink():
        raise NotADirectoryError(f"{folder} is a link now")
    waiting = sorted(folder.iterdir())
    found = [path.name for path in waiting]
    fresh = (folder / name for name in map("{}.moved".format, count()) if name not in found)
    while waiting:
        path = waiting.pop()
        if not _is_folder(path):
            path.unlink()
            continue
        _open(path)
        for inner in path.iterdir():
            if _is_folder(inner):
                _open(inner)  # one that moves is written to, for its ".."
                waiting.append(inner.rename(next(fresh)))
            else:
                inner.unlink()
        path.rmdir()
    return found


def _open(folder: Path) -> None:
    if folder.lstat().st_mode & 0o700 != 0o700:
        folder.chmod(0o700)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def remove(folder: Path) -> None:
    """Remove ``folder`` and what lies in it, as far as this can be done."""
    try:
        empty(folder)
        folder.rmdir()
    except OSError:
        pass
