"""What an experiment and its cells cost, as rows of a page, beside what was forecast. It measures nothing."""

from __future__ import annotations

import numpy as np

from togi.experiment.outcome import SHARES, Outcome, scale_of
from togi.experiment.outcome_cost import account_of, cost_of_all, energy_told, money_of
from togi.experiment.outcome_told import NONE, cost_cells, energy
from togi.experiment.plan_told import span
from togi.short_values import duration, text


def cell_rows(outcome: Outcome) -> list[tuple[str, str | None, list[str]]]:
    """Each cell with the link to its report, its mean, and what it cost or why it has no score."""
    scale = scale_of(outcome)
    found = []
    for cell in outcome.cells:
        mean = NONE
        if cell.numbers:
            score = float(np.mean(list(cell.numbers.values())))
            mean = f"{100 * score:.1f}%" if scale.bounds == SHARES else f"{score:.3f}"
        link = f"{cell.place}/report.html" if cell.data is not None else None
        found.append(
            (
                text(cell.place),
                link,
                [cell.state, mean, *cost_cells(outcome, cell.cost), text(cell.why) if cell.why else ""],
            )
        )
    return found


def costs(outcome: Outcome) -> list[tuple[str, str]]:
    spent = cost_of_all(outcome)
    judge, price = spent.judge, money_of(outcome, spent)
    rows = [
        ("Time of all processes", duration(spent.total_seconds)),
        ("Completion tokens learned from", f"{spent.learned:,}"),
        ("Completion tokens of measurements", f"{spent.measured:,}"),
        ("Most memory of one cell", NONE if spent.memory_gb is None else f"{spent.memory_gb:.2f} GB"),
    ]
    if told := energy_told(outcome):
        rows.append(("Energy", text(told) if spent.joules is None else f"{energy(spent)}, {text(told)}"))
    if judge.replies:
        rows.append(("Judges", f"{judge.prompt_tokens:,} tokens read, {judge.completion_tokens:,} written"))
    if price is not None:
        rows.append(("Price", text(price.told) + "".join(f"; not in it: {what}" for what in price.left_out)))
    return rows


def phases(outcome: Outcome) -> list[tuple[str, list[str]]]:
    """A row a phase: what was forecast, what it took, and why they differ."""
    found = account_of(outcome).phases
    return [
        (
            phase.name,
            [NONE if phase.expected is None else span(phase.expected.seconds), duration(phase.seconds), phase.why],
        )
        for phase in found
        if phase.seconds >= 0.05 or phase.expected is not None
    ]
