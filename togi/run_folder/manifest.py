"""Who made a run folder, from what and on what, and the refusal to continue another run. Trains nothing.

Whether a folder is refused is found out without torch; only a folder that is begun asks it about the machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from togi.run import Run
from togi.run_folder.files import FolderError, RunFolder, digest, mark, remove, write_text, writing
from togi.run_folder.integrity import read_chain, vouched
from togi.run_folder.links import LOGS, PARTS
from togi.run_folder.run_description import describe, made_of

if TYPE_CHECKING:
    import torch

    from togi.models.load_model import Loaded

MANIFEST, RECIPE = "manifest.json", "recipe.toml"
BEFORE = ("redteam.json", "doctor.json")  # what checks before training leave in a folder
FORM = {"recipe": dict, "files": dict, "data": dict, "model": dict, "dtype": str, "started": str}
"""What a run that goes on reads of a manifest."""


def claim(run: Run, folder: RunFolder, allow_changes: bool) -> None:
    """Make the folder this run's, or make sure that it already is.

    A folder in which nothing was learned yet gives way to another recipe. Else raises ``FolderError`` naming every
    recipe key and data set that differs from the folder's own, unless changes are allowed; then they are recorded as
    an event.
    """
    mine = made_of(run)
    learned = next((name for name in (LOGS[0], "checkpoints", "models") if _holds(folder.path / name)), None)
    if not (folder.path / MANIFEST).exists():
        made = learned or next((name for name in PARTS if _holds(folder.path / name)), None)
        if made:
            raise FolderError(
                f"{folder.path} holds {made} but no {MANIFEST}: not a run folder that can be continued. Name another "
                "folder with --folder."
            )
    if learned is None:
        _begin(run, folder, mine)
        return
    theirs = read_manifest(folder.path)
    told = vouched(read_chain(folder.path).events).files.get(MANIFEST)
    if told != mark(folder.path / MANIFEST) and not allow_changes:
        raise FolderError(
            f"{folder.path / MANIFEST} was changed after it was written. Put the file back, name another folder with "
            "--folder, or continue on purpose with --allow-changes."
        )
    changes = changes_between(theirs, mine)
    if changes and not allow_changes:
        listing = "\n  ".join(changes)
        raise FolderError(
            f"{folder.path} was made by another recipe or other data:\n  {listing}\n"
            "Undo the change, name another folder with --folder, or continue on purpose with --allow-changes."
        )
    if changes:
        kept = {name: theirs[name] for name in ("dtype", "started", "model")}
        folder.event("changed", changes=changes, files=_write(folder.path, {**describe(run), **kept}))


def _holds(path: Path) -> bool:
    """Whether there is anything in a folder, or in a file."""
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0


def _begin(run: Run, folder: RunFolder, mine: Mapping[str, Any]) -> None:
    """Write down what the run is. What another recipe made before its first step ended is put away."""
    try:
        theirs = read_manifest(folder.path)
        told = vouched(read_chain(folder.path).events).files.get(MANIFEST)
        if told == mark(folder.path / MANIFEST) and not changes_between(theirs, mine):
            return
    except FolderError:
        pass  # what cannot be read is written again: nothing was learned under it
    made = [f"{name}/{entry.name}" for name in PARTS for entry in sorted((folder.path / name).glob("*"))]
    dtype = str(choose_dtype(run)).removeprefix("torch.")
    with writing(folder.path, "the run folder"):
        for path in made:
            remove(folder.path / path)
        folder.cut(dict.fromkeys(LOGS, 0))
    files = _write(folder.path, {**describe(run), "dtype": dtype})
    for name in BEFORE:
        if (folder.path / name).exists():
            files |= folder.marks(folder.path / name)
    folder.event("started", recipe=digest(mine["recipe"]), removed=made, cut=dict.fromkeys(LOGS, 0), files=files)


def _write(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Write manifest and recipe; gives their marks."""
    return {
        MANIFEST: write_text(folder / MANIFEST, json.dumps(manifest, indent=1)),
        RECIPE: write_text(folder / RECIPE, tomli_w.dumps(manifest["recipe"])),
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """A run folder's manifest. Raises FolderError for one that is missing, damaged or of another form."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{path} cannot be read ({error}): bring the file back, or name another folder.") from error
    if not isinstance(manifest, dict):
        raise FolderError(f"{path} is no manifest: a JSON object was wanted, this is {type(manifest).__name__}.")
    for name, kind in FORM.items():
        if not isinstance(manifest.get(name), kind):
            raise FolderError(f"{path} is no manifest: {name} is wanted as {kind.__name__}. Bring the file back.")
    return manifest


def record_model(folder: RunFolder, loaded: Loaded) -> None:
    """Note the weights a run starts from. Raises ``FolderError`` when the folder was begun from other weights."""
    manifest = read_manifest(folder.path)
    trainable = sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad)
    model = {"source": loaded.source, "digest": loaded.digest, "parameters": loaded.parameters, "trainable": trainable}
    known = manifest["model"].get("digest", loaded.digest)
    if known != loaded.digest:
        raise FolderError(
            f"{folder.path} was begun from weights with digest {known[:12]}, but {loaded.source} now has "
            f"{loaded.digest[:12]}. Bring the old weights back, or name another folder with --folder."
        )
    if manifest["model"] != model:
        text = json.dumps({**manifest, "model": model}, indent=1)
        folder.event("model", digest=loaded.digest, files={MANIFEST: write_text(folder.path / MANIFEST, text)})


def run_dtype(manifest: Mapping[str, Any]) -> torch.dtype:
    """The arithmetic a run folder was made with."""
    import torch

    return torch.bfloat16 if manifest["dtype"] == "bfloat16" else torch.float32


def choose_dtype(run: Run) -> torch.dtype:
    from togi.models.arithmetic_rate import compute_dtype
    from togi.models.device import find_device

    return compute_dtype(run.model.dtype, find_device(run.model.device))


def changes_between(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """Every recipe key, file and data set in which two manifests differ. Where the recipe lies is no change: what is
    read from there is compared. Nor is where the numbers are shown, nor where and in how many processes the run
    computes."""
    old, new = (_without_places(manifest["recipe"]) for manifest in (theirs, mine))
    return [
        *recipe_changes(old, new),
        *recipe_changes(theirs["files"], mine["files"], "files"),
        *data_changes(theirs["data"], mine["data"]),
    ]


def _without_places(recipe: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in recipe.items() if name not in ("relative_to", "logging")}
    for table, key in (("model", "device"), ("scale", "learners")):
        if isinstance(values := kept.get(table), Mapping):
            kept[table] = {name: value for name, value in values.items() if name != key}
    return kept


def recipe_changes(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Every place where two plain values differ, as ``key: old -> new``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from recipe_changes(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif isinstance(old, list) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from recipe_changes(left, right, f"{key}.{index}")
    elif json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):
        yield f"{key}: {old!r} -> {new!r}"


def data_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            yield f"data of {name}: {told(old.get(name))} -> {told(new.get(name))}"


def told(entry: Mapping[str, Any] | None) -> str:
    return "none" if entry is None else f"{entry['size']} tasks, digest {entry['digest'][:12]}"
