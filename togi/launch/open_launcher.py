"""Who starts the processes of a run: this machine, or a Ray cluster. The only place that names a launcher."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from togi.extras import lacking
from togi.launch.launcher import Launcher
from togi.launch.local import LocalLauncher
from togi.launch.needs import Needs

LOCAL, RAY = "local", "ray"
_CLUSTER = re.compile(r"ray://[A-Za-z0-9.\-\[\]:]+:\d{1,5}")


def check_on(on: str) -> None:
    """Raises ValueError for what names no launcher, and for one whose extra is not installed."""
    if on == LOCAL:
        return
    if on != RAY and not _CLUSTER.fullmatch(on):
        raise ValueError(
            f'--on says who starts processes: "{LOCAL}", "{RAY}" (the cluster that this machine is part of, or one of '
            f'its own) or "ray://HOST:PORT"; got {on!r}'
        )
    if find_spec("ray") is None:
        raise ValueError(lacking(f"--on {on}", "ray"))


@contextmanager
def open_launcher(on: str, needs: Mapping[str, Needs], shared: Path, *, here: Needs) -> Iterator[Launcher]:
    """What starts commands where ``on`` says, while the block lasts. ``needs`` are those of each by its name, ``here``
    those of this process, ``shared`` the folder through which weights reach them. Raises ValueError as ``check_on``,
    and for a cluster that cannot be used."""
    check_on(on)
    if on == LOCAL or not needs:  # a cluster is not asked for nothing
        yield LocalLauncher()
        return
    from togi.launch.ray_launcher import RayLauncher

    launcher = RayLauncher(on, needs, shared, here=here)
    try:
        yield launcher
    finally:
        launcher.close()
