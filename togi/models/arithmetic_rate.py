"""Measures how fast a device multiplies matrices in bfloat16 and in float32, to choose what to compute in.

It knows nothing of models: on one machine bfloat16 is emulated and slow, on the next it is ten times the faster.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

DtypeChoice = Literal["auto", "float32", "bfloat16"]

_SIZE, _LARGE = 512, 4096  # on a processor, and on an accelerator, which a small product would not fill
_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Rates in floating-point operations a second, and the type to compute in."""

    bfloat16: float
    float32: float
    compute: torch.dtype


def probe_bf16(device: torch.device | str = "cpu") -> Probe:
    """Multiply two square matrices in both types (some milliseconds) and choose the faster one."""
    bfloat16, float32 = _rate(torch.bfloat16, device), _rate(torch.float32, device)
    compute = torch.bfloat16 if bfloat16 > float32 else torch.float32
    return Probe(bfloat16=bfloat16, float32=float32, compute=compute)


def compute_dtype(named: DtypeChoice, device: torch.device) -> torch.dtype:
    """The type of that name; of "auto", the faster one there."""
    if named == "auto":
        return probe_bf16(device).compute
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[named]


def _rate(dtype: torch.dtype, device: torch.device | str) -> float:
    size = _SIZE if torch.device(device).type == "cpu" else _LARGE
    a = torch.full((size, size), 0.5, dtype=dtype, device=device)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        # Reading one entry waits for the product, on a device that works asynchronously too.
        (a @ a)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
