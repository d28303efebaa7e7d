"""What came of an experiment, for a terminal: the answer first, then a row an arm, what failed and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.evidence.before.cost_estimate import added
from togi.evidence.experiment.answers_changed import Change
from togi.evidence.experiment.claim_sentences import Scale
from togi.evidence.experiment.compare_arms import Compared
from togi.experiment.job_cost import JobCost
from togi.experiment.more_tasks import more_tasks
from togi.experiment.outcome import SHARES, Outcome, scale_of
from togi.experiment.outcome_ability import ability_of, changes_of, forgotten
from togi.experiment.outcome_cost import account_of, cost_of, cost_of_all, energy_told, money_of, saved_seconds
from togi.experiment.plan_told import span
from togi.experiment.seed_spread import seed_spread
from togi.experiment.sweep.search_told import search_told
from togi.harmless_text import visible
from togi.run import BASE
from togi.short_values import duration
from togi.statistics import Difference, Interval, over_seeds, within_shares

HEADS = ("seeds", "{measure}", "against {against}", "claim")
ANSWERING = "tokens a task"
COSTS = ("tokens", "time", "memory", "energy", "cost")
NONE = "–"


def answer(outcome: Outcome) -> list[str]:
    """The decision on each arm by the rule, and what the numbers carry, a sentence each."""
    if outcome.found is None:
        return [f"Not decided: {outcome.unclaimed}."]
    return [f"{one.compared.arm}: {outcome.decision(one)}. {' '.join(one.sentences)}" for one in outcome.answers]


def caveats(outcome: Outcome) -> list[str]:
    """What a reader must know before trusting the answer: what is missing, what was changed, what ended it."""
    said = [f"{cell.place} has no score: {cell.why}." for cell in outcome.missing]
    said += [f"{each.place} has no score: it failed or was changed." for each in outcome.elsewhere if not each.numbers]
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
    saved, spent = saved_seconds(outcome), duration(cost_of_all(outcome).total_seconds)
    if saved > 0:
        said.append(f"Sharing saved {duration(saved)} beside the {spent} that were spent, its own starts counted.")
    elif saved < 0:
        said.append(
            f"Sharing took {duration(-saved)} more of the {spent} that were spent than it saved: what is shared is "
            "short beside the start of a process."
        )
    return said


def spent(outcome: Outcome) -> list[str]:
    """What it took beside what was forecast, its energy and its price, a sentence each."""
    found, cost = account_of(outcome), cost_of_all(outcome)
    expected = [phase.expected.seconds for phase in found.phases if phase.expected is not None]
    forecast = f", {span(added(*expected))} forecast" if expected else ""
    said = [f"All that is done took {duration(found.seconds)}{forecast}.", *found.why]
    for phase in found.phases:
        if phase.expected is not None and (phase.seconds >= 0.05 or phase.expected.seconds[1] >= 0.05):
            why = f" ({phase.why})" if phase.why else ""
            said.append(f"{phase.name}: {duration(phase.seconds)}, {span(phase.expected.seconds)} forecast{why}.")
        elif phase.why and phase.seconds >= 0.05:
            said.append(f"{phase.name}: {duration(phase.seconds)} ({phase.why}).")
    if told := energy_told(outcome):
        said.append(f"Energy {told}." if cost.joules is None else f"Energy: {energy(cost)}, {told}.")
    if (price := money_of(outcome, cost)) is not None:
        said.append(f"Cost: {price.told}." + "".join(f" Not in it: {what}." for what in price.left_out))
    return said


def energy(cost: JobCost) -> str:
    if cost.joules is None:
        return NONE
    hours = cost.joules / 3600
    shown = f"{hours / 1000:.2f} kWh" if hours >= 100 else f"{hours:.2g} Wh" if hours < 1 else f"{hours:.1f} Wh"
    return f"at least {shown}" if cost.unmetered else shown


def rows(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    """A row an arm, the untrained model first: what it scored, and against what."""
    compared: dict[str, Compared] = {}
    if outcome.found is not None:
        compared = {one.compared.arm: one.compared for one in outcome.found.arms}
        compared |= {one.arm: one for one in outcome.found.controls}
    scale = scale_of(outcome)
    if BASE in outcome.scores:
        yield BASE, [NONE, _mean(outcome, BASE, scale), NONE, NONE]
    for name in outcome.plan["arms"]:
        cells, one = outcome.of_arm(name), compared.get(name)
        done = sum(cell.numbers is not None for cell in cells)
        against = NONE if one is None else difference(one.found, scale)
        # Of a grid the settings are what is claimed, not its single arms.
        claim = NONE if one is None or outcome.plan["arms"][name].get("levels") else one.claim
        yield (
            name,
            [f"{done} of {len(cells)}", _mean(outcome, name, scale), against, claim],
        )


def cost_rows(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    """A row an arm: what it takes to answer one held-out task, and what the arm cost by itself."""
    if any(cell.base_tokens is not None for cell in outcome.cells):
        untrained = _tokens([cell.base_tokens for cell in outcome.cells])
        yield BASE, [untrained, *[NONE] * len(cost_heads(outcome))]
    for name in outcome.plan["arms"]:
        answered = _tokens([None if cell.measured is None else cell.measured.tokens for cell in outcome.of_arm(name)])
        yield name, [answered, *cost_cells(outcome, cost_of(outcome, name))]


def about(outcome: Outcome) -> list[tuple[str, str]]:
    """What each arm is, and of a choice among attempts how many there were."""
    arms = outcome.plan["arms"].items()
    told = [(name, f"control: {arm['about']}" if arm["control"] else str(arm["about"])) for name, arm in arms]
    return [(name, f"{what}{_choice(outcome, name)}") for name, what in told]


def _tokens(of_cells: Sequence[float | None]) -> str:
    """What it takes to get the number of one held-out task, without what was spent on training."""
    known = [tokens for tokens in of_cells if tokens is not None]
    return f"{np.mean(known):.1f}" if known else NONE


def _choice(outcome: Outcome, arm: str) -> str:
    """How many attempts cost as much as an arm's, and what all of them would have brought."""
    found = [cell.measured for cell in outcome.of_arm(arm) if cell.measured is not None]
    counts = [each.attempts for each in found if each.attempts is not None]
    if not counts:
        return ""
    attempts, most = float(np.mean(counts)), max(each.most for each in found)
    told = f": {attempts:.3g} of {most}" if attempts > 1 else f": 1 of {most}, which is the untrained model itself"
    if attempts >= most:
        return f"{told}, all that were made"
    tasks = [task for task in found[0].with_all if all(task in each.with_all for each in found)]
    reached = over_seeds([[each.with_all[task] for task in tasks] for each in found], level=outcome.plan["level"])
    return f"{told}; all {most} would bring {with_interval(reached, scale_of(outcome))}"


