"""What came of an experiment, for a terminal: the answer first, then a row an arm, what failed and what it cost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.evidence.experiment.claim_sentences import Scale
from togi.evidence.experiment.compare_arms import Compared
from togi.experiment.job_cost import JobCost
from togi.experiment.outcome import SHARES, Outcome, cost_of, cost_of_all, saved_seconds
from togi.harmless_text import visible
from togi.run import BASE
from togi.short_values import duration

HEADS = ("seeds", "{measure}", "against {against}", "claim", "tokens", "time", "memory")
NONE = "–"


def answer(outcome: Outcome) -> list[str]:
    """The decision on each arm by the rule, and what the numbers carry, a sentence each."""
    if outcome.found is None:
        return [f"Not decided: {outcome.unclaimed}."]
    said = []
    for one in outcome.found.arms:
        said.append(f"{one.compared.arm}: {outcome.decision(one)}. {' '.join(one.sentences)}")
    return said


def caveats(outcome: Outcome) -> list[str]:
    """What a reader must know before trusting the answer: what is missing, what was changed, what ended it."""
    said = [f"{cell.place} has no score: {cell.why}." for cell in outcome.missing]
    if outcome.spent_budget:
        said.append(f"The experiment ended early: {outcome.spent_budget}.")
    if outcome.unclaimed and outcome.found is not None:
        said.append(f"Nothing is claimed of what has {outcome.unclaimed}.")
    said += [f"Decided otherwise on the way: {change}." for change in outcome.changes]
    if outcome.chain.broken is not None:
        said.append(f"The events were changed after they were written, at line {outcome.chain.broken}.")
    return said


def shared(outcome: Outcome) -> list[str]:
    """What was run once for several cells, and what that saved."""
    said = [
        f"{each.place}: run once, taken over by {each.takers} ({duration(each.cost.total_seconds)})."
        for each in outcome.beginnings
    ]
    if saved := saved_seconds(outcome):
        spent = cost_of_all(outcome).total_seconds
        said.append(f"Sharing saved {duration(saved)} beside the {duration(spent)} that were spent.")
    return said


def rows(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    """A row an arm, the untrained model first: what it scored, against what, and what it cost by itself."""
    compared: dict[str, Compared] = {}
    if outcome.found is not None:
        compared = {one.compared.arm: one.compared for one in outcome.found.arms}
        compared |= {one.arm: one for one in outcome.found.controls}
    scale = scale_of(outcome)
    if BASE in outcome.scores:
        yield BASE, [NONE, _mean(outcome, BASE, scale), *[NONE] * 5]
    for name in outcome.plan["arms"]:
        cells, cost, one = outcome.of_arm(name), cost_of(outcome, name), compared.get(name)
        done = sum(cell.numbers is not None for cell in cells)
        yield (
            name,
            [
                f"{done} of {len(cells)}",
                _mean(outcome, name, scale),
                NONE if one is None else difference(one, scale),
                NONE if one is None else one.claim,
                *cost_cells(cost),
            ],
        )


def about(outcome: Outcome) -> list[tuple[str, str]]:
    """What each arm is."""
    arms = outcome.plan["arms"].items()
    return [(name, f"control: {arm['about']}" if arm["control"] else str(arm["about"])) for name, arm in arms]


def cost_cells(cost: JobCost) -> list[str]:
    memory = NONE if cost.memory_gb is None else f"{cost.memory_gb:.2f} GB"
    return [f"{cost.tokens:,}" if cost.tokens else NONE, duration(cost.total_seconds), memory]


def scale_of(outcome: Outcome) -> Scale:
    return Scale(bounds=SHARES if outcome.plan["measure"].startswith("pass@") else None)


def _mean(outcome: Outcome, name: str, scale: Scale) -> str:
    table = outcome.scores.get(name)
    if table is None or not np.isfinite(table).any():
        return NONE
    mean = float(np.nanmean(table))
    return f"{100 * mean:.1f}%" if scale.bounds == SHARES else f"{mean:.3f}"


def difference(one: Compared, scale: Scale) -> str:
    """The difference with its interval."""
    found = one.found
    if not np.isfinite(found.point):
        return NONE
    if not np.isfinite(found.low):
        return f"{scale.size(found.point)} (no interval)"
    low, high = scale.size(found.low).removesuffix(" points"), scale.size(found.high)
    return f"{scale.size(found.point).removesuffix(' points')} ({low} to {high})"


def heads(outcome: Outcome) -> list[str]:
    known = {"measure": outcome.plan["measure"], "against": outcome.plan["against"]}
    return [head.format(**known) for head in HEADS]


def show(outcome: Outcome, console: Console) -> None:
    """Everything on a terminal."""
    console.print(Text(visible(str(outcome.plan["question"])), style="bold"))
    for line in answer(outcome):
        console.print(Text(visible(line)))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("arm", no_wrap=True, overflow="fold")
    for head in heads(outcome):
        table.add_column(head)
    for name, cells in rows(outcome):
        table.add_row(visible(name), *map(visible, cells))
    console.print(table)
    for name, what in about(outcome):
        console.print(Text(visible(f"{name}: {what}"), style="dim"))
    for line in [*caveats(outcome), *shared(outcome)]:
        console.print(Text(visible(line), style="dim"))
