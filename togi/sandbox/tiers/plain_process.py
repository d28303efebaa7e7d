"""The tier that keeps nothing in: a plain child process with limits, for code one would run by hand anyway.

A program can read this user's files, use the network, and leave processes behind. It must be asked for by name.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from togi.sandbox.box import Calls, Limits, Ran, Script, Tier
from togi.sandbox.confine.scratch import remove
from togi.sandbox.tiers.child_process import Place, run_child
from togi.sandbox.tiers.side_by_side import side_by_side


@dataclass(frozen=True, kw_only=True)
class Process:
    """A box without walls: limits on time, memory, one file's size and output. ``folder`` holds the harness."""

    folder: Path
    workers: int
    tier: Tier = field(default="process", init=False)

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        def start(job_fd: int, reply_fd: int, filter_fd: int) -> Sequence[str]:
            inside = ["-E", "-s", "-S", "-X", "utf8", str(self.folder / "harness.pyc")]
            return [sys.executable, *inside, str(job_fd), str(reply_fd)]

        def one(program: Calls | Script) -> Ran:
            scratch = Path(tempfile.mkdtemp(prefix="togi-box-"))
            try:
                return run_child(program, limits, start, Place(folder=scratch, environment={"TMPDIR": str(scratch)}))
            finally:
                remove(scratch)

        return side_by_side(one, programs, self.workers)
