"""Where the rows of a run come from: noted in its manifest, and looked at again. It makes no row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from togi.data import Tasks
from togi.data.lineage import Lineage, lineage_of
from togi.file_sha256 import file_sha256
from togi.run import Run
from togi.run_folder.files import FolderError, Json, read_object

KEY = "lineage"


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A file of rows whose lineage a manifest holds, and who used it."""

    path: Path
    used_by: tuple[str, ...]
    lineage: Lineage


def rows_noted(run: Run) -> list[Json]:
    """Each file behind the run's tasks that has a lineage, with who uses it, as plain values."""
    users: dict[Path, list[str]] = {}
    known: dict[Path, Lineage] = {}
    for name, tasks in _task_sets(run):
        for made in tasks.made:
            path = made.path.absolute()
            known[path] = made.lineage
            if name not in users.setdefault(path, []):
                users[path].append(name)
    return [{"path": str(path), "used_by": users[path], "record": asdict(lineage)} for path, lineage in known.items()]


def _task_sets(run: Run) -> Iterator[tuple[str, Tasks]]:
    for stage in run.stages:
        yield stage.name, stage.tasks
        if stage.mix is not None:
            yield stage.name, stage.mix
    if run.evaluation is not None:
        yield "evaluation", run.evaluation.tasks


def read_noted(manifest: Mapping[str, Any]) -> list[Noted]:
    """What a manifest says of its rows; an entry that cannot be read is left out."""
    entries = manifest.get(KEY)
    found = []
    for entry in entries if isinstance(entries, list) else ():
        try:
            used_by = tuple(str(name) for name in entry["used_by"])
            found.append(Noted(path=Path(str(entry["path"])), used_by=used_by, lineage=lineage_of(entry["record"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def row_lines(folder: Path) -> tuple[list[str], bool]:
    """What is found of each file of rows with a lineage, a line each, and whether none was changed since the run began;
    nothing for a folder without a manifest that can be read."""
    try:
        noted = read_noted(read_object(folder / "manifest.json", "togi train"))
    except FolderError:
        return [], True
    lines, whole = list[str](), True
    for each in noted:
        if not each.path.is_file():
            lines.append(f"· {each.path}: its rows are no longer there; their lineage is in the manifest")
        elif file_sha256(each.path) == each.lineage.sha256:
            lines.append(f"✓ {each.path}: the rows are as their lineage says")
        else:
            lines.append(f"✗ {each.path}: the rows were changed since the run began")
            whole = False
    return lines, whole
