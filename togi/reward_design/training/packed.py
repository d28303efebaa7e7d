"""Arrays as JSON, for the wall of the jail: numbers and a shape, and never an object. It knows no program."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("float32", "float64", "int64", "int32", "bool")


def pack(array: Any) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    if array.dtype.name not in KINDS:
        array = array.astype(np.float64)
    return {"kind": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def unpack(packed: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Raises ValueError for what is no packed array."""
    try:
        kind, shape, data = packed["kind"], [int(size) for size in packed["shape"]], str(packed["data"])
        if kind not in KINDS or any(size < 0 for size in shape):
            raise ValueError(f"no array of {kind} {shape}")
        raw = base64.b64decode(data, validate=True)
        if len(raw) != math.prod(shape) * np.dtype(kind).itemsize:
            raise ValueError(f"an array of {shape} in {len(raw)} bytes")
        return np.frombuffer(raw, kind).reshape(shape).copy()
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no packed array: {error}") from error
