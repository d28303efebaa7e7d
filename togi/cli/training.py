"""Commands that train: one run, or an experiment of many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from togi.cli.command_app import Flag, Overrides, RecipePath, app, say


@app.command(sort_key=4)
def train(
    recipe: RecipePath,
    *overrides: Overrides,
    folder: Annotated[Path | None, Parameter(help="Run folder; runs/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print the resolved recipe and the origin of every value.")] = False,
    as_json: Annotated[bool, Flag, Parameter(name="--json", help="Print --dry-run as JSON.")] = False,
    allow_changes: Annotated[bool, Flag, Parameter(help="Continue a run although its recipe or data changed.")] = False,
    on: Annotated[str, Parameter(help="Who starts its other processes: local, ray, or ray://HOST:PORT.")] = "local",
) -> None:
    """Train; the same command again resumes a run that was stopped."""
    from togi.launch.open_launcher import check_on, open_launcher

    check_on(on)
    from togi.recipe import load_recipe

    loaded = load_recipe(recipe, overrides, folder=folder)
    from togi.recipe.needed_at_start import check_start
    from togi.recipe.show_origins import origins, show

    if as_json and not dry_run:
        raise ValueError("--json says how --dry-run prints: add --dry-run")
    if as_json:
        print(json.dumps(origins(loaded.reading, loaded.run.recipe), indent=1))
        return
    if dry_run:
        show(loaded.reading, loaded.run.recipe, Console())
        return
    run = loaded.run
    if run.scale.learners > 1:
        from togi.learners.following import follow, follows

        if follows(run):
            follow(run)
            return
        if on != "local":
            raise ValueError(
                f"--on {on} starts engines only: learners on several machines are started by torchrun (docs/scale.md), "
                "and on one machine without --on"
            )
    from togi.scale.started import needs_of, started

    # The launcher first: it may say which cards this process is to see, before any is looked at.
    with open_launcher(on, started(run), run.folder / "engines", here=needs_of(run)) as launcher:
        check_start(run)
        from togi.progress import Live
        from togi.run_folder.resume import held
        from togi.run_folder.run_description import asked_tier
        from togi.sandbox.jails_in_use import standing

        with Live() as watch, held(run, watch, allow_changes=allow_changes) as ours:
            kept_in = standing(asked_tier(run))
            say(f"graders run in: {kept_in['graders']} · programs in: {kept_in['programs']}")
            from togi.train import go_on

            go_on(run, ours, watch, launcher)
    from togi.run_folder.integrity import read_chain

    say(f"The run is in {run.folder}. Next: togi report {run.folder}")
    head = read_chain(run.folder).head
    say(f"Note this elsewhere, to show later that nothing was changed: togi verify {run.folder} --head {head}")


@app.command(sort_key=4.5)
def experiment(
    file: Annotated[Path, Parameter(help="File of an experiment (TOML).")],
    *,
    folder: Annotated[Path | None, Parameter(help="Its folder; experiments/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print what would run, and what is run once for several.")] = False,
    together: Annotated[int, Parameter(help="Most jobs at once, as memory allows.")] = 1,
    allow_changes: Annotated[bool, Flag, Parameter(help="Go on although something was decided otherwise.")] = False,
) -> None:
    """Several recipes, several seeds, controls, one answer; the same command again goes on where it stopped."""
    from togi.experiment.read_experiment import read_experiment

    plan = read_experiment(file)
    place = folder or Path("experiments") / plan.name
    from togi.experiment.plan_told import show_plan

    if dry_run:
        show_plan(plan, Console())
        from togi.experiment.forecast import forecast
        from togi.experiment.plan_told import forecast_told

        say(forecast_told(forecast(plan)))
        return
    from togi.experiment.conduct import conduct

    conduct(plan, place, tell=say, together=together, allow_changes=allow_changes)
    from togi.experiment.outcome import read_outcome
    from togi.experiment.outcome_told import show

    show(read_outcome(place), Console())
    say(f"The experiment is in {place}. Next: togi report {place}")
