"""What is known of shares that change while they are looked at: Beta counts that fade. Knows no task and no reward."""

from __future__ import annotations

from collections.abc import Mapping


class BetaCounts:
    """Hits and misses by name, on top of one of each (a Beta(1, 1) prior). At each look at a name the share ``memory``
    of what was counted of it before stays: a policy that learns makes old counts wrong."""

    def __init__(self, memory: float) -> None:
        if not 0 <= memory <= 1:
            raise ValueError(f"memory is a share from 0 (the last look only) to 1 (all looks alike), got {memory}")
        self._memory = memory
        self._counts: dict[str, tuple[float, float]] = {}

    def look(self, name: str, hits: float, misses: float) -> None:
        old_hits, old_misses = self._counts.get(name, (0.0, 0.0))
        self._counts[name] = (self._memory * old_hits + hits, self._memory * old_misses + misses)

    def of(self, name: str) -> tuple[float, float]:
        """The two parameters of the Beta distribution of a share."""
        hits, misses = self._counts.get(name, (0.0, 0.0))
        return 1 + hits, 1 + misses

    def mean(self, name: str) -> float:
        a, b = self.of(name)
        return a / (a + b)

    def knows(self, name: str) -> bool:
        return name in self._counts

    def state(self) -> dict[str, tuple[float, float]]:
        return dict(self._counts)

    def restore(self, state: Mapping[str, tuple[float, float]]) -> None:
        self._counts = {name: (hits, misses) for name, (hits, misses) in state.items()}
