"""What a command decided when its folder began: it is written down once, and held against what is decided when the
command goes on there. It knows no command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from togi.run_folder.files import FolderError, RunFolder, write_text
from togi.run_folder.integrity import read_chain, refuse_any_change
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
    refuse_any_change(path, chain)
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
