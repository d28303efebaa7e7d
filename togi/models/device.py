"""Where a model is: the devices there are, by name, their memory and their random state. It knows no model.

Names are those of torch: ``cpu``, ``cuda`` or ``cuda:1``, ``mps``, ``xpu``; ``auto`` is an accelerator that torch sees,
else the processor.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping

import torch

from togi.memory import memory_limit


def devices() -> list[str]:
    """The devices of this machine that torch can compute on, the one of ``auto`` first."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    if accelerator.type == "mps":
        return ["mps", "cpu"]
    return [*(f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count())), "cpu"]


def find_device(name: str) -> torch.device:
    """The device of a name; a name without a number is the first of its kind. Raises ValueError, naming what is there,
    for one that is not."""
    there = devices()
    for each in there:
        if name in ("auto", each, each.partition(":")[0]):
            return torch.device(each)
    what = "takes what there is" if len(there) > 1 else "takes it; for an accelerator, install a torch made for it"
    raise ValueError(
        f'there is no device {name} here; torch {torch.__version__} sees {", ".join(there)}: "auto" {what}'
    )


def called(device: torch.device) -> str:
    """What a person calls it: its name, and that of the accelerator where its library tells one."""
    if device.type not in ("cuda", "xpu"):
        return str(device)
    return f"{device} ({torch.get_device_module(device).get_device_name(device)})"


def memory_of(device: torch.device) -> int:
    """Bytes that a process may use there."""
    if device.type == "cpu":
        return memory_limit()
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return int(torch.accelerator.get_memory_info(device)[1])


def peak_memory(device: torch.device) -> float:
    """The most memory that this process has held there, in GB. An accelerator that shares the processor's is counted
    with it."""
    if device.type not in ("cpu", "mps"):
        return round(torch.accelerator.max_memory_allocated(device) / 1e9, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 3)


def random_state(device: torch.device) -> dict[str, str]:
    """The state of torch's generators, by kind of device: of the processor's, and of the accelerator's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(*_of(device))
    return {kind: bytes(state.tolist()).hex() for kind, state in states.items()}


def restore_random_state(states: Mapping[str, str], device: torch.device) -> None:
    """Take up the generators' states; one of another kind of device stays as it was seeded."""
    found = {kind: torch.tensor(list(bytes.fromhex(state)), dtype=torch.uint8) for kind, state in states.items()}
    torch.set_rng_state(found["cpu"])
    if device.type != "cpu" and device.type in found:
        torch.get_device_module(device).set_rng_state(found[device.type], *_of(device))


def _of(device: torch.device) -> tuple[torch.device, ...]:
    """How a generator is asked for: Apple's devices have one and no number."""
    return () if device.type == "mps" else (device,)
