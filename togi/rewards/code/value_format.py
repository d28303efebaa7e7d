"""Python values in the tests of a row: JSON as it is, and the box's own way of writing what JSON lacks.

``{"tuple": [1, 2]}``, ``{"set": [...]}``, ``{"frozenset": [...]}``, ``{"dict": [[key, value], ...]}``,
``{"bytes": "00ff"}``, ``{"float": "nan"}``, ``{"complex": [0.0, 1.0]}``; any other object is a dictionary with
keys of text.
"""

from __future__ import annotations

from typing import Any

from togi.sandbox.codec import decode

TAGS = {"tuple", "set", "frozenset", "dict", "bytes", "bytearray", "float", "complex", "int"}


def read_value(tree: Any) -> Any:
    """The value that a row's JSON stands for. Raises ValueError (NoValue)."""
    return decode(_tagged(tree))


def _tagged(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_tagged(each) for each in tree]
    if isinstance(tree, int) and not isinstance(tree, bool):
        return tree if -(2**63) <= tree < 2**63 else {"int": hex(tree)}
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1 and TAGS & tree.keys():
        return {tag: _tagged(body) for tag, body in tree.items()}
    return {"dict": [[key, _tagged(each)] for key, each in tree.items()]}
