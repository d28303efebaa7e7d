"""A run that begins with stages that another run has made: it takes over their files instead of training them again.

Whether the stages are the same is for the caller to know. What is taken over is held against the events of the run that
made it, and the run that takes it says in an event of its own from where.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from togi.run import Run
from togi.run_folder.checkpoint import save_checkpoint
from togi.run_folder.files import FolderError, RunFolder, remove, write_text, writing
from togi.run_folder.integrity import Chain, check, read_chain, vouched
from togi.run_folder.links import LOGS, PARTS
from togi.run_folder.manifest import MANIFEST, claim, read_manifest

ADOPTED = "adopted"
TAKEN = (
    "rollouts",
    "evaluations",
    "evaluations_on_the_way",
    "models",
    "preferences",
    "verification",
    "steps",
    "thoughts",
)


def adopt(run: Run, source: Path, stages: int) -> None:
    """Make ``run``'s folder begin with the first ``stages`` stages of the finished run in ``source``; with none of
    them, what is taken over is the measurement of the base model. Does nothing where that was done already.

    Raises FolderError when the source has not finished or is not as it was written.
    """
    with RunFolder(run.folder) as folder:
        claim(run, folder, allow_changes=False)
        if adopted(read_chain(folder.path)) is not None:
            return
        found = check(source)
        if found.faults or not found.chain.finished:
            why = found.faults[0] if found.faults else "it has not finished"
            raise FolderError(f"{source} cannot lend its stages to {run.folder}: {why}. Remove it to make it again.")
        _clear(folder)
        with writing(folder.path, "what another run has made"):
            taken = list(_take(source, folder.path))
        names = [stage.name for stage in run.stages[:stages]]
        steps = _take_logs(source, folder)
        if stages:

            def announce(mark: str) -> None:
                folder.event("checkpoint", step=steps, files={f"checkpoints/{steps:06d}": mark})

            position = {"stage": stages, "step": 0, "total": steps}
            state = {"position": position, "sizes": folder.sizes(*LOGS), "work": None}
            save_checkpoint(
                folder.path / "checkpoints",
                steps,
                state,
                lambda _: None,
                announce,
                keep=run.keep,
            )
        manifest = {**read_manifest(folder.path), "model": read_manifest(source)["model"]}
        files = {MANIFEST: write_text(folder.path / MANIFEST, json.dumps(manifest, indent=1)), **folder.marks(*taken)}
        told = {"source": str(source), "head": found.chain.head, "stages": names}
        folder.event(ADOPTED, **told, files=files, logs=folder.grown())


def adopted(chain: Chain) -> list[str] | None:
    """The stages that a run took over from another one; None when it took nothing."""
    found = [event for event in chain.events if event.get("event") == ADOPTED]
    return [str(name) for name in found[-1].get("stages", [])] if found else None


def _clear(folder: RunFolder) -> None:
    """Remove what a kill left of an earlier attempt to take over, before an event named it."""
    for part in PARTS:
        for path in (folder.path / part).glob("*"):
            remove(path)
    for name in LOGS:
        remove(folder.path / name)


def _take(source: Path, target: Path) -> Iterator[Path]:
    """The files and folders taken over. A second name of a file costs no room, and is harmless where files are only
    ever replaced; across disks they are copied."""
    for place in sorted(vouched(read_chain(source).events).files):
        if place.partition("/")[0] not in TAKEN:
            continue
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        if (source / place).is_dir():
            shutil.copytree(source / place, target / place, copy_function=_second_name)
        else:
            _second_name(str(source / place), str(target / place))
        yield target / place


def _second_name(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _take_logs(source: Path, folder: RunFolder) -> int:
    """Append the logs of the source; gives the steps that it took."""
    steps = 0
    for name in LOGS:
        path = source / name
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        for row in rows:
            folder.append(name, row)
        steps = len(rows) if name == LOGS[0] else steps
    return steps
