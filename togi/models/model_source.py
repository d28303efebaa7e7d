"""Where a model's source leads, told before anything is loaded. It knows names, folders and files, and no torch."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

from togi.find_function import absolute
from togi.models.bundled import BUNDLED
from togi.models.untrusted_model import check_adapter, check_gguf, check_model, check_texts
from togi.models.weight_files import ModelError, weight_files

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
FUNCTION = re.compile(r".+\.py:\w+")


def check_source(source: str) -> None:
    """Raises ModelError for what load_model would refuse by the names and numbers that are there."""
    path = newest_model(Path(source))
    if is_function(source):
        _check_function(source)
    elif path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"there is no file {path}")
        check_gguf(path)
    elif (path / "adapter_config.json").is_file():
        check_adapter(path)
    elif path.is_dir():
        weight_files(path)
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} has weights but no config.json: it is not a folder that transformers can load")
        check_model(path)
    elif source not in BUNDLED and not HUB_ID.fullmatch(source):
        near = difflib.get_close_matches(source[:100], BUNDLED, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ModelError(
            f"there is no model {source!r}{hint}: wanted a bundled name ({', '.join(BUNDLED)}), a folder with "
            "safetensors, a .gguf file, an adapter folder, a run folder, a hub id such as "
            "org/name, or a function that makes one: file.py:function"
        )


def check_shape(source: str) -> None:
    """Raises ModelError for what does not tell the shape of a model whose weights are elsewhere."""
    path = Path(source)
    if path.is_dir() and (path / "config.json").is_file():
        check_texts(path)
    elif path.exists() or (source not in BUNDLED and not HUB_ID.fullmatch(source)):
        raise ModelError(
            f"{source} does not tell the shape of a model whose weights are elsewhere: wanted a bundled name "
            f"({', '.join(BUNDLED)}), a folder with its configuration and tokenizer, or a hub id such as org/name"
        )


def is_function(source: str) -> bool:
    """Whether the source names a function that makes a model, ``file.py:function``."""
    return bool(FUNCTION.fullmatch(source)) and not Path(source).exists()


def _check_function(source: str) -> None:
    try:
        absolute(source, Path())
    except ValueError as error:
        raise ModelError(str(error)) from error


def newest_model(path: Path) -> Path:
    """For a run folder the model of the stage finished last, as its events tell; any other path as it is."""
    models = path / "models"
    if not models.is_dir() or (path / "config.json").is_file():
        return path
    finished = [folder for folder in models.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    if not finished:
        raise ModelError(f"the run {path} has not finished a stage yet: it holds no model")
    done = _stages_done(path / "events.jsonl")
    known = [folder for folder in finished if folder.name in done]
    if not known:  # no run's own folder, but one laid out like it
        return max(finished, key=lambda folder: (folder.stat().st_mtime_ns, folder.name))
    return max(known, key=lambda folder: done[folder.name])


def _stages_done(events: Path) -> dict[str, int]:
    """The stages of a run that have ended, with the line that says so last."""
    done: dict[str, int] = {}
    for number, line in enumerate(events.read_bytes().split(b"\n") if events.is_file() else ()):
        # The boundary to a foreign file: what is no event says nothing.
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and row.get("event") == "stage_done":
            done[str(row.get("name"))] = number
    return done
