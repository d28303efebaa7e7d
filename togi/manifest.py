"""Who made a run folder, from what and on what, and the refusal to continue another run. Trains nothing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
import torch

from togi.envs.constitution import Constitution
from togi.folder import FolderError, RunFolder, digest, write_text
from togi.models.files import file_sha256
from togi.models.load import Loaded
from togi.models.policy import probe_bf16
from togi.rewards.algebra import leaves_of
from togi.run import Run
from togi.sandbox.box import AnyTier
from togi.sandbox.tiers import standing

PACKAGES = ("togi", "torch", "transformers", "safetensors", "numpy")


def claim(run: Run, folder: RunFolder, allow_changes: bool) -> torch.dtype:
    """Make the folder this run's, or make sure that it already is; gives the run's arithmetic.

    Raises ``FolderError`` naming every recipe key and data set that differs from the folder's own, unless changes are
    allowed; then they are recorded as an event.
    """
    path = folder.path / "manifest.json"
    mine = describe(run)
    if not path.exists():
        if (folder.path / "checkpoints").exists():
            raise FolderError(
                f"{folder.path} holds checkpoints but no manifest.json: not a run folder that can be continued"
            )
        dtype = choose_dtype(run)
        write_text(path, json.dumps({**mine, "dtype": str(dtype).removeprefix("torch.")}, indent=1))
        write_text(folder.path / "recipe.toml", tomli_w.dumps(run.recipe))
        folder.event("started", recipe=mine["recipe_digest"])
        return dtype
    theirs = json.loads(path.read_text(encoding="utf-8"))
    # Where the recipe lies is no change: what is read from there is compared.
    old, new = ({**manifest["recipe"], "relative_to": None} for manifest in (theirs, mine))
    changes = [
        *recipe_changes(old, new),
        *recipe_changes(theirs["files"], mine["files"], "files"),
        *data_changes(theirs["data"], mine["data"]),
    ]
    if changes and not allow_changes:
        listing = "\n  ".join(changes)
        raise FolderError(
            f"{folder.path} was made by another recipe or other data:\n  {listing}\n"
            "Undo the change, name another folder with --folder, or continue on purpose with --allow-changes."
        )
    if changes:
        kept = {name: theirs[name] for name in ("dtype", "started", "model")}
        write_text(path, json.dumps({**mine, **kept}, indent=1))
        write_text(folder.path / "recipe.toml", tomli_w.dumps(run.recipe))
        folder.event("changed", changes=changes)
    return run_dtype(theirs)


def record_model(folder: RunFolder, loaded: Loaded) -> None:
    """Note the weights a run starts from. Raises ``FolderError`` when the folder was begun from other weights."""
    path = folder.path / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    model = {"source": loaded.source, "digest": loaded.digest, "parameters": loaded.parameters}
    known = manifest["model"].get("digest", loaded.digest)
    if known != loaded.digest:
        raise FolderError(
            f"{folder.path} was begun from weights with digest {known[:12]}, but {loaded.source} now has "
            f"{loaded.digest[:12]}. Bring the old weights back, or name another folder with --folder."
        )
    if manifest["model"] != model:
        write_text(path, json.dumps({**manifest, "model": model}, indent=1))


def run_dtype(manifest: Mapping[str, Any]) -> torch.dtype:
    """The arithmetic a run folder was made with."""
    return torch.bfloat16 if manifest["dtype"] == "bfloat16" else torch.float32


def choose_dtype(run: Run) -> torch.dtype:
    if run.model.dtype == "auto":
        return probe_bf16().compute
    return torch.bfloat16 if run.model.dtype == "bfloat16" else torch.float32


def describe(run: Run) -> dict[str, Any]:
    """The manifest: versions, machine, model, data and recipe, with digests."""
    data = {stage.name: {"digest": stage.tasks.digest, "size": len(stage.tasks)} for stage in run.stages}
    if run.evaluation is not None:
        data["evaluation"] = {"digest": run.evaluation.tasks.digest, "size": len(run.evaluation.tasks)}
    return {
        "name": run.name,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": run.seed,
        "code": commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(),
        "sandbox": standing(asked_tier(run)),
        "model": {"source": run.model.source},
        "data": data,
        "files": files_read(run),
        "recipe_digest": digest(run.recipe),
        "recipe": dict(run.recipe),
    }


def files_read(run: Run) -> dict[str, dict[str, str | None]]:
    """sha256 of the user's own files that say what each stage pays for, and of the principles it asks under.

    A file that is missing is None: it is refused where it is read.
    """
    base = run.recipe.get("relative_to", ".")
    paid = {stage.name: [stage.reward, stage.gold] for stage in run.stages}
    if run.evaluation is not None:
        paid["evaluation"] = [run.evaluation.reward]
    found: dict[str, dict[str, str | None]] = {}
    for name, rewards in paid.items():
        paths = [path for reward in rewards if reward for leaf in leaves_of(reward) for path in leaf.files]
        found[name] = {os.path.relpath(path, base): file_sha256(path) if path.is_file() else None for path in paths}
    for stage in run.stages:
        if isinstance(stage.env, Constitution):
            found[stage.name]["principles"] = digest(asdict(stage.env))
    return found


def asked_tier(run: Run) -> AnyTier:
    """The tier of the recipe's [grading]."""
    tier: AnyTier = run.recipe.get("grading", {}).get("tier", "auto")
    return tier


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 1e9, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit() -> str | None:
    """The git commit of Togi's own checkout; None when it was installed from a package or git is not there."""
    root = Path(__file__).parent.parent
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
