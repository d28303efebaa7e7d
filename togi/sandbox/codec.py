"""Plain Python values as JSON and back, exactly, with their types; it knows no program and trusts no text it reads.

Runs on both sides of a box's wall, so it imports nothing of Togi. None, booleans, strings, lists, finite floats and
integers of at most 64 bits are themselves in JSON; everything else is an object with one key, its type's name. Only
these exact types are written: an instance of a subclass may compare as it likes, and is no value.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False  # typing is as slow to import as everything else here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEPTH = 64  # levels of values within values
VALUES = 200_000  # values within a value
HASHED = 10_000  # members of sets and keys of dictionaries: those with equal hashes take quadratic time to collect
WORD = 2**63


class NoValue(ValueError):
    """This value, or this text, is not one that the codec writes."""


def encode(value: Any) -> Any:
    """What ``json.dumps`` can write. Raises NoValue for another type, for depth over DEPTH and for more than VALUES
    values or HASHED keys."""
    return _Encoder().encode(value, DEPTH)


def decode(tree: Any) -> Any:
    """The value that ``encode`` made ``tree`` of, ``tree`` being what ``json.loads`` gave. Raises NoValue."""
    try:
        return _Decoder().decode(tree, DEPTH)
    except NoValue:
        raise
    except (TypeError, ValueError) as error:  # a list in a set, bytes that are no hexadecimal number
        raise NoValue(str(error)) from error


class _Budget:
    def __init__(self) -> None:
        self.values, self.hashed = VALUES, HASHED

    def spend(self, depth: int, hashed: int = 0) -> None:
        self.values -= 1
        self.hashed -= hashed
        if depth < 0 or self.values < 0 or self.hashed < 0:
            raise NoValue(f"deeper than {DEPTH} levels, more than {VALUES} values, or more than {HASHED} keys")


class _Encoder(_Budget):
    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self.spend(depth, len(value) if kind in (set, frozenset, dict) else 0)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -WORD <= value < WORD else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return [self.encode(each, depth - 1) for each in value]
        if kind in (tuple, set, frozenset):
            return {kind.__name__: [self.encode(each, depth - 1) for each in value]}
        if kind is dict:
            pairs = [[self.encode(key, depth - 1), self.encode(each, depth - 1)] for key, each in value.items()]
            return {"dict": pairs}
        if kind in (bytes, bytearray):
            return {kind.__name__: value.hex()}
        if kind is complex:
            return {"complex": [self.encode(value.real, depth - 1), self.encode(value.imag, depth - 1)]}
        raise NoValue(f"a value of type {kind.__name__}")


class _Decoder(_Budget):
    def decode(self, tree: Any, depth: int) -> Any:
        self.spend(depth)
        if tree is None or isinstance(tree, bool | str):
            return tree
        if isinstance(tree, int):
            return self.known(tree, -WORD <= tree < WORD)
        if isinstance(tree, float):
            return self.known(tree, math.isfinite(tree))
        if isinstance(tree, list):
            return [self.decode(each, depth - 1) for each in tree]
        if not isinstance(tree, dict) or len(tree) != 1:
            raise NoValue("neither a plain value nor an object with one key")
        ((kind, body),) = tree.items()
        if isinstance(body, list):
            return self.collection(kind, body, depth - 1)
        if isinstance(body, str):
            return self.scalar(kind, body)
        raise NoValue(f"a {type(body).__name__} under a type's name")

    def known(self, tree: Any, wanted: bool) -> Any:
        if not wanted:
            raise NoValue("a number that JSON does not hold exactly")
        return tree

    def collection(self, kind: str, body: list[Any], depth: int) -> Any:
        if kind == "dict":
            self.spend(depth, len(body))
            if not all(isinstance(pair, list) and len(pair) == 2 for pair in body):
                raise NoValue("a dictionary of other things than pairs")
            return {self.decode(key, depth): self.decode(each, depth) for key, each in body}
        if kind == "complex":
            parts = [self.decode(each, depth) for each in body]
            if [type(part) for part in parts] != [float, float]:
                raise NoValue("a complex number of other things than two floats")
            return complex(*parts)
        if kind not in _COLLECTIONS:
            raise NoValue("an unknown type")
        self.spend(depth, 0 if kind == "tuple" else len(body))
        return _COLLECTIONS[kind](self.decode(each, depth) for each in body)

    def scalar(self, kind: str, body: str) -> Any:
        if kind == "float" and body in ("inf", "-inf", "nan"):
            return float(body)
        if kind == "int" and body.lstrip("-").startswith("0x"):
            return int(body, 16)
        if kind in _BYTES:
            return _BYTES[kind](body)
        raise NoValue("an unknown type")


_COLLECTIONS: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_BYTES: dict[str, Callable[[str], Any]] = {"bytes": bytes.fromhex, "bytearray": bytearray.fromhex}
