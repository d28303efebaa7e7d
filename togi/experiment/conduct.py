"""Runs an experiment: the search of a sweep, if there is one, then the cells, until all is done or the budget spent.

It reads no result: ``outcome.py`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from togi.energy import Meter, find_counters
from togi.experiment.conductor import Conductor, Tell
from togi.experiment.design import Experiment, ExperimentError
from togi.experiment.expected_cost import Forecast, forecast_from
from togi.experiment.fork_server import ForkServer
from togi.experiment.jobs import Job, counts, jobs_of
from togi.experiment.ledger import LOGS_OF_CELLS, Ledger, write_recipes
from togi.experiment.plan_told import forecast_told
from togi.experiment.sweep.search import Search, with_chosen
from togi.experiment.sweep.sweep_design import Numbers
from togi.experiment.sweep.trials import chosen_in
from togi.interrupt import Interrupted, Interrupts
from togi.run_folder.files import RunFolder
from togi.run_folder.integrity import read_chain
from togi.sandbox.confine.process_end import ending
from togi.sandbox.tiers.choose_tier import cores


def conduct(
    experiment: Experiment, folder: Path, *, tell: Tell = print, together: int = 1, allow_changes: bool = False
) -> None:
    """Run what is left of an experiment in its folder, at most ``together`` jobs at once. What failed before is tried
    again.

    Raises ExperimentError when the folder is another experiment's or was changed, ``Interrupted`` after the jobs at
    work were saved.
    """
    if not 1 <= together <= cores():
        raise ExperimentError(
            f"--together {together}: this machine has {cores()} cores, so 1 to {cores()} jobs at once"
        )
    # Of one job at a time the environment may say how many threads it has.
    threads = cores() // together if together > 1 or "OMP_NUM_THREADS" not in os.environ else None
    server = ForkServer(threads, folder / LOGS_OF_CELLS / "fork_server.log")
    with (
        RunFolder(folder) as held,
        Interrupts(tell) as interrupts,
        closing(Meter(find_counters())) as meter,
        closing(server),
    ):
        ledger = Ledger(held)
        begun = bool(read_chain(folder).events)
        ledger.decide(experiment, partial(_forecast, experiment, tell), allow_changes=allow_changes)
        conductor = Conductor(experiment, ledger, tell, together, meter, server)
        chosen = chosen_in(read_chain(folder))
        sweep = experiment.sweep if chosen is None else None
        if sweep is None:
            experiment = conductor.experiment = with_chosen(experiment, chosen)
            conductor.take_up(jobs_of(experiment))
        if sweep or conductor.left:
            held.event("resumed" if begun else "started", energy=meter.found.told)
        try:
            if sweep and (chosen := Search(experiment, sweep, conductor).go()):
                experiment = conductor.experiment = with_chosen(experiment, chosen)
                ledger.foretell(experiment, partial(_forecast, experiment, tell))
                conductor.take_up(jobs_of(experiment))
            if conductor.left:
                _run_cells(experiment, conductor)
        except Interrupted as stop:
            with interrupts.deferred():
                conductor.stop(str(stop))
            raise


def _run_cells(experiment: Experiment, conductor: Conductor) -> None:
    """Run the cells that are left, and what they share."""
    if not conductor.spending.over_budget():
        conductor.tell(f"to run: {counts(conductor.left)}")
    if why := conductor.run(partial(_asked, experiment)):
        conductor.ledger.folder.event("budget_spent", why=why)
        conductor.tell(f"{why}: the rest is not run, and what is known by now is the result")
    else:
        conductor.ledger.folder.event("finished", failed=sorted(conductor.failed))


def _asked(experiment: Experiment, job: Job) -> Numbers:
    """What the experiment's function says of a cell."""
    assert experiment.function is not None
    return experiment.function(job.arm, job.seed)


def _forecast(experiment: Experiment, tell: Tell) -> Forecast | None:
    """What the cells will take; None for a function, of which nothing is known."""
    if experiment.function is not None:
        return None
    tell("forecasting what this will take")
    with TemporaryDirectory() as place:  # nothing is decided before it is known what it takes
        write_recipes(experiment, Path(place))
        made = subprocess.run(
            [sys.executable, "-m", "togi.experiment.forecast", place],
            input=json.dumps([asdict(job) for job in jobs_of(experiment)]),
            capture_output=True,
            text=True,
        )
    lines = made.stdout.strip().splitlines()
    if made.returncode == 0 and lines:
        found = forecast_from(lines[-1])
    else:
        why = ": ".join([f"its process {ending(made.returncode)}", *made.stderr.strip().splitlines()[-1:]])
        found = Forecast(jobs={}, unknown=why)
    tell(forecast_told(found))
    return found
