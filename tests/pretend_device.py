"""A device that is not there: tensors on it are computed by the processor, and refused where a real one would refuse.

A tensor of ``PRETEND`` wraps one of the processor. An operation that takes both raises, unless the processor's has no
axes, which every device takes; so does ``numpy()``. It does not
see kernels of a device that round or order otherwise, nor tensors that are made on the processor and carried over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

PRETEND = torch.device("meta")
"""Its name stands for the device: torch computes nothing there by itself."""


class There(torch.Tensor):
    """A tensor on the device, whose numbers are in ``held``."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> There:
        made: There = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=PRETEND,
            requires_grad=False,
        )
        made.held = held
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.tolist:  # which every device can, and no subclass
            return args[0].held.tolist()
        with torch._C.DisableTorchFunctionSubclass():  # which would make results of this class
            done = func(*args, **(kwargs or {}))
        if func is torch.Tensor.data.__set__:  # type: ignore[attr-defined]
            args[0].held = args[1].held
        return done

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation as the device would make it."""
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in given if isinstance(x, There)]
    named = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.device)]
    carries = bool(named) or func is torch.ops.aten.copy_.default
    if there and not carries and (strays := [x for x in given if not isinstance(x, There) and x.ndim]):
        raise AssertionError(f"{func} takes tensors of two devices: one of shape {list(strays[0].shape)} is elsewhere")
    stays = named[0] == PRETEND if named else bool(there)
    held_args, held_kwargs = tree_map(_held, (args, kwargs))
    out = func(*held_args, **held_kwargs)
    owner = {id(x.held): x for x in there}
    passed = {id(x) for x in given} | owner.keys()

    def placed(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        if named and id(x) in passed:  # carried over, where the processor alone would give the same tensor
            x = x.clone()
        elif id(x) in owner:  # changed in place
            return owner[id(x)]
        return There(x) if stays else x

    return tree_map(placed, out)


def _held(x: Any) -> Any:
    if isinstance(x, torch.device):
        return torch.device("cpu")
    return x.held if isinstance(x, There) else x


class _Factories(TorchDispatchMode):
    """Makes tensors on the device where it is named."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(x, torch.device) and x == PRETEND for x in tree_leaves((args, kwargs))):
            return compute(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


@contextmanager
def pretending() -> Iterator[None]:
    """The device is there."""
    constant = torch.tensor

    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
        """Of Python's numbers, which no dispatch sees."""
        made = constant(data, **kwargs)
        return made if device is None else made.to(device)

    with _Factories(), patch.object(torch, "tensor", tensor):
        yield
