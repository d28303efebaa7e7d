"""Pixels as a small PNG file. It knows nothing of what is drawn."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

WIDE = 240


def smaller(frame: Any) -> Any:
    """The frame with the mean of each block of pixels for one, about as wide as wanted."""
    block = max(1, frame.shape[1] // WIDE)
    high, wide = frame.shape[0] // block * block, frame.shape[1] // block * block
    cells = frame[:high, :wide, :3].reshape(high // block, block, wide // block, block, 3)
    return cells.mean((1, 3)).astype(np.uint8)


def png(pixels: Any) -> bytes:
    """Pixels [high, wide, 3] as a PNG file."""
    high, wide, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
