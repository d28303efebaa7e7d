"""Has a recipe run with a reward, each run in a process of its own, and reads what came of it. It chooses nothing.

The stages before the one that is paid are trained once a seed and taken over by every run of it. A run that is killed
goes on from its checkpoint.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.read_run import Json, RunData, read_run
from togi.experiment.cell import Order
from togi.experiment.fork_server import Forked, ForkServer
from togi.reward_design.archive import PROGRAMS, RUNS
from togi.reward_design.design import Candidate, Check, RecipeDesign, Trained
from togi.reward_design.language.read_recipe import paid_by
from togi.reward_design.seeds import agent_seed
from togi.reward_design.subject import Job, Made, NoCandidatesFault
from togi.run import start_of
from togi.run_folder.files import remove
from togi.run_folder.integrity import read_chain
from togi.sandbox.box import AnyTier
from togi.sandbox.confine.process_end import ending
from togi.sandbox.tiers.choose_tier import cores

FAILED = "answers that it cannot score"
"""The part that counts, as a share, the answers at which a program failed."""


class Trainings:
    """The runs of one design, in its folder. Safe to use from several threads."""

    def __init__(self, design: RecipeDesign, folder: Path, tier: AnyTier) -> None:
        self._design, self._folder, self._tier = design, folder.resolve(), tier
        self.workers = design.file.train.workers or cores()
        # It ends with this process.
        self._server = ForkServer(max(1, cores() // self.workers), self._folder / RUNS / "fork_server.log")
        self._at_work: set[Forked] = set()
        self._beginnings: dict[str, threading.Lock] = {}

    def make(self, job: Job) -> Made:
        """A model that was trained with a candidate's reward and measured. Raises NoCandidatesFault."""
        (candidate, number, final), began = job, time.monotonic()
        design, place = self._design, self.place(job)
        source = self._beginning(number, final=final)
        fault = self._run(place, number, final=final, stages=design.number + 1, source=source, candidate=candidate)
        seconds = time.monotonic() - began
        if fault:
            return Trained(candidate=candidate.name, seed=number, seconds=seconds, fault=fault), {}
        checks = checks_of(design, read_run(place), own=candidate.program is not None)
        return Trained(
            candidate=candidate.name, seed=number, checks=(checks[0], checks[-1]) if final else checks, seconds=seconds
        ), {}

    def place(self, job: Job) -> Path:
        """The folder of a job's run."""
        candidate, number, final = job
        return self._folder / RUNS / f"{'final-' * final}{candidate.name}-{number}"

    def last_answers(self, job: Job) -> list[Json]:
        """The answers of a job's last step of training, as its run keeps them."""
        return read_run(self.place(job)).rollouts.get((self._design.stage.name, self._design.stage.steps), [])

    def drop(self, job: Job) -> None:
        """Remove what a run left, once what it showed is kept; those of the last comparison stay."""
        if not job[2]:
            remove(self.place(job))

    def stop(self) -> None:
        """End what is at work: it saves what it has, and goes on from there when it is asked for again."""
        for process in list(self._at_work):
            process.send_signal(signal.SIGTERM)

    def _beginning(self, number: int, *, final: bool) -> Path:
        """The stages before the one that is paid, with the measure of where it starts."""
        place = self._folder / RUNS / f"{'final-' * final}begin-{number}"
        with self._beginnings.setdefault(place.name, threading.Lock()):
            if not (place.is_dir() and read_chain(place).finished):
                fault = self._run(place, number, final=final, stages=self._design.number, source=None, candidate=None)
                if fault:
                    raise NoCandidatesFault(f"the recipe cannot be run up to the stage that is paid: {fault}")
        return place

    def _run(
        self,
        place: Path,
        number: int,
        *,
        final: bool,
        stages: int,
        source: Path | None,
        candidate: Candidate | None,
    ) -> str:
        """Run the first stages of the recipe in a folder; what went wrong, empty where nothing did."""
        order = Order(
            recipe=str(self._design.recipe),
            changes=self._changes(number, candidate, final=final),
            folder=str(place),
            stages=stages,
            source=None if source is None else str(source),
            taken=0 if source is None else self._design.number,
            tokens_of=None,
        )
        log = place.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        process = self._server.start(order, log)
        self._at_work.add(process)
        try:
            code = process.wait(self._design.file.train.seconds)
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return f"it took longer than {self._design.file.train.seconds:g} s"
        finally:
            self._at_work.discard(process)
        if code < 0 or code >= 128:
            raise NoCandidatesFault(f"a training {ending(code)}: {log} shows what it said. The same command goes on")
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "" if not code else next((line for line in reversed(said) if line.startswith("error: ")), "it failed")

    def _changes(self, number: int, candidate: Candidate | None, *, final: bool) -> list[str]:
        """What a run has otherwise than the recipe."""
        design, search = self._design, self._design.file.search
        stage = design.stage
        changes = [*design.file.design.changes, f"seed={agent_seed(design, number, final=final)}"]
        changes += ['grading.tier="process"'] * (self._tier == "process")
        if final:
            held_out = search.episodes + design.file.final.episodes
            changes += [f"evaluation.tasks={held_out}", f"evaluation.choice_tasks={search.episodes}"]
        else:
            every = max(1, stage.steps // design.file.train.checks)
            changes += [f"evaluation.tasks={search.episodes}", f"evaluation.every={every}"]
        # A model that is ruined by its reward is a result, and no fault.
        changes.append(f"stage.{stage.name}.stop_on_collapse=false")
        if candidate is not None and (score := self._score(candidate)):
            changes.append(paid_by(stage.name, score))
        return changes

    def _score(self, candidate: Candidate) -> str | None:
        """The reward of a candidate as a recipe writes it; None for the recipe's own."""
        if candidate.program is not None:
            return paid_program(self._folder, candidate.name, self._design.dialect.function)
        return self._design.sparse if candidate.kind == "sparse" else None


def paid_program(folder: Path, name: str, function: str) -> str:
    """The expression that pays by a program of a design's folder."""
    return f"python({json.dumps(f'{folder / PROGRAMS / name}.py:{function}')})"


def checks_of(design: RecipeDesign, data: RunData, *, own: bool) -> tuple[Check, ...]:
    """What a run's model did at its beginning, on the way and at its end. ``own`` says that a program paid it, whose
    parts are told without its name. Raises NoCandidatesFault for a fitness that is none."""
    stage, begins = design.stage.name, start_of(design.run, design.number)
    ends = {record["model"]: record for record in data.evaluations}
    if missing := [name for name in (begins, stage) if name not in ends]:
        raise NoCandidatesFault(
            f"{data.folder}: the evaluation of {missing[0]} is not there; is {missing[0]} measured?"
        )
    rows = [row for row in data.metrics if row["stage"] == stage]
    before = ends[stage]["step"] - len(rows)
    on_the_way = sorted((each for each in data.on_the_way if each["model"] == stage), key=lambda each: each["step"])
    found, last = [], 0
    for record in (ends[begins], *on_the_way, ends[stage]):
        steps = 0 if record is ends[begins] else record["step"] - before
        paid = rows[:1] if not steps else rows[last:steps] or rows[-1:]
        found.append(
            Check(
                steps=steps,
                fitness=tuple(fitness_of(record, data.folder)),
                proxy=_mean(paid, "reward"),
                parts=_parts(paid, design.dialect.function if own else ""),
                length=float(np.mean([each["tokens"] for task in record["tasks"] for each in task["attempts"]])),
            )
        )
        last = steps
    return tuple(found)


def fitness_of(record: EvaluationRecord, folder: Path) -> list[float]:
    """The mean score of the attempts at each held-out task; those without a score count 0."""
    scores = [
        [each["score"]["value"] if each["score"]["status"] == "ok" else 0.0 for each in task["attempts"]]
        for task in record["tasks"]
    ]
    wild = [value for row in scores for value in row if value is None or not 0 <= value <= 1]
    if wild:
        raise NoCandidatesFault(f"{folder}: the evaluation's reward gave {wild[0]}, and a number from 0 to 1 is wanted")
    return [float(np.mean(np.array(row, np.float64))) for row in scores]


def _parts(rows: Sequence[Json], program: str) -> dict[str, float]:
    names = sorted({name for row in rows for name in row if name.startswith("rewards/") and name.endswith("/mean")})
    parts = {}
    for name in names:
        part = name.removeprefix("rewards/").removesuffix("/mean")
        if part != program:
            parts[part.removeprefix(f"{program}/") if program else part] = _mean(rows, name)
    failed = [sum(value for name, value in row.items() if name.startswith(("own_fault/", "unscored/"))) for row in rows]
    return parts | ({FAILED: float(np.mean(failed))} if any(failed) else {})


def _mean(rows: Sequence[Json], name: str) -> float:
    known = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(known)) if known else 0.0
