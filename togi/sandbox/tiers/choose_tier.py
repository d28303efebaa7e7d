"""Which tiers this machine offers, and the box of one: the only door to them. It knows no reward.

A tier counts as offered when a probe was run in it and could not get out, not when something is installed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import get_args

from togi.sandbox.box import AnyTier, Box, Tier
from togi.sandbox.confine.escape_probe import escapes, interprets
from togi.sandbox.tiers import bubblewrap, landlock, python_subset as subset
from togi.sandbox.tiers.child_process import write_harness
from togi.sandbox.tiers.plain_process import Process

TIERS: tuple[Tier, ...] = get_args(Tier)


def open_box(tier: AnyTier = "auto", workers: int | None = None, *, commands: bool = False) -> Box:
    """A box of this tier; "auto" takes the strongest that holds here, never "process".

    ``workers`` programs run side by side, as many as there are cores when it is None. With ``commands`` a program can
    start those of this system, such as a shell. Raises ValueError when the tier does not hold here, with what to
    install.
    """
    workers = cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"a box needs at least 1 worker; got {workers}")
    if tier == "process":
        return Process(folder=_harness(), workers=workers)
    wanted = [each for each in _OPENERS if tier in ("auto", each)]
    if not wanted:
        raise ValueError(f'"{tier}" is no tier; there are auto, {", ".join(TIERS)}')
    for each in wanted:
        if not why_not(each, commands):
            return _OPENERS[each](workers, commands)
    reasons = "; ".join(f"{each}: {why_not(each, commands)}" for each in wanted)
    raise ValueError(
        f"nothing on this machine can keep a program in ({reasons}). Install one of them, or run without a jail by "
        'asking for the tier "process", which keeps nothing in'
    )


def available() -> list[tuple[Tier, str]]:
    """Each tier that keeps programs in, the strongest first, and why it does not hold here; empty when it does."""
    return [(tier, why_not(tier)) for tier in _OPENERS]


@cache
def why_not(tier: Tier, commands: bool = False) -> str:
    """Why this tier does not hold here, with the system's commands or without; empty when it does. Probed once a
    process."""
    reason = _MISSING[tier]()
    if reason:
        return reason
    if commands and tier == "subset":
        return "it interprets Python alone, and starts no command"
    if commands and tier == "landlock" and os.geteuid() == 0:
        return "where Togi runs as root, a command cannot use the folder that it is started in"
    try:
        box = _OPENERS[tier](1, commands)
        # The interpreter of a subset has no modules to try to get out with: what runs there is kept in.
        return escapes(box) if tier != "subset" else interprets(box)
    except (OSError, ValueError) as error:
        return f"it does not start: {error}"


def cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def _harness() -> Path:
    """A folder that every user can read, with the compiled harness; gone at the end of this process, which processes
    that were forked from it may use until then."""
    folder = Path(tempfile.mkdtemp(prefix="togi-harness-"))
    folder.chmod(0o755)
    write_harness(folder)
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


_OPENERS: dict[Tier, Callable[[int, bool], Box]] = {
    "bubblewrap": lambda workers, commands: bubblewrap.Bubblewrap(
        folder=_harness(), workers=workers, commands=commands
    ),
    "landlock": lambda workers, commands: landlock.Landlock(folder=_harness(), workers=workers, commands=commands),
    "subset": lambda workers, _: subset.Subset(workers=workers),
}
_MISSING: dict[Tier, Callable[[], str]] = {
    "bubblewrap": bubblewrap.missing,
    "landlock": landlock.missing,
    "subset": subset.missing,
}
