"""Samples and plain values as bytes, for processes that learn together. Knows no socket; nothing that it reads is run.

The bytes are those of a safetensors file of arrays, of which one is the rest as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from togi.types import Sample

_REST = "rest"
_TUPLES = frozenset({"state_keys"})  # what JSON makes lists of

Array = NDArray[Any]


def packed(words: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Plain values and arrays in one piece."""
    text = np.frombuffer(json.dumps(dict(words), default=_plain).encode(), np.uint8)
    data: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()} | {_REST: text})
    return data


def _plain(number: np.generic) -> Any:
    return number.item()


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    arrays: dict[str, Array] = load(data)
    words: dict[str, Any] = json.loads(arrays.pop(_REST).tobytes())
    return words, arrays


def packed_samples(samples: Sequence[Sample], words: Mapping[str, Any]) -> bytes:
    """Samples without thoughts, and what is said of them."""
    arrays: dict[str, Array] = {}
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        assert sample.thoughts is None, "recipes refuse thoughts with several learners"
        row: dict[str, Any] = {}
        for each in fields(Sample):
            value = getattr(sample, each.name)
            if isinstance(value, np.ndarray):
                arrays[f"{number}/{each.name}"] = value
            elif value is not None:
                row[each.name] = dict(value) if isinstance(value, Mapping) else value
        rows.append(row)
    return packed({"words": dict(words), "rows": rows}, arrays)


def unpacked_samples(data: bytes) -> tuple[list[Sample], dict[str, Any]]:
    rest, arrays = unpacked(data)
    rows: list[dict[str, Any]] = rest["rows"]
    for name, array in arrays.items():
        number, field = name.split("/", 1)
        rows[int(number)][field] = array
    for row in rows:
        row.update({name: tuple(row[name]) for name in _TUPLES & row.keys()})
    return [Sample(**row) for row in rows], rest["words"]
