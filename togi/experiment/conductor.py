"""Runs the jobs of an experiment: one after another, or several at once, until all are done or the budget is spent.

Each job has a process of its own, so one that fails ends no other. It chooses no job and reads no result.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from togi.energy import Meter
from togi.experiment.cell import Order
from togi.experiment.design import Experiment, ExperimentError, seed_changes
from togi.experiment.fork_server import Forked, ForkServer
from togi.experiment.job_cost import job_cost
from togi.experiment.jobs import Job
from togi.experiment.ledger import (
    LOGS_OF_CELLS,
    NOTHING,
    NUMBERS,
    Ending,
    Ledger,
    Took,
    endings,
    fault_of,
    seconds_spent,
)
from togi.experiment.spending import Spending
from togi.experiment.sweep.sweep_design import Numbers
from togi.harmless_text import shortened
from togi.memory import memory_limit
from togi.run_folder.files import dumps, write_text
from togi.run_folder.integrity import read_chain
from togi.sandbox.confine.process_end import ending

LOOK = 0.1  # seconds between two looks at processes
ROOM = 0.8  # of the memory there is that jobs may hold together
LONGEST = 300  # characters of a reason
SHARED_FAILED = "what it shares with others failed: "
HOPELESS = "below the median of finished trials"
Tell = Callable[[str], None]
Ask = Callable[[Job], Numbers]


@dataclass(frozen=True, kw_only=True)
class Working:
    """A job at work."""

    job: Job
    process: Forked
    log: Path


class Conductor:
    """One process's work on an experiment."""

    def __init__(
        self, experiment: Experiment, ledger: Ledger, tell: Tell, together: int, meter: Meter, server: ForkServer
    ) -> None:
        self.experiment, self.ledger, self.tell, self.together = experiment, ledger, tell, together
        self.folder, self.server = ledger.path, server
        ledger.reckon()
        self.jobs: list[Job] = []
        chain = read_chain(self.folder)
        ended = endings(chain)
        self.spending = Spending(
            before=seconds_spent(chain),
            joules=sum(each.joules or 0.0 for each in ended.values()),
            budget=experiment.budget,
            prices=experiment.prices,
            meter=meter,
        )
        self.done: set[str] = set()
        self.left: list[Job] = []
        self.working: list[Working] = []
        self.failed: dict[str, str] = {}
        self._memory: float | None = None

    def take_up(self, jobs: Sequence[Job]) -> None:
        """Add jobs to those to run, but for what is done. Raises ExperimentError for one whose run was changed since it
        was done."""
        new = [job for job in dict.fromkeys(jobs) if job not in self.jobs]
        self.jobs += new
        self.spending.count([self.folder / job.name for job in new])
        self.done |= self._found_done(new)
        self.left = [job for job in dict.fromkeys([*self.left, *jobs]) if job.name not in self.done]
        for job in self.left:
            self.failed.pop(job.name, None)

    def _found_done(self, jobs: Sequence[Job]) -> set[str]:
        """The jobs that are done."""
        ended = endings(read_chain(self.folder))
        done = {job.name for job in jobs if job.name in ended and ended[job.name].how == "done"}
        for name in sorted(done):
            if not (self.folder / name).exists():
                self.tell(f"{name} was done and is gone: it is run again")
                done.remove(name)
            elif fault := fault_of(self.folder, name, ended[name]):
                raise ExperimentError(
                    f"{self.folder / name} was changed after it was done: {fault}. Put it back, or remove the folder "
                    "to run it again"
                )
        return done

    def run(self, ask: Ask, *, share: float = 1.0, hopeless: Callable[[Job], bool] | None = None) -> str:
        """Run all that is left. Gives why not all was run: that ``share`` of the budget is spent; empty where all was.
        Functions are asked by ``ask``; a job that is ``hopeless`` is stopped alone."""
        while self.left or self.working:
            self._take_in()
            if why := self.spending.over_budget(share):
                self.stop(why)
                self.left = []
                return why
            self._stop([each for each in self.working if hopeless and hopeless(each.job)], HOPELESS)
            if len(self.working) < self._room() and (job := self._next()):
                self._start(job, ask)
                continue
            time.sleep(LOOK)
        return ""

    def stop(self, why: str) -> None:
        """Let the jobs at work save what they have, and wait for them."""
        self._stop(self.working, why)

    def _stop(self, working: Sequence[Working], why: str) -> None:
        for each in working:
            each.process.send_signal(signal.SIGTERM)
        for each in working:
            self._end(each, "stopped", why, each.process.wait())
        self.working = [each for each in self.working if each not in working]

    def _next(self) -> Job | None:
        """The next job that waits for no other; those that wait for one which failed are given up."""
        for job in list(self.left):
            if lost := next((name for name in job.waits_for if name in self.failed), None):
                self.left.remove(job)
                why = SHARED_FAILED if lost == job.after else f"{lost}, whose tokens it learns as many of, failed: "
                self._fail(job, f"{why}{self.failed[lost].removeprefix(why)}")
            elif self.done.issuperset(job.waits_for):
                self.left.remove(job)
                return job
        return None

    def _room(self) -> int:
        """How many jobs may be at work at once: the first one alone, since it shows how much memory one takes."""
        if self.together == 1:
            return 1
        if self._memory is None:
            known = [cost.memory_gb for job in self.jobs if (cost := job_cost(self.folder / job.name)).memory_gb]
            self._memory = max((each for each in known if each is not None), default=None)
        if self._memory is None:
            return 1
        return max(1, min(self.together, int(ROOM * memory_limit() / 1e9 / self._memory)))

    def _start(self, job: Job, ask: Ask) -> None:
        if self.experiment.function is not None:
            self._measure(job, ask)
            return
        order = Order(
            recipe=str(self.folder / job.recipe),
            changes=[
                *seed_changes(job.seed, self.experiment.vary_of(job.arm)),
                f"name={self._run_name(job)}",
                *self._model_changes(job),
            ],
            folder=str(self.folder / job.name),
            stages=job.stages,
            source=None if job.after is None else str(self.folder / job.after),
            taken=job.taken,
            tokens_of=None if job.tokens_of is None else str(self.folder / job.tokens_of),
        )
        log = self.folder / LOGS_OF_CELLS / f"{job.name.replace('/', '-')}.log"
        log.parent.mkdir(exist_ok=True)
        self._begin(job)
        self.tell(f"{job.name}: started" + (f", after {' and '.join(job.waits_for)}" if job.waits_for else ""))
        self.working.append(Working(job=job, process=self.server.start(order, log), log=log))

    def _run_name(self, job: Job) -> str:
        return f"{self.experiment.name}-{job.name.partition('/')[2].replace('/', '-')}"[:100]

    def _model_changes(self, job: Job) -> list[str]:
        """Which model is measured on other tasks: that of an arm's cell, or the one that the arm starts from."""
        if not job.other:
            return []
        source = next(arm.run.model.source for arm in self.experiment.arms if arm.name == job.arm and arm.run)
        if job.model_of is not None:
            source = str((self.folder / job.model_of).resolve())
        return [f"model.source={json.dumps(source)}"]

    def _measure(self, job: Job, ask: Ask) -> None:
        """Ask a function. Whatever it raises is its own, and ends no other job."""
        self._begin(job)
        try:
            numbers = checked(ask(job), self.experiment.measure)
        except Exception as error:
            self._fail(job, f"{type(error).__name__}: {error}", self.spending.end(job.name))
            return
        write_text(self.folder / job.name / NUMBERS, dumps(numbers))
        self._well(job, self.spending.end(job.name))

    def _begin(self, job: Job) -> None:
        self.ledger.begin(job, spent=self.spending.clock)
        self.spending.begin(job.name)

    def _take_in(self) -> None:
        """Note the jobs that have ended."""
        for each in list(self.working):
            code = each.process.poll()
            if code is not None:
                self.working.remove(each)
                self._end(each, "done" if code == 0 else "failed", "", code)

    def _end(self, each: Working, how: Ending, why: str, code: int) -> None:
        took = self.spending.end(each.job.name)
        if code == 0:
            self._well(each.job, took)
        elif how == "failed":
            self._fail(each.job, self._reason(each, code), took)
        else:
            self.ledger.end(each.job, how, took, spent=self.spending.clock, why=why)
            self.tell(f"{each.job.name}: {why}, what it has is saved")

    def _well(self, job: Job, took: Took) -> None:
        self.ledger.end(job, "done", took, spent=self.spending.clock)
        self.done.add(job.name)
        self.tell(f"{job.name}: done in {took.seconds:.0f} s")

    def _fail(self, job: Job, why: str, took: Took = NOTHING) -> None:
        why = shortened(why, LONGEST)
        self.ledger.end(job, "failed", took, spent=self.spending.clock, why=why)
        self.failed[job.name] = why
        self.tell(f"{job.name}: failed: {why}")

    def _reason(self, each: Working, code: int) -> str:
        """The last thing that a job said, which is its error where it could tell one."""
        lines = each.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
        return told or f"it {ending(code)}" + (f" after saying: {lines[-1]}" if lines else "")


def checked(numbers: object, measure: str) -> dict[str, float | list[float]]:
    """What a function gave, as plain numbers. Raises ValueError for what is none, and where the measure is missing."""
    if not isinstance(numbers, dict):
        raise ValueError(f"the function gives a dictionary of numbers, got {type(numbers).__name__}")
    if measure not in numbers:
        raise ValueError(
            f"the function gave no {measure!r}, which is the measure; it gave {', '.join(map(str, numbers))}"
        )
    try:
        return {
            str(name): [float(each) for each in value] if hasattr(value, "__len__") else float(value)
            for name, value in numbers.items()
        }
    except (TypeError, ValueError) as error:
        raise ValueError(f"the function gives numbers, each one number or a list of them: {error}") from error
