"""What came of an experiment, as cost: by arm and whole, beside what was forecast, and in money. It claims nothing of
scores."""

from __future__ import annotations

from togi.experiment.account import Account, account
from togi.experiment.design import Prices
from togi.experiment.expected_cost import read_forecast
from togi.experiment.job_cost import JobCost, together
from togi.experiment.jobs import SHARED, TRIALS
from togi.experiment.money import Money, money
from togi.experiment.outcome import Outcome


def cost_of(outcome: Outcome, arm: str) -> JobCost:
    """What an arm's cells have cost, beside what they share."""
    return together(cell.cost for cell in outcome.of_arm(arm))


def cost_of_all(outcome: Outcome) -> JobCost:
    return together([*costs_by_job(outcome).values(), outcome.searching])


def costs_by_job(outcome: Outcome) -> dict[str, JobCost]:
    costs = {cell.place: cell.cost for cell in outcome.cells}
    costs |= {each.place: each.cost for each in outcome.beginnings}
    return costs | {each.place: each.cost for each in outcome.elsewhere}


def saved_seconds(outcome: Outcome) -> float:
    """What it would have taken to run every shared beginning again for each job that took it over, less the starting of
    the shared ones, which nobody would have needed. It may be below 0."""
    taken = [each for each in outcome.beginnings if each.takers]
    return sum(
        (each.cost.total_seconds - each.cost.starting) * (each.takers - 1) - each.cost.starting for each in taken
    )


def account_of(outcome: Outcome) -> Account:
    """Of what was forecast: all but the search."""
    costs = costs_by_job(outcome)
    told = {place: cost for place, cost in costs.items() if not place.startswith(f"{SHARED}/{TRIALS}-")}
    return account(told, outcome.ended, read_forecast(outcome.folder))


def money_of(outcome: Outcome, cost: JobCost) -> Money | None:
    return money(cost, Prices(**outcome.plan.get("prices", {})))


def energy_told(outcome: Outcome) -> str:
    """What of the machine's energy was counted, or why none was; empty where nothing was run."""
    told = [str(event["energy"]) for event in outcome.chain.events if "energy" in event]
    return "; later ".join(dict.fromkeys(told))
