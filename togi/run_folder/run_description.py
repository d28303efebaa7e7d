"""What a run is, on what machine and of which files, as the plain values of its manifest. It writes nothing."""

from __future__ import annotations

import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from togi.envs.chat import OneTurn
from togi.envs.constitution import Constitution
from togi.file_sha256 import file_sha256
from togi.find_function import files_of, with_imports
from togi.memory import installed
from togi.models.model_source import is_function
from togi.protocols import Env, Reward
from togi.rewards.algebra import leaves_of
from togi.run import Run
from togi.run_folder.files import digest
from togi.run_folder.row_lineage import KEY, rows_noted
from togi.sandbox.box import AnyTier
from togi.sandbox.jails_in_use import standing
from togi.types import Task

PYTHON = "python"  # what says of a manifest's recipe that no file can build the run
PACKAGES = ("togi", "torch", "transformers", "safetensors", "numpy")


def describe(run: Run) -> dict[str, Any]:
    """The manifest: versions, machine, model, data and where they come from, and recipe, with digests."""
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
        **({KEY: noted} if (noted := rows_noted(run)) else {}),
    }


def made_of(run: Run) -> dict[str, Any]:
    """The part of the manifest that makes a run the one it is: its data and files, by their digests, and its recipe."""
    data = {stage.name: {"digest": stage.tasks.digest, "size": len(stage.tasks)} for stage in run.stages}
    if run.evaluation is not None:
        data["evaluation"] = {"digest": run.evaluation.tasks.digest, "size": len(run.evaluation.tasks)}
        if run.evaluation.choice:
            data["choice"] = {"digest": run.evaluation.choice.digest, "size": len(run.evaluation.choice)}
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
            **({"env": answering(stage.env)} if stage.env is not OneTurn else {}),
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
            **({"env": answering(run.evaluation.env)} if run.evaluation.env is not OneTurn else {}),
        }
    plan = {"name": run.name, "built_in": PYTHON, "seed": run.seed, "model": {**model, **adapters}, "stage": stages}
    return plan | ({"evaluation": measured} if measured else {})


def paid(reward: Reward) -> dict[str, Any]:
    """What a reward that was written in Python is: its values, and the sha256 of the source of each class and function
    in it that is not Togi's own. Where Python has no source (what was typed in, or is built in), it is "unknown"."""
    return {"score": told_of(reward), **_sources(leaves_of(reward) or (reward,))}


def answering(env: Callable[[Task], Env]) -> dict[str, Any]:
    """What an environment that was written in Python is, told as a reward is."""
    return {"use": told_of(env), **_sources((env,))}


def _sources(things: Iterable[Any]) -> dict[str, Any]:
    own = dict.fromkeys(map(_defined, things))
    sources = {made.__qualname__: _source(made) for made in own if made.__module__.partition(".")[0] != "togi"}
    return {"source": sources} if sources else {}


def _defined(thing: Any) -> Any:
    """What says how a reward scores, or an environment answers: the function or class that it is, or its class."""
    return thing if inspect.isfunction(thing) or inspect.isclass(thing) else type(thing)


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
    """sha256 of the user's own files that say what answers in each stage and what it pays for, of the principles it
    asks under, and of those that make the model.

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
        paths += getattr(envs[name], "files", ())
        paths += own_algorithm(run, name)
        found[name] = _marks(paths, base)
    for stage in run.stages:
        if isinstance(stage.env, Constitution):
            found[stage.name]["principles"] = digest(asdict(stage.env))
    if is_function(run.model.source):
        made = _marks(files_of(run.model.source), base)
        found["model"] = {**found.get("model", {}), **made}
    return found


def _marks(paths: Iterable[Path], base: str) -> dict[str, str | None]:
    return {os.path.relpath(path, base): file_sha256(path) if path.is_file() else None for path in paths}


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
