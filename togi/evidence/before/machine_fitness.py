"""Is this machine fit for a run: cores, arithmetic, memory, disk. It knows no reward and no task.

Memory of full fine-tuning in bytes a parameter: 4 weights, 4 gradients and 8 moments of AdamW in float32; arithmetic in
bfloat16 adds 2 for the weights that are sampled from. Activations follow Korthikanti et al. 2022 (arXiv 2205.05198,
equation 2): about 34 bytes a token, layer and hidden unit in 16-bit arithmetic.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from togi.evidence.findings import Finding
from togi.models.arithmetic_rate import Probe
from togi.models.device import called
from togi.sandbox.tiers.choose_tier import cores

TRAINED, ROUNDED = 16, 2
ACTIVATION = 34


@dataclass(frozen=True, kw_only=True)
class Size:
    """What decides memory. ``tokens`` are those of a micro-batch, ``packed`` bytes of weights in 4 bits, which are no
    ``parameters``, and ``teacher`` the parameters of the largest teacher."""

    parameters: int
    packed: int
    trained: int
    layers: int
    hidden: int
    tokens: int
    bfloat16: bool
    reference: bool
    teacher: int = 0


def memory_needed(size: Size) -> float:
    """Bytes held while learning, without the program itself."""
    width = 2 if size.bfloat16 else 4
    held = (size.parameters * (2 if size.reference else 1) + size.teacher) * width
    # Trained weights are counted above once; what comes on top is master weights, gradients and moments.
    on_top = TRAINED if size.bfloat16 else TRAINED - 4
    return size.packed + held + size.trained * on_top + ACTIVATION * size.tokens * size.layers * size.hidden * width / 2


def free_disk(folder: Path) -> int:
    """Bytes free where ``folder`` is or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def software(device: torch.device) -> Finding:
    return Finding(
        level="ok",
        title=f"Python {platform.python_version()}, torch {torch.__version__}, {cores()} cores",
        detail=f"models compute on {called(device)}, torch on {torch.get_num_threads()} threads of the processor",
    )


def threads(count: int, available: int) -> Finding | None:
    """Whether torch uses the cores there are."""
    if count > available:
        advice = f"set OMP_NUM_THREADS={available}: threads that wait for each other are slower than fewer"
        return Finding(level="warn", title=f"{count} threads share {available} cores", advice=advice)
    if 2 * count <= available:
        advice = f"unset OMP_NUM_THREADS, or set it to {available}"
        return Finding(level="warn", title=f"only {count} of {available} cores are used", advice=advice)
    return None


def arithmetic(probe: Probe, compute: torch.dtype) -> Finding:
    """Which type the run computes in, and whether that is the fast one."""
    rates = f"bfloat16 {probe.bfloat16 / 1e9:.0f}, float32 {probe.float32 / 1e9:.0f} GFLOP/s"
    name = str(compute).removeprefix("torch.")
    if compute != probe.compute:
        better = str(probe.compute).removeprefix("torch.")
        advice = f'set dtype = "auto": {better} is faster here'
        return Finding(level="warn", title=f"computes in {name}", detail=rates, advice=advice)
    return Finding(level="ok", title=f"computes in {name}", detail=rates)


def jail(standing: Mapping[str, str], asked: str) -> Finding:
    """What keeps in graders, and programs that a model wrote."""
    title = f"graders run in: {standing['graders']}, programs in: {standing['programs']}"
    if asked == "process":
        advice = 'leave out [grading] tier = "process": what a model writes runs with all your rights'
        return Finding(level="warn", title=title, advice=advice)
    if standing["graders"] == "bubblewrap":
        return Finding(level="ok", title=title)
    advice = "install bubblewrap (Debian: apt install bubblewrap): graders that evaluate answers are refused without it"
    return Finding(level="warn", title=title, advice=advice)


def memory(needed: float, limit: float, device: torch.device) -> Finding:
    place = "memory" if device.type == "cpu" else f"memory of {device}"
    title = f"training needs about {needed / 1e9:.1f} GB of {limit / 1e9:.1f} GB {place}"
    detail = "weights, gradients, moments and activations; the program itself takes about 1 GB more"
    if needed > limit:
        advice = "train adapters ([model.lora]), lower tokens_per_microbatch, or choose a smaller model"
        return Finding(level="fail", title=title, detail=detail, advice=advice)
    if needed + 1e9 > 0.8 * limit:
        advice = "little is left: lower tokens_per_microbatch, or close other programs"
        return Finding(level="warn", title=title, detail=detail, advice=advice)
    return Finding(level="ok", title=title, detail=detail)


def disk(needed: float, free: float, folder: Path) -> Finding:
    title = f"the run folder needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    if needed > free:
        advice = "free some space, name another folder, or keep fewer checkpoints (checkpoint.keep)"
        return Finding(level="fail", title=title, detail=str(folder), advice=advice)
    return Finding(level="ok", title=title, detail=str(folder))
