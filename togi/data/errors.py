"""What is wrong with data: one error that names every bad place; it does not know how rows are read."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 100  # diagnostics kept; the rest is counted


class DataError(ValueError):
    """Data that cannot be used. ``diagnostics`` holds the first problems, ``count`` says how many there are."""

    def __init__(self, message: str, diagnostics: tuple[str, ...] = (), count: int = 0) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics
        self.count = count


class RowError(ValueError):
    """One row that cannot become a task; who reads the row adds where it stands."""


class RowSkipped(Exception):
    """One row that is sound but says nothing, such as a tie; the message is the reason it is counted under."""


@dataclass
class Diagnostics:
    """Collects problems while reading on, so that one try shows them all."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, place: str, problem: str) -> None:
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{place}: {problem}")

    def stop_if_any(self) -> None:
        if self.count:
            more = f"\n… and {self.count - len(self.shown)} more" if self.count > len(self.shown) else ""
            lines = "\n".join(self.shown)
            raise DataError(
                f"{self.count} bad row{'s' * (self.count > 1)}:\n{lines}{more}", tuple(self.shown), self.count
            )
