"""`togi demo`: the whole road on the quickstart recipe, ending in words about what improved.

It knows the order of the road and nothing of how a stop on it works.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from togi.evidence.before.doctor import doctor
from togi.evidence.before.preview import preview
from togi.progress import Live
from togi.recipe import load_recipe
from togi.report import verdict, write_report
from togi.train import train

QUICKSTART = "quickstart.toml"
SHORT = (
    "evaluation.tasks=16",
    "evaluation.attempts=2",
    "stage.cold_start.steps=2",
    "stage.grpo.steps=2",
    "stage.grpo.tasks_per_step=4",
)


def demo(*, short: bool, folder: Path, console: Console) -> Path:
    """Walk the road and give the report's path. ``short`` only shows that every stop works: nothing is learnt."""
    start = time.perf_counter()
    run = load_recipe(recipe_path(), SHORT if short else (), folder=folder).run
    console.rule("[bold]1 preview[/]: what the model is asked, and what it is paid for")
    preview(run).render(console)
    console.rule("[bold]2 doctor[/]: can the base model do it at all?")
    with Live(console) as watch:
        watch.phase("attempts of the base model")
        diagnosis = doctor(run, progress=watch.progress)
    diagnosis.render(console)
    diagnosis.keep(run.folder)
    console.rule("[bold]3 train[/]: the form first, then the reward")
    with Live(console) as watch:
        train(run, watch)
    console.rule("[bold]4 report[/]")
    report = write_report(run.folder)
    lines = [*verdict(run.folder), "", f"{minutes(time.perf_counter() - start)} in all. Report: {report}"]
    console.print(Panel(Text("\n".join(lines)), title="What improved", title_align="left"))
    return report


def recipe_path() -> Path:
    """The quickstart recipe: beside the package in a checkout, inside it when installed from a wheel."""
    package = Path(__file__).parent
    for place in (package.parent / "recipes", package / "recipes"):
        if (place / QUICKSTART).exists():
            return place / QUICKSTART
    raise ValueError(f"{QUICKSTART} is missing from this installation: reinstall Togi, or run it from a checkout")


def minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
