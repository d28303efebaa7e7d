"""Tensors of which each process has a share: PyTorch's DTensor. It knows no model and no parameter."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor


def share(x: Tensor) -> Tensor:
    """This process's part of a tensor, in the same memory; all of it where it is not divided. Without a gradient."""
    x = x.detach()
    return x.to_local() if isinstance(x, DTensor) else x


def whole(x: Tensor) -> Tensor:
    """A tensor put together; every process has to ask."""
    x = x.detach()
    return x.full_tensor() if isinstance(x, DTensor) else x


def like(own: Tensor, divided: DTensor) -> DTensor:
    """A tensor divided like another one, of which this process has the part ``own``."""
    return DTensor.from_local(
        own, divided.device_mesh, divided.placements, run_check=False, shape=divided.shape, stride=divided.stride()
    )
