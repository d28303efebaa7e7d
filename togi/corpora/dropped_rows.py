"""Rows that a verb leaves out, collected by reason with some shown. It knows no verb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from togi.data.lineage import Dropped
from togi.harmless_text import shortened

SHOWN = 20
"""Examples of each reason that a lineage keeps."""
LONGEST = 300
"""Characters of a text in an example."""


@dataclass
class Left:
    """Rows left out so far."""

    reasons: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, why: str, **example: Any) -> None:
        self.count(why, 1)
        examples = self.reasons.setdefault(why, [])
        if len(examples) < SHOWN:
            examples.append(
                {
                    name: shortened(value, LONGEST) if isinstance(value, str) else value
                    for name, value in example.items()
                }
            )

    def count(self, why: str, rows: int) -> None:
        self.counts[why] = self.counts.get(why, 0) + rows

    def skipped(self, reasons: Iterable[Mapping[str, int]]) -> None:
        """Rows that say nothing, as they were counted when they were read."""
        for each in reasons:
            for why, rows in each.items():
                self.count(why, rows)

    def told(self) -> tuple[Dropped, ...]:
        return tuple(
            Dropped(why=why, rows=rows, examples=tuple(self.reasons.get(why, ()))) for why, rows in self.counts.items()
        )
