"""What an experiment would run, for a terminal: its question and rule, its arms, and what is run once for several."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.evidence.before.cost_estimate import Range
from togi.experiment.design import Arm, Experiment
from togi.experiment.expected_cost import Forecast
from togi.experiment.jobs import counts, jobs_of, shared_cells
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
    size = f"{len(experiment.arms)} arms × {len(experiment.seeds)} seeds ({seeds})"
    yield f"{size}; between seeds differ: {', '.join(experiment.vary)}."
    budget = experiment.budget
    bounds = [
        *([f"{budget.hours:g} hours"] if budget.hours else []),
        *([f"{budget.tokens:,} tokens"] if budget.tokens else []),
        *([f"{budget.money:g} {experiment.prices.currency or 'in money'}"] if budget.money else []),
    ]
    yield f"Budget: {' or '.join(bounds) or 'none'}."


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
