"""The metrics rows of one stage as columns that grow by a row a step. It knows no signal and no file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from togi.evidence.during.series_shift import Array, Shift, shift
from togi.evidence.during.step_measures import JUDGES

SURE = 2.0
"""Standard errors beyond which answers count as having become better: an excuse needs less than an alarm."""


class Table:
    """Columns of a stage's metrics; a step that does not give a metric has nan there."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._columns: dict[str, list[float]] = {}
        self._lost: dict[str, set[int]] = {}  # by metric, the rows that gave it and not as a finite number

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of metrics.jsonl, or the same before it was written."""
        known = {name: value for name, value in row.items() if name not in ("stage", "step")}
        for name, value in known.items():
            if value is None or not math.isfinite(value):
                self._lost.setdefault(name, set()).add(len(self.steps))
            self._columns.setdefault(name, [math.nan] * len(self.steps))
        self.steps.append(int(row["step"]))
        for name, column in self._columns.items():
            value = known.get(name)
            column.append(math.nan if value is None else float(value))

    def column(self, name: str) -> Array:
        """One value a step; nan where it was not given."""
        return np.array(self._columns.get(name, [math.nan] * len(self.steps)), np.float64)

    def lost(self, name: str) -> NDArray[np.bool_]:
        """One truth a step: whether it was given, and not as a finite number."""
        gone = self._lost.get(name, set())
        return np.array([at in gone for at in range(len(self.steps))], np.bool_)

    def known(self, *names: str) -> tuple[Array, ...]:
        """The columns at the steps that give all of them."""
        columns = np.array([self.column(name) for name in names])
        return tuple(columns[:, np.isfinite(columns).all(axis=0)])

    def has(self, name: str) -> bool:
        return name in self._columns

    def between(self, start: str, end: str = "") -> list[str]:
        """What stands for the star in the names ``start*end`` that were logged."""
        cut = slice(len(start), -len(end) or None)
        return sorted(name[cut] for name in self._columns if name.startswith(start) and name.endswith(end))

    @property
    def judges(self) -> list[str]:
        return [part for part in self.between("on_wrong/", "/mean") if part.startswith(JUDGES)]

    @property
    def quality(self) -> str | None:
        """The metric that says best how good answers are: the truth, or else the rule among the reward's parts."""
        return next((name for name in ("gold", "rewards/correct/mean") if self.has(name)), None)

    def better(self) -> bool:
        """Whether answers have become better by all that is known of them."""
        if self.quality is None:
            return False
        moved = shift(self.known(self.quality)[0])
        return moved is not None and gained(moved)


def gained(moved: Shift) -> bool:
    return moved.change > max(SURE * moved.error, 0.1 * abs(moved.before))
