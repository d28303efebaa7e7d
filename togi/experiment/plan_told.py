"""What an experiment would run, for a terminal: its question and rule, its arms, and what is run once for several."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.evidence.before.cost_estimate import Range
from togi.experiment.design import Arm, Experiment
from togi.experiment.expected_cost import Forecast
from togi.experiment.grid import short_names
from togi.experiment.jobs import counts, jobs_of, shared_cells
from togi.experiment.sweep.sweep_design import SEARCHED, Span
from togi.harmless_text import visible
from togi.short_values import duration


def show_plan(experiment: Experiment, console: Console) -> None:
    """Everything that is decided beforehand."""
    console.print(Text(visible(experiment.question), style="bold"))
    for line in decided(experiment):
        console.print(Text(visible(line)))
    table = Table()
    for head in ("arm", "kind", "what it is"):
        table.add_column(head)
    for arm in experiment.arms:
        table.add_row(visible(arm.name), _kind(arm, experiment), visible(arm.about))
    console.print(table)
    for line in searched(experiment):
        console.print(Text(visible(line)))
    jobs = jobs_of(experiment)
    for name, takers in shared_cells(jobs).items():
        console.print(Text(visible(f"{name}: run once, for {', '.join(takers)}"), style="dim"))
    console.print(Text(counts(jobs)))


def decided(experiment: Experiment) -> Iterator[str]:
    """The rule in words."""
    measure, effect, against = experiment.measure, experiment.smallest_effect, experiment.against
    rule = {
        "better": f"An arm is a go if it is better than {against} and than every control",
        "no worse": f"An arm is a go if it is not worse than {against} by {effect:g} or more",
    }[experiment.rule]
    yield f"{rule}, by {measure} at the {100 * experiment.level:g}% level. Differences below {effect:g} do not matter."
    seeds = ", ".join(map(str, experiment.seeds))
    arms = len(experiment.arms) + (experiment.sweep is not None)
    size = f"{arms} arm{'s' if arms != 1 else ''} × {len(experiment.seeds)} seeds ({seeds})"
    yield f"{size}; between seeds differ: {', '.join(experiment.vary)}."
    if experiment.grid:
        yield f"Each value of {', '.join(short_names(experiment.grid))} is compared with its first, over all others."
    budget = experiment.budget
    bounds = [
        *([f"{budget.hours:g} hours"] if budget.hours else []),
        *([f"{budget.tokens:,} tokens"] if budget.tokens else []),
        *([f"{budget.money:g} {experiment.prices.currency or 'in money'}"] if budget.money else []),
    ]
    yield f"Budget: {' or '.join(bounds) or 'none'}."


def searched(experiment: Experiment) -> Iterator[str]:
    """What is searched first, where there is a sweep."""
    sweep = experiment.sweep
    if sweep is None:
        return
    trials = int(min(sweep.trials, sweep.size))
    yield (
        f"First a search: {trials} trials, chosen by {sweep.sampler}, each with {len(sweep.seeds)} "
        f"seed{'s' if len(sweep.seeds) != 1 else ''} ({', '.join(map(str, sweep.seeds))}), which no arm is run with."
    )
    for key, space in sweep.keys.items():
        if isinstance(space, Span):
            yield f"{key}: from {space.low:g} to {space.high:g}{', by orders of magnitude' if space.log else ''}"
        else:
            yield f"{key}: {' or '.join(map(str, space.values))}"
    yield f"What it chooses is the arm {SEARCHED}. The trials are in no forecast."


def forecast_told(made: Forecast) -> str:
    """How long it will take, and how long it would if nothing were shared."""
    if made.unknown:
        return f"No forecast: {made.unknown}"
    phases = ", ".join(f"{name} {span(each.seconds)}" for name, each in made.of(made.jobs).items() if any(each.seconds))
    return f"Forecast: {span(made.seconds)} on this machine ({phases}); {span(made.alone)} if nothing were shared."


def span(seconds: Range) -> str:
    return " to ".join(dict.fromkeys(map(duration, seconds)))


def _kind(arm: Arm, experiment: Experiment) -> str:
    if arm.name == experiment.against:
        return "compared with"
    return "control" if arm.control else "arm"
