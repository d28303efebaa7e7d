"""The folder of an experiment: what was decided, and what became of each job. It runs nothing.

What was decided is written down and vouched for by the first event; a file that was changed since is refused by name.
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from togi.experiment.design import Experiment, ExperimentError
from togi.experiment.expected_cost import FORECAST, Forecast, Phases, read_forecast
from togi.experiment.jobs import ARMS, CELLS, OTHERS, TRIALS, Job, jobs_of
from togi.run_folder.files import RunFolder, digest, write_text
from togi.run_folder.integrity import (
    Chain,
    Integrity,
    Vouched,
    chain_faults,
    check,
    file_faults,
    find_head,
    read_chain,
    vouched,
)
from togi.run_folder.links import EVENTS
from togi.run_folder.manifest import recipe_changes

PLAN, LOGS_OF_CELLS, NUMBERS = "plan.json", "logs", "numbers.json"
JOBS = (f"{CELLS}/", f"{TRIALS}/")  # what is in them is held against the events of each
Ending = Literal["done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Took:
    """What one process of a job took by the clock. ``machine`` are the seconds of the machine that were its own, and
    ``joules`` the energy, None where the machine tells nothing: jobs at work at once share both evenly."""

    seconds: float = 0.0
    machine: float = 0.0
    joules: float | None = None


NOTHING = Took()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job's last process ended: ``head`` is that of its run's events, ``why`` what a failed one said. The rest is
    of all its processes together, of which there were ``started``: ``seconds``, ``machine`` and ``joules`` as in
    ``Took``, and whether some were ``unmetered``."""

    how: Ending | Literal["begun"]
    head: str = ""
    why: str = ""
    seconds: float = 0.0
    machine: float = 0.0
    started: int = 1
    joules: float | None = None
    unmetered: bool = False


class Ledger:
    """The folder of one experiment, held by one process."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.path = folder, folder.path

    def decide(self, experiment: Experiment, forecast: Callable[[], Forecast | None], *, allow_changes: bool) -> None:
        """Write down what is decided, with a forecast of what is new, or make sure that it is what was decided. Raises
        ExperimentError."""
        plan = json.loads(json.dumps(experiment.plan, default=str))
        chain = read_chain(self.path)
        if not chain.events:
            if (self.path / PLAN).exists():
                raise ExperimentError(f"{self.path} holds {PLAN} but no {EVENTS}: name another folder with --folder")
            files = {**self._foretell(experiment, forecast, {}), **self._write(experiment, plan)}
            self.folder.event("decided", plan=digest(plan), files=files)
            return
        own = {path: told for path, told in vouched(chain.events).files.items() if not path.startswith(JOBS)}
        faults = [*chain_faults(self.path, chain), *file_faults(self.path, Vouched(files=own))]
        if faults:
            raise ExperimentError(
                f"{self.path} is not as it was written: {faults[0]}. Put it back, or name another folder with --folder"
            )
        before = read_plan(self.path)
        changes = list(_changes(before, plan))
        if changes and not allow_changes:
            listing = "\n  ".join(changes)
            raise ExperimentError(
                f"{self.path} was decided otherwise before it began:\n  {listing}\nUndo the change, name another "
                "folder with --folder, or go on with --allow-changes: the page will keep saying so"
            )
        if changes:
            _refuse_other_runs(before, plan, endings(chain))
            files = {**self._foretell(experiment, forecast, self._foretold), **self._write(experiment, plan)}
            self.folder.event("changed", changes=changes, files=files)

    def _write(self, experiment: Experiment, plan: Mapping[str, Any]) -> dict[str, str]:
        recipes = write_recipes(experiment, self.path)
        return {PLAN: write_text(self.path / PLAN, json.dumps(plan, indent=1)), **recipes}

    @property
    def _foretold(self) -> Mapping[str, Phases]:
        made = read_forecast(self.path)
        return made.jobs if made else {}

    def _foretell(
        self, experiment: Experiment, forecast: Callable[[], Forecast | None], known: Mapping[str, Phases]
    ) -> dict[str, str]:
        """Write the forecast of all jobs that have none; what was said of those ``known`` stays as it was said."""
        if all(job.name in known for job in jobs_of(experiment)) or (made := forecast()) is None:
            return {}
        told = replace(made, jobs={**made.jobs, **known})
        return {FORECAST: write_text(self.path / FORECAST, json.dumps(told.plain()))}

    def foretell(self, experiment: Experiment, forecast: Callable[[], Forecast | None]) -> None:
        """Add a forecast of the jobs that were not known when the experiment was decided."""
        if files := self._foretell(experiment, forecast, self._foretold):
            self.folder.event("foretold", files=files)

    def begin(self, job: Job, *, spent: float) -> None:
        """Note that a job starts, and the seconds that the whole experiment has worked by then."""
        self.folder.event("begun", job=job.name, spent=round(spent, 3))

    def reckon(self) -> None:
        """Note how long those worked that were killed, as far as their own events tell."""
        chain = read_chain(self.path)
        begun = {str(event["job"]): event for event in chain.events if event.get("event") == "begun"}
        for job in (name for name, each in endings(chain).items() if each.how == "begun"):
            last = read_chain(self.path / job).events[-1:]
            seconds = max(0.0, _seconds(last[0]) - _seconds(begun[job])) if last else 0.0
            spent = float(begun[job]["spent"]) + seconds
            self.folder.event(
                "ended", job=job, how="stopped", seconds=seconds, machine=seconds, spent=spent, why="killed"
            )

    def end(self, job: Job, how: Ending, took: Took, *, spent: float, why: str = "") -> None:
        """Note how a job's process ended and what it took, the seconds that the whole experiment has worked by now, and
        of a job that is done the head of its events."""
        place = self.path / job.name
        head = read_chain(place).head if how == "done" else ""
        numbers = {"files": self.folder.marks(place / NUMBERS)} if (place / NUMBERS).exists() else {}
        told = {name: value for name, value in (("head", head), ("why", why)) if value}
        costs = {name: round(value, 3) for name, value in asdict(took).items() if value is not None}
        self.folder.event("ended", job=job.name, how=how, **costs, spent=round(spent, 3), **told, **numbers)


def write_recipes(experiment: Experiment, folder: Path) -> dict[str, str]:
    """Write down the recipes of all arms, and of what else they are measured on; gives their digests."""
    runs = {f"{ARMS}/{arm.name}.toml": arm.run for arm in experiment.arms}
    runs |= {f"{OTHERS}/{name}.toml": run for name, run in experiment.others.items()}
    return {place: write_text(folder / place, tomli_w.dumps(run.recipe)) for place, run in runs.items() if run}


def read_plan(folder: Path) -> dict[str, Any]:
    """What was decided. Raises ExperimentError for a folder that holds no experiment."""
    try:
        plan = json.loads((folder / PLAN).read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ExperimentError(f"{folder}: no experiment, since its {PLAN} cannot be read ({error})") from error
    if not isinstance(plan, dict) or not isinstance(plan.get("arms"), dict):
        raise ExperimentError(f"{folder / PLAN} is no plan of an experiment")
    return plan


def is_experiment(folder: Path) -> bool:
    return (folder / PLAN).is_file()


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Every value that was decided otherwise. Where recipes lie, and what is shown where, decides nothing."""
    yield from (
        change
        for change in recipe_changes(before, now)
        if not any(
            f".recipe.{place}" in change.partition(":")[0] for place in ("relative_to", "logging", "model.device")
        )
    )


