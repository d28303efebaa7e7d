"""What an experiment will take, before it starts: the estimate of each job, with what is shared counted once.

It loads the models to know their sizes and how long that takes, probes the machine, and starts one process; it trains
and samples nothing. ``python -m togi.experiment.forecast FOLDER`` does so in a process of its own, whose memory ends
with it: the jobs come in as JSON, and the forecast goes out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from togi.evidence.before.cost_estimate import NONE, Range, Rates, added, estimate, rates
from togi.experiment.design import Experiment
from togi.experiment.expected_cost import STARTING, Expected, Forecast, Phases
from togi.experiment.fork_server import IMPORTS_ONCE
from togi.experiment.jobs import Job, beginning, jobs_of
from togi.models.arithmetic_rate import probe_bf16
from togi.recipe import load_recipe
from togi.run import BASE, Run, open_model
from togi.run_folder.manifest import choose_dtype
from togi.tokenization import Chat


def forecast(experiment: Experiment) -> Forecast:
    """The estimate of an experiment on recipes. Raises ValueError when a model cannot be loaded."""
    runs = {arm.name: arm.run for arm in experiment.arms if arm.run is not None}
    jobs = jobs_of(experiment)
    return forecast_of({job.recipe: experiment.others[job.other] if job.other else runs[job.arm] for job in jobs}, jobs)


def forecast_of(runs: Mapping[str, Run], wanted: Sequence[Job]) -> Forecast:
    """The same, of jobs and the run of each recipe."""
    start = _seconds_of_a_start()
    once, imports = (start, 0.0) if IMPORTS_ONCE else (0.0, start)
    models: dict[str, _Model] = {}
    known: dict[tuple[str, int], Phases] = {}
    jobs: dict[str, Phases] = {}
    alone: list[Range] = [(once, once)]
    for job in wanted:
        run = runs[job.recipe]
        if run.model.source not in models:
            models[run.model.source] = _Model.of(run)
        model = models[run.model.source]
        for stages in {job.stages, job.taken}:  # seeds change no estimate
            if (job.recipe, stages) not in known:
                known[job.recipe, stages] = model.takes(beginning(run, stages))
        whole, taken = known[job.recipe, job.stages], known[job.recipe, job.taken]
        own = {name: each - taken[name] for name, each in whole.items()} if job.after else whole
        begun = imports if jobs else imports + once
        jobs[job.name] = {**own, STARTING: _all(begun + model.load * _loads(run, job))}
        if not job.shared:
            by_itself = _all(imports + model.load * _loads(run, Job(name=job.name, arm="", seed=0, stages=job.stages)))
            alone += [each.seconds for each in (*whole.values(), by_itself)]
    return Forecast(jobs=jobs, alone=added(*alone))


@dataclass(frozen=True, kw_only=True)
class _Model:
    """One model on this machine: ``load`` is the seconds that loading it takes."""

    load: float
    chat: Chat
    rates: Rates

    @classmethod
    def of(cls, run: Run) -> _Model:
        compute = choose_dtype(run)
        begun = time.monotonic()
        loaded = open_model(run, BASE, compute)
        load = time.monotonic() - begun
        probe = probe_bf16(loaded.model.device)
        speed = rates(loaded.parameters, probe.bfloat16 if compute == torch.bfloat16 else probe.float32)
        return cls(load=load, chat=Chat(loaded.tokenizer, loaded.eos_ids), rates=speed)

    def takes(self, run: Run) -> Phases:
        phases: Mapping[str, Expected] = {
            name: Expected(tokens=each.tokens, seconds=each.seconds)
            for name, each in estimate(run, self.chat, self.rates).phases.items()
        }
        return phases


def _all(seconds: float) -> Expected:
    return Expected(tokens=NONE, seconds=(seconds, seconds))


def _loads(run: Run, job: Job) -> int:
    """How often a job loads a model: for each stage of its own, and for each measurement."""
    own = run.stages[job.taken : job.stages]
    measured = sum(stage.measured and stage.algorithm.trains == "policy" for stage in own) + (job.after is None)
    return len(own) + (measured if run.evaluation else 0)


def _seconds_of_a_start() -> float:
    """How long a process takes until it could train: most of it imports."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import togi.train"], check=True, stdin=subprocess.DEVNULL)
    return time.monotonic() - begun


def main(arguments: Sequence[str]) -> None:
    jobs = [Job(**each) for each in json.load(sys.stdin)]
    try:
        made = forecast_of({job.recipe: load_recipe(Path(arguments[0]) / job.recipe).run for job in jobs}, jobs)
    except ValueError as error:
        made = Forecast(jobs={}, unknown=str(error))
    print(json.dumps(made.plain()))


if __name__ == "__main__":
    main(sys.argv[1:])
