"""Verifiers of quantities, intervals, sets and lists: what is equal though written otherwise, and nothing else."""

from __future__ import annotations

import math as mathematics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from togi.graders import quantity as grade_quantity
from togi.rewards.verifiers.base import Answer, need
from togi.types import Task


@dataclass(frozen=True, kw_only=True)
class quantity(Answer):
    """1 when the only number of the answer and its unit equal the task's, within ``tolerance`` of it (relative).

    300 cm is 3 m; 3 m is neither 3 km nor 3. Units are pint's, with prefixes, powers and quotients ("km/h", "m/s^2",
    "kWh", "°C"). ``percent`` says what 42% is: "fraction" 0.42, "unit" a percentage that equals a percentage only. The
    answer is found as by ``number``. Needs the extra ``togi[units]``.
    """

    wants = "number with a unit"
    tolerance: float = 0.0
    percent: str = "fraction"
    name: str = "quantity"

    def __post_init__(self) -> None:
        need("pint", "quantity()", "units")
        if not 0 <= self.tolerance < mathematics.inf:
            raise ValueError(f"quantity: tolerance is a share of at least 0; got {self.tolerance}")
        if self.percent not in ("fraction", "unit"):
            raise ValueError(f'quantity: percent is "fraction" or "unit"; got "{self.percent}"')

    def write(self, answer: str) -> str:
        return super().write(answer.rpartition("####")[2].strip())

    @property
    def library(self) -> Mapping[str, str]:
        return grade_quantity.LIBRARY

    @property
    def grader(self) -> str:
        return "togi.graders.quantity:quantity"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {**self.place(task), "tolerance": self.tolerance, "percent": self.percent}


@dataclass(frozen=True, kw_only=True)
class interval(Answer):
    """1 when the answer is the same union of intervals as the task's: "(0, 1] ∪ {3}", "[2, inf)", "-1 < x <= 2".

    Which ends belong to it counts; how a union is cut and in which order it is written does not. Ends are rational
    numbers or infinite. The answer is found as by ``number``.
    """

    wants = "interval"
    name: str = "interval"

    @property
    def grader(self) -> str:
        return "togi.graders.sets:interval"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return self.place(task)


@dataclass(frozen=True, kw_only=True)
class Items(Answer):
    """An answer of several items between commas. ``items`` are "numbers", compared exactly, or "texts", compared up to
    white space and case."""

    wants = "list or text"
    items: str = "numbers"

    def __post_init__(self) -> None:
        if self.items not in ("numbers", "texts"):
            raise ValueError(f'{self.name}: items are "numbers" or "texts"; got "{self.items}"')

    def accepts(self, answer: Any) -> bool:
        return all(map(super().accepts, answer)) if isinstance(answer, list) else super().accepts(answer)

    def right(self, task: Task) -> str | None:
        if isinstance(task.answer, list):
            listed = ", ".join(map(str, task.answer))
            return f"{{{listed}}}" if isinstance(self, set_of) else f"[{listed}]"
        return super().right(task)

    @property
    def grader(self) -> str:
        return "togi.graders.sets:items"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        order = type(self).__name__.removesuffix("_of")
        return {**self.place(task), "order": order, "numbers": self.items == "numbers"}


@dataclass(frozen=True, kw_only=True)
class set_of(Items):
    """1 when the answer has the task's items, in any order and however often each: "{1, 2}", "2, 1, 1". Not "(1, 2)".
    The task's answer is a list or such a text. The answer is found as by ``number``."""

    name: str = "set_of"


@dataclass(frozen=True, kw_only=True)
class list_of(Items):
    """1 when the answer has the task's items in their order, duplicates included: "1, 2", "[1, 2]", "(1, 2)". Not
    "{1, 2}". The task's answer is a list or such a text. The answer is found as by ``number``."""

    name: str = "list_of"


@dataclass(frozen=True, kw_only=True)
class bag_of(Items):
    """1 when the answer has the task's items in any order, each as often as there: "2, 1, 1" for "1, 1, 2". The task's
    answer is a list or such a text. The answer is found as by ``number``."""

    name: str = "bag_of"
