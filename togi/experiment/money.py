"""What a cost is in money, by the user's prices. It guesses nothing: what was not measured is not in it, and is
named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from togi.experiment.design import Prices
from togi.experiment.job_cost import JobCost

HOUR, KILOWATT_HOUR, MILLION = 3600.0, 3.6e6, 1e6


@dataclass(frozen=True, kw_only=True)
class Money:
    """By what it was spent on; ``left_out`` says what has a price and was not measured."""

    spent: dict[str, float]
    left_out: tuple[str, ...]
    currency: str | None

    @property
    def total(self) -> float:
        return sum(self.spent.values())

    @property
    def told(self) -> str:
        """The sum, and what it is made of where that is several things."""
        parts = ", ".join(f"{what} {_amount(value)}" for what, value in self.spent.items())
        return f"{self.total_told} ({parts})" if len(self.spent) > 1 else self.total_told

    @property
    def total_told(self) -> str:
        return f"{_amount(self.total)} {self.currency or ''}".strip()


def money(cost: JobCost, prices: Prices) -> Money | None:
    """None where nothing has a price."""
    if not prices.any:
        return None
    spent = dict(_spent(cost, prices))
    left_out = []
    if prices.kilowatt_hour is not None and cost.joules is None:
        left_out.append("energy, which this machine does not tell")
    elif prices.kilowatt_hour is not None and cost.unmetered:
        left_out.append("the energy of some processes, such as those that were killed")
    return Money(spent=spent, left_out=tuple(left_out), currency=prices.currency)


def _spent(cost: JobCost, prices: Prices) -> Iterator[tuple[str, float]]:
    if prices.hour is not None:
        yield "machine", cost.machine / HOUR * prices.hour
    if prices.kilowatt_hour is not None and cost.joules is not None:
        yield "energy", cost.joules / KILOWATT_HOUR * prices.kilowatt_hour
    if prices.judge_input is not None or prices.judge_output is not None:
        asked = cost.judge.prompt_tokens * (prices.judge_input or 0.0)
        yield "judge", (asked + cost.judge.completion_tokens * (prices.judge_output or 0.0)) / MILLION


def _amount(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.2g}"
