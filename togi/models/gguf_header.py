"""What a GGUF file claims to hold: its settings and its tensors' shapes, read with every count bounded.

It reads the header alone and builds nothing; whether the numbers make a sound model is ``foreign.py``'s to say.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from togi.models.weight_files import ModelError

MOST_SETTINGS = 10_000
MOST_TENSORS = 100_000
MOST_ITEMS = 2_000_000
"""Items of all lists of a header; the largest vocabularies and their merges have some 800,000."""

LONGEST_NAME = 1000  # bytes of a setting's or a tensor's name
_TEXT, _LIST = 8, 9
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """``settings`` are the numbers and texts of the header; ``lists`` how many items each list has."""

    settings: dict[str, Any]
    lists: dict[str, int]
    shapes: tuple[tuple[int, ...], ...]


def read_header(path: Path) -> GgufHeader:
    """Raises ModelError for a header that is damaged, without bounds, or does not describe the file."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file (it does not start with GGUF): fetch it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _Reader(content).header()
            except (struct.error, ValueError) as error:
                what = "its header is cut" if isinstance(error, struct.error) else str(error)
                raise ModelError(f"{path} is no sound GGUF file ({what}): fetch it again") from error


class _Reader:
    """Goes through a header once; struct.error at the file's end, ValueError for what cannot be."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at, self._items = content, 4, 0

    def header(self) -> GgufHeader:
        if (version := self._number("<I")) not in (2, 3):
            raise ValueError(f"version {version}, wanted 2 or 3")
        tensors = self._count(MOST_TENSORS, "tensors")
        settings: dict[str, Any] = {}
        lists: dict[str, int] = {}
        for _ in range(self._count(MOST_SETTINGS, "settings")):
            name, kind = self._name(), self._number("<I")
            if name in settings or name in lists:
                raise ValueError(f"the setting {name[:80]} stands twice")
            if kind == _LIST:
                lists[name] = self._list()
            else:
                settings[name] = self._text() if kind == _TEXT else self._number(_form(kind))
        placed = list(self._tensors(tensors))
        start = self._aligned(settings.get("general.alignment", 32))
        if any(start + offset + size > len(self._content) for _, offset, size in placed):
            raise ValueError("its tensors do not fit the file")
        return GgufHeader(settings=settings, lists=lists, shapes=tuple(shape for shape, _, _ in placed))

    def _tensors(self, count: int) -> Iterator[tuple[tuple[int, ...], int, int]]:
        """Each tensor's shape, place and size in bytes."""
        from gguf.constants import GGML_QUANT_SIZES

        sizes = {int(kind): each for kind, each in GGML_QUANT_SIZES.items()}
        for _ in range(count):
            name, axes = self._name(), self._number("<I")
            if not 1 <= axes <= 4:
                raise ValueError(f"{name[:80]} has {axes} axes, wanted 1 to 4")
            shape = tuple(self._number("<Q") for _ in range(axes))
            kind, offset = self._number("<I"), self._number("<Q")
            if kind not in sizes:
                raise ValueError(f"{name[:80]} is of the unknown type {kind}")
            block, size = sizes[kind]
            yield shape, offset, math.prod(shape) * size // block

    def _aligned(self, step: Any) -> int:
        if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= 1 << 20:
            raise ValueError("general.alignment is no sound number")
        return -(-self._at // step) * step

    def _list(self) -> int:
        """Pass over a list; gives how many items it has."""
        kind = self._number("<I")
        if kind == _LIST:
            raise ValueError("a list of lists")
        count = self._count(MOST_ITEMS - self._items, "more items in lists")
        self._items += count
        if kind != _TEXT:
            self._pass(count * struct.calcsize(_form(kind)))
            return count
        for _ in range(count):
            self._pass(self._number("<Q"))
        return count

    def _count(self, most: int, what: str) -> int:
        count: int = self._number("<Q")
        if count > most:
            raise ValueError(f"{count:,} {what}, at most {most:,} are read")
        return count

    def _name(self) -> str:
        name = self._text(LONGEST_NAME)
        if not name:
            raise ValueError("a name is empty")
        return name

    def _text(self, longest: int | None = None) -> str:
        length = self._number("<Q")
        if longest is not None and length > longest:
            raise ValueError(f"a name of {length:,} bytes")
        start = self._at
        self._pass(length)
        return self._content[start : self._at].decode(errors="replace")

    def _pass(self, length: int) -> None:
        self._at += length
        if self._at > len(self._content):
            raise ValueError("its header is cut")

    def _number(self, form: str) -> Any:
        value = struct.unpack_from(form, self._content, self._at)[0]
        self._at += struct.calcsize(form)
        return value


def _form(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"a value of the unknown type {kind}")
    return _NUMBERS[kind]