def _refuse_other_runs(before: Mapping[str, Any], now: Mapping[str, Any], ended: Mapping[str, Ended]) -> None:
    """What was begun under one recipe cannot go on under another. Raises ExperimentError."""
    searched = [job for job in ended if job.startswith(f"{TRIALS}/")]
    if searched and (changes := list(_changes({"sweep": before.get("sweep")}, {"sweep": now.get("sweep")}))):
        raise ExperimentError(
            f"the search has begun ({searched[0]}) and cannot change: {changes[0]}. Take another folder with --folder"
        )
    for name, arm in before["arms"].items():
        begun = [job for job in ended if job.rpartition("-")[0] == f"{CELLS}/{name}"]
        changes = list(_changes({"arms": {name: arm}}, {"arms": {name: now["arms"].get(name)}}))
        if begun and changes:
            raise ExperimentError(
                f"the arm {name} has begun ({begun[0]}) and cannot change: {changes[0]}. Give the new one another "
                "name, or take another folder with --folder"
            )


def endings(chain: Chain) -> dict[str, Ended]:
    """How each job stands that was ever begun, by its name."""
    found: dict[str, Ended] = {}
    for event in chain.events:
        job = str(event.get("job", ""))
        if event.get("event") == "begun":
            before = found.get(job, Ended(how="begun", started=0))
            found[job] = replace(before, how="begun", head="", why="", started=before.started + 1)
        elif event.get("event") == "ended":
            before, joules = found.get(job, Ended(how="begun", started=0)), event.get("joules")
            found[job] = replace(
                before,
                how=event["how"],
                head=str(event.get("head", "")),
                why=str(event.get("why", "")),
                seconds=before.seconds + float(event["seconds"]),
                machine=before.machine + float(event["machine" if "machine" in event else "seconds"]),
                joules=before.joules if joules is None else (before.joules or 0.0) + float(joules),
                unmetered=before.unmetered or (joules is None and event["seconds"] > 0),
            )
    return found


def seconds_spent(chain: Chain) -> float:
    """How long the experiment has worked by the clock, however many jobs were at work at once."""
    return max((float(event["spent"]) for event in chain.events if event.get("event") == "ended"), default=0.0)


def _seconds(event: Mapping[str, Any]) -> float:
    """When an event was."""
    return calendar.timegm(time.strptime(str(event["time"]), "%Y-%m-%dT%H:%M:%SZ"))


def fault_of(folder: Path, job: str, ended: Ended, found: Integrity | None = None) -> str | None:
    """What is wrong with the run of a job that was done; None when it is as it was. It may have been measured since.
    ``found`` is what was just found of its files, where that was asked."""
    place = folder / job
    if not place.is_dir():
        return "is gone"
    if (place / NUMBERS).exists():
        known = vouched(read_chain(folder).events).files
        faults = list(file_faults(folder, Vouched(files={f"{job}/{NUMBERS}": known.get(f"{job}/{NUMBERS}", "")})))
        return str(faults[0]) if faults else None
    found = found or check(place)
    if found.faults:
        return str(found.faults[0])
    return None if find_head(found.chain, ended.head) else "has other events than when it was done"


def job_lines(folder: Path) -> tuple[list[str], bool]:
    """What is found of every job that was done, a line each, and whether all are as they were; nothing for a run."""
    if not is_experiment(folder):
        return [], True
    done = {job: ended for job, ended in endings(read_chain(folder)).items() if ended.how == "done"}
    found = {job: fault_of(folder, job, ended) for job, ended in sorted(done.items())}
    lines = [
        f"✓ {job}: as it was when it was done" if fault is None else f"✗ {job} {fault}" for job, fault in found.items()
    ]
    return lines, not any(found.values())
