"""Faults of a run folder are told in one line, and before torch is imported: one process meets them all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from test_early_errors import commands
from test_foreign_models import CONFIG, write_weights

from togi.recipe.build import build
from togi.recipe.read_toml import read_recipe
from togi.run_folder.checkpoint import save_checkpoint
from togi.run_folder.files import RunFolder
from togi.run_folder.links import LOGS
from togi.run_folder.manifest import claim

RECIPE = """
name = "small"
[model]
source = "smollm2-135m"
dtype = "float32"
[data.train]
file = "rows.jsonl"
[data.test]
file = "test.jsonl"
[reward]
score = "number()"
[[stage]]
algorithm = "grpo"
steps = 1
attempts = 2
learning_rate = 1e-6
[evaluation]
"""
TRAIN, EVAL, CHAT, EXPORT = ["train", "r.toml", "--folder", "run"], ["eval", "run"], ["chat", "run"], ["export", "run"]
METRICS, ROLLOUTS, MODEL = "metrics.jsonl", "rollouts/grpo-000001.jsonl", "models/grpo/model.safetensors"
CONFIGURED = "models/grpo/config.json"


def as_it_is(path: Path) -> None: ...


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def changed(old: str, new: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(path.read_text().replace(old, new))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: list[tuple[Callable[[Path], object], str, list[str], str]] = [
    (as_it_is, "", [*TRAIN, "stage.grpo.steps=4"], "stage.0.steps: 1 -> 4"),
    (as_it_is, "", [*TRAIN, "reward.score=form()"], "was made by another recipe or other data"),
    (changed("1 + 1", "1 + 3"), "../rows.jsonl", TRAIN, "data of grpo: 1 tasks, digest"),
    (gone, "manifest.json", TRAIN, "holds metrics.jsonl but no manifest.json"),
    (written(b"{"), "manifest.json", TRAIN, "manifest.json cannot be read"),
    (written(b"[]"), "manifest.json", EVAL, "a JSON object was wanted"),
    (changed('"seed": 0', '"seed": 1'), "manifest.json", TRAIN, "manifest.json was changed after it was written"),
    (changed('"seed": 0', '"seed": 1'), "manifest.json", EVAL, "manifest.json was changed after it was written"),
    (gone, "events.jsonl", TRAIN, "manifest.json was changed after it was written"),
    (gone, "events.jsonl", EVAL, "nothing vouches for this folder"),
    (gone, "events.jsonl", EXPORT, "nothing vouches for this folder"),
    (written(b""), "events.jsonl", CHAT, "holds no event"),
    (written(b"\xff\xfe\n"), "events.jsonl", CHAT, "holds no event"),
    (changed('"step"', '"stop"'), "events.jsonl", TRAIN, "line 2 does not fit the chain"),
    (changed('"step"', '"stop"'), "events.jsonl", CHAT, "line 2 does not fit the chain"),
    (changed("0.5", "0.9"), METRICS, TRAIN, "metrics.jsonl was changed after it was written"),
    (written(b"x"), METRICS, TRAIN, "metrics.jsonl is cut"),
    (written(b"x\n{}\n"), METRICS, EVAL, "line 1: not readable"),
    (gone, METRICS, [*TRAIN, "seed=1"], "was made by another recipe"),
    (linked, METRICS, TRAIN, "is a symbolic link"),
    (linked, "rollouts", TRAIN, "is a symbolic link"),
    (linked, "models", CHAT, "is a symbolic link"),
    (written(b"{}\n{}\n"), ROLLOUTS, TRAIN, f"{ROLLOUTS} was changed"),
    (gone, ROLLOUTS, TRAIN, f"{ROLLOUTS} is missing"),
    (flipped, "checkpoints/000001/state.json", TRAIN, "no checkpoint in"),
    (flipped, MODEL, TRAIN, "no checkpoint in"),
    (folder, ".lock", TRAIN, "is wanted as a file and is none"),
    (piped, "events.jsonl", CHAT, "is wanted as a file and is none"),
    (piped, "manifest.json", EXPORT, "is wanted as a file and is none"),
    (piped, "recipe.toml", EVAL, "holds no recipe.toml"),
    (piped, ROLLOUTS, TRAIN, "is wanted as a file and is none"),
    (piped, MODEL, CHAT, "is no file"),
    (piped, CONFIGURED, EXPORT, "no config.json"),
    (gone, "recipe.toml", EVAL, "it holds no recipe.toml"),
    (changed("1e-06", "1e-05"), "recipe.toml", EVAL, "recipe.toml was changed after it was written"),
    (changed("1e-06", "1e-05"), "recipe.toml", CHAT, "recipe.toml was changed after it was written"),
    (gone, "models", EVAL, "no stage has ended yet"),
    (as_it_is, "", [*EVAL, "--model", "sft"], "no saved model 'sft'; there is grpo"),
    (flipped, MODEL, EVAL, "models/grpo was changed after it was written"),
    (flipped, MODEL, EXPORT, "models/grpo was changed after it was written. Put it back as it was, or copy"),
    (flipped, MODEL, ["export", "run/models/grpo"], "models/grpo was changed after it was written"),
    (flipped, MODEL, CHAT, "models/grpo was changed after it was written"),
    (gone, CONFIGURED, CHAT, "no config.json"),
    (written(b""), "models/grpo/added.json", CHAT, "models/grpo was changed after it was written"),
    (lambda path: shutil.copytree(path / "grpo", path / "b"), "models", ["chat", "run/models/b"], "named by no event"),
]  # fmt: skip


def announce(run: RunFolder, mark: str) -> None:
    run.event("checkpoint", step=1, files={"checkpoints/000001": mark})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and the run of it, which has learned all it was to learn."""
    base = tmp_path_factory.mktemp("run_faults")
    (base / "rows.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
    (base / "test.jsonl").write_text('{"prompt": "1 + 2", "answer": "3"}\n')
    (base / "r.toml").write_text(RECIPE)
    with RunFolder(base / "run") as run:
        claim(build(read_recipe(base / "r.toml"), run.path), run, allow_changes=False)
        (run.path / ROLLOUTS).parent.mkdir()
        (run.path / ROLLOUTS).write_text("{}\n")
        run.append(METRICS, {"stage": "grpo", "step": 1, "reward": 0.5})
        run.event("step", stage="grpo", step=1, files=run.marks(run.path / ROLLOUTS), logs=run.grown())
        (run.path / MODEL).parent.mkdir(parents=True)
        write_weights(run.path / MODEL)
        (run.path / CONFIGURED).write_text(json.dumps(CONFIG))
        run.event("stage_done", name="grpo", files=run.marks((run.path / MODEL).parent))
        state = {"position": {"stage": 1, "step": 0, "total": 1}, "sizes": run.sizes(*LOGS), "work": None}
        save_checkpoint(run.path / "checkpoints", 1, state, lambda _: None, partial(announce, run), keep=1)
    return base


def test_faults_of_a_run_folder_are_told_without_torch(base: Path, tmp_path: Path) -> None:
    asked = []
    for number, (damage, path, arguments, _) in enumerate(FAULTS):
        place = tmp_path / str(number)
        shutil.copytree(base, place)
        damage(place / "run" / path)
        asked.append((place, [*arguments, *(["out"] if arguments[0] == "export" else [])]))
    for (_, path, arguments, expected), (code, error) in zip(FAULTS, commands(asked), strict=True):
        assert (code, expected in error) == (2, True), (path, arguments, error)
        assert "\n" not in error.strip() or "was made by" in error