def with_interval(found: Interval, scale: Scale) -> str:
    """A score with its interval."""
    shares = scale.bounds == SHARES
    held = within_shares(found) if shares else found
    point, *bounds = (f"{100 * each:.1f}" if shares else f"{each:.3f}" for each in (held.point, held.low, held.high))
    unit = "%" if shares else ""
    return f"{point}{unit} ({' to '.join(bounds)})" if math.isfinite(found.low) else f"{point}{unit} (no interval)"


def cost_heads(outcome: Outcome) -> list[str]:
    """What of a cost is known of this experiment."""
    whole = cost_of_all(outcome)
    unknown = {"energy": whole.joules is None, "cost": money_of(outcome, whole) is None}
    return [head for head in COSTS if not unknown.get(head)]


def cost_cells(outcome: Outcome, cost: JobCost) -> list[str]:
    """A cost under those heads."""
    price = money_of(outcome, cost)
    cells = {
        "tokens": f"{cost.tokens:,}" if cost.tokens else NONE,
        "time": duration(cost.total_seconds),
        "memory": NONE if cost.memory_gb is None else f"{cost.memory_gb:.2f} GB",
        "energy": energy(cost),
        "cost": NONE if price is None else price.total_told,
    }
    return [cells[head] for head in cost_heads(outcome)]


def _mean(outcome: Outcome, name: str, scale: Scale) -> str:
    table = outcome.scores.get(name)
    if table is None or not np.isfinite(table).any():
        return NONE
    mean = float(np.nanmean(table))
    return f"{100 * mean:.1f}%" if scale.bounds == SHARES else f"{mean:.3f}"


def difference(found: Difference, scale: Scale) -> str:
    """The difference with its interval."""
    if not np.isfinite(found.point):
        return NONE
    if not np.isfinite(found.low):
        return f"{scale.size(found.point)} (no interval)"
    low, high = scale.size(found.low).removesuffix(" points"), scale.size(found.high)
    return f"{scale.size(found.point).removesuffix(' points')} ({low} to {high})"


def heads(outcome: Outcome) -> list[str]:
    known = {"measure": outcome.plan["measure"], "against": outcome.plan["against"]}
    return [head.format(**known) for head in HEADS]


def changed(one: Change) -> str:
    """How a measure of an arm's answers changed."""
    return f"{one.name} {difference(one.found, one.scale)}: {one.said}."


def show(outcome: Outcome, console: Console) -> None:
    """Everything on a terminal."""
    console.print(Text(visible(str(outcome.plan["question"])), style="bold"))
    for line in answer(outcome):
        console.print(Text(visible(line)))
    for heading, told in (
        (heads(outcome), rows(outcome)),
        ([ANSWERING, *cost_heads(outcome)], cost_rows(outcome)),
    ):
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("arm", no_wrap=True, overflow="fold")
        for head in heading:
            table.add_column(head)
        for name, cells in told:
            table.add_row(visible(name), *map(visible, cells))
        console.print(table)
    for name, what in about(outcome):
        console.print(Text(visible(f"{name}: {what}"), style="dim"))
    more = [
        f"{name} after {one.start}: {line}"
        for name, one in ability_of(outcome).items()
        for line in one.ability.sentences
    ]
    for found in (changes_of(outcome), forgotten(outcome)):
        more += [f"{name}: {line}" for name, made in found.items() for line in map(changed, made)]
    more += [f"{name}: {line}" for name, line in [*seed_spread(outcome).items(), *more_tasks(outcome).items()]]
    for line in [*search_told(outcome), *caveats(outcome), *more, *shared(outcome), *spent(outcome)]:
        console.print(Text(visible(line), style="dim"))
