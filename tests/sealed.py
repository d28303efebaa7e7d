"""Made-up run folders as a run leaves them: with events that vouch for all that lies in them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from togi.run_folder.files import append_event, mark
from togi.run_folder.links import LOGS, PARTS, WHOLE


def seal(folder: Path, kind: str = "finished", **details: Any) -> None:
    """Add an event that vouches for everything in a folder as it is now."""
    files = [path for part in PARTS for path in (folder / part).glob("*")]
    files += [folder / name for name in WHOLE if (folder / name).exists()]
    logs = {name: (folder / name).read_bytes() for name in LOGS if (folder / name).exists()}
    append_event(
        folder,
        kind,
        cut=dict.fromkeys(logs, 0),
        removed=[],
        files={str(path.relative_to(folder)): mark(path) for path in files},
        logs={name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in logs.items()},
        **details,
    )
