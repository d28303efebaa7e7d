"""Numbers and JSON values of any kind as short, harmless text. It knows no run and no page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from togi.harmless_text import shortened

MISSING = "not recorded"


def text(value: Any, limit: int = 300) -> str:
    """Any JSON value as short text; what is absent is said to be."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return shortened(value, limit)
    if isinstance(value, dict):
        # White space, such as the separator of steps, would look like nothing.
        items = [
            f"{key} = {item!r}" if item and not str(item).strip() else f"{key} = {item}" for key, item in value.items()
        ]
        return shortened(", ".join(items), limit)
    return shortened(json.dumps(value, ensure_ascii=False, default=str), limit)


def percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}%"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def pairs(value: Any) -> list[tuple[str, str]]:
    return [(text(key), text(item)) for key, item in mapping(value).items() if item is not None]
