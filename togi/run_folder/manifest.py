"""Who made a run folder, from what and on what, and the refusal to continue another run. Trains nothing.

Whether a folder is refused is found out without torch; only a folder that is begun asks it about the machine.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from togi.envs.constitution import Constitution
from togi.envs.user_env import UserEnv
from togi.find_function import with_imports
from togi.memory import installed
from togi.models.weight_files import file_sha256
from togi.protocols import Reward
from togi.rewards.algebra import leaves_of
from togi.run import Run
from togi.run_folder.files import FolderError, RunFolder, digest, mark, remove, write_text, writing
from togi.run_folder.integrity import read_chain, vouched
from togi.run_folder.links import LOGS, PARTS
from togi.sandbox.box import AnyTier
from togi.sandbox.jails_in_use import standing

if TYPE_CHECKING:
    import torch

    from togi.models.load_model import Loaded

MANIFEST, RECIPE = "manifest.json", "recipe.toml"
BEFORE = ("redteam.json", "doctor.json")  # what checks before training leave in a folder
PYTHON = "python"  # what says of a manifest's recipe that no file can build the run
FORM = {"recipe": dict, "files": dict, "data": dict, "model": dict, "dtype": str, "started": str}
"""What a run that goes on reads of a manifest."""

PACKAGES = ("togi", "torch", "transformers", "safetensors", "numpy")


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


def describe(run: Run) -> dict[str, Any]:
    """The manifest: versions, machine, model, data and recipe, with digests."""
    made = made_of(run)
    return {
        "name": run.name,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": run.seed,
        "code": commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(run.model.device),
        "sandbox": standing(asked_tier(run)),
        "model": {"source": run.model.source},
        "recipe_digest": digest(made["recipe"]),
        **made,
    }


def made_of(run: Run) -> dict[str, Any]:
    """The part of the manifest that makes a run the one it is: its data and files, by their digests, and its recipe."""
    data = {stage.name: {"digest": stage.tasks.digest, "size": len(stage.tasks)} for stage in run.stages}
    if run.evaluation is not None:
        data["evaluation"] = {"digest": run.evaluation.tasks.digest, "size": len(run.evaluation.tasks)}
    return {"data": data, "files": files_read(run), "recipe": dict(run.recipe) or outline(run)}


def outline(run: Run) -> dict[str, Any]:
    """What a run that was built in Python is, as far as plain values say it, laid out like a recipe."""
    model = {"source": run.model.source, "dtype": run.model.dtype}
    stages = [
        {
            "name": stage.name,
            "algorithm": type(stage.algorithm).__name__,
            "settings": {name: told_of(value) for name, value in _settings(stage.algorithm).items()},
            **{name: paid(reward) for name, reward in (("reward", stage.reward), ("gold", stage.gold)) if reward},
            **({"start": stage.start} if stage.start else {}),
            **{name: getattr(stage, name) for name in ("steps", "tasks_per_step", "minibatches", "epochs")},
            "learning_rate": stage.optimiser.learning_rate,
            "optimiser": told_of(stage.optimiser),
            "sampling": told_of(stage.sampling),
        }
        for stage in run.stages
    ]
    adapters = {"lora": asdict(run.model.lora)} if run.model.lora else {}
    measured = {}
    if run.evaluation:
        measured = {
            "attempts": run.evaluation.attempts,
            "sampling": told_of(run.evaluation.sampling),
            "reward": paid(run.evaluation.reward),
        }
    plan = {"name": run.name, "built_in": PYTHON, "seed": run.seed, "model": {**model, **adapters}, "stage": stages}
    return plan | ({"evaluation": measured} if measured else {})


def paid(reward: Reward) -> dict[str, Any]:
    """What a reward that was written in Python is: its values, and the sha256 of the source of each class and function
    in it that is not Togi's own. Where Python has no source (what was typed in, or is built in), it is "unknown"."""
    own = dict.fromkeys(_defined(leaf) for leaf in leaves_of(reward) or (reward,))
    sources = {made.__qualname__: _source(made) for made in own if made.__module__.partition(".")[0] != "togi"}
    return {"score": told_of(reward)} | ({"source": sources} if sources else {})


def _defined(reward: Any) -> Any:
    """What says how a reward scores: the function that it is, or its class."""
    return reward if inspect.isfunction(reward) else type(reward)


def _source(made: Any) -> str:
    try:
        return digest(inspect.getsource(made))
    except (OSError, TypeError):
        return "unknown"


def _settings(algorithm: Any) -> dict[str, Any]:
    return (
        {field.name: getattr(algorithm, field.name) for field in fields(algorithm)} if is_dataclass(algorithm) else {}
    )


def told_of(value: Any) -> str:
    """A value in words that are the same in every process: Python's own tell where an object lies in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def files_read(run: Run) -> dict[str, dict[str, str | None]]:
    """sha256 of the user's own files that say what answers in each stage and what it pays for, and of the principles
    it asks under.

    A file that is missing is None: it is refused where it is read.
    """
    base = run.recipe.get("relative_to", ".")
    paid = {stage.name: [stage.reward, stage.gold] for stage in run.stages}
    envs = {stage.name: stage.env for stage in run.stages}
    if run.evaluation is not None:
        paid["evaluation"], envs["evaluation"] = [run.evaluation.reward], run.evaluation.env
    found: dict[str, dict[str, str | None]] = {}
    for name, rewards in paid.items():
        paths = [path for reward in rewards if reward for leaf in leaves_of(reward) for path in leaf.files]
        env = envs[name]
        paths += env.files if isinstance(env, UserEnv) else ()
        paths += own_algorithm(run, name)
        found[name] = {os.path.relpath(path, base): file_sha256(path) if path.is_file() else None for path in paths}
    for stage in run.stages:
        if isinstance(stage.env, Constitution):
            found[stage.name]["principles"] = digest(asdict(stage.env))
    return found


def own_algorithm(run: Run, stage: str) -> tuple[Path, ...]:
    """The user's files that a stage's algorithm is made of; none for one of Togi's."""
    table: Mapping[str, Any] = next((each for each in run.recipe.get("stage", ()) if each.get("name") == stage), {})
    place, _, _ = str(table.get("algorithm", "")).rpartition(":")
    return with_imports(Path(run.recipe.get("relative_to", ".")) / place) if place.endswith(".py") else ()


def asked_tier(run: Run) -> AnyTier:
    """The tier of the recipe's [grading]."""
    tier: AnyTier = run.recipe.get("grading", {}).get("tier", "auto")
    return tier


def machine(device: str) -> dict[str, Any]:
    """What a run begins on. ``device`` is the name of the one that computes."""
    import torch

    from togi.models.device import called, find_device

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(installed() / 1e9, 1),
        "device": called(find_device(device)),
    }


def commit() -> str | None:
    """The git commit of Togi's own checkout; None when it was installed from a package or git is not there."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def processor() -> str:
    """The processor's own name where the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def changes_between(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """Every recipe key, file and data set in which two manifests differ. Where the recipe lies is no change: what is
    read from there is compared. Nor is where the numbers are shown, or where the run computes."""
    old, new = (_without_places(manifest["recipe"]) for manifest in (theirs, mine))
    return [
        *recipe_changes(old, new),
        *recipe_changes(theirs["files"], mine["files"], "files"),
        *data_changes(theirs["data"], mine["data"]),
    ]


def _without_places(recipe: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in recipe.items() if name not in ("relative_to", "logging")}
    if isinstance(model := kept.get("model"), Mapping):
        kept["model"] = {name: value for name, value in model.items() if name != "device"}
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
