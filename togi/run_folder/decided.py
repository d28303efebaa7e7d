"""What a command decided when its folder began: it is written down once, and held against what is decided when the
command goes on there. It knows no command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from togi.run_folder.files import FolderError, RunFolder, write_text
from togi.run_folder.integrity import chain_faults, file_faults, log_faults, read_chain, vouched
from togi.run_folder.manifest import recipe_changes


def hold_to(
    path: Path,
    folder: RunFolder,
    name: str,
    plan: Mapping[str, Any],
    *,
    may_change: Sequence[str] = (),
) -> None:
    """Write ``plan`` to the file ``name``, or make sure that it is what was decided and that all files are as they were
    written, logs as far as an event says: a kill may leave more in them. Keys of tables that begin like one of
    ``may_change`` decide nothing of the result. Raises FolderError."""
    now = json.loads(json.dumps(plan))
    chain = read_chain(path)
    if not chain.events:
        folder.event("decided", files={name: write_text(path / name, json.dumps(now, indent=1))})
        return
    known = vouched(chain.events)
    if faults := [*chain_faults(path, chain), *file_faults(path, known), *log_faults(path, known)]:
        raise FolderError(
            f"{path} is not as it was written: {faults[0]}. Put it back, or name another folder with --folder"
        )
    changes = [
        change
        for change in recipe_changes(json.loads((path / name).read_bytes()), now)
        if not change.removeprefix("tables.").startswith(tuple(may_change))
    ]
    if changes:
        listing = "\n  ".join(changes)
        raise FolderError(
            f"{path} was decided otherwise when it began:\n  {listing}\nUndo the change, or name another folder with "
            "--folder"
        )
