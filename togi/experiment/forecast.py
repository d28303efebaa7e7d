"""What an experiment will take, before it starts: the estimate of each job, with what is shared counted once.

It loads the models to know their sizes, and probes the machine; it trains and samples nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from togi.evidence.before.cost_estimate import Rates, estimate, rates
from togi.experiment.design import Experiment, seeded
from togi.experiment.jobs import beginning, jobs_of
from togi.models.arithmetic_rate import probe_bf16
from togi.run import BASE, Run, open_model
from togi.run_folder.manifest import choose_dtype
from togi.tokenization import Chat

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Seconds of arithmetic of all jobs, from (answers as long as the recorded ones) to (as long as allowed); ``alone``
    is what it would be if nothing were shared. Starting processes and loading models is not in it."""

    seconds: Range
    alone: Range


def forecast(experiment: Experiment) -> Forecast:
    """The estimate of an experiment on recipes. Raises ValueError when a model cannot be loaded."""
    runs = {arm.name: arm.run for arm in experiment.arms if arm.run is not None}
    known: dict[str, Callable[[Run], Range]] = {}
    total, alone = [0.0, 0.0], [0.0, 0.0]
    for job in jobs_of(experiment):
        run = seeded(runs[job.arm], job.seed, experiment.vary)
        if run.model.source not in known:
            known[run.model.source] = _estimator(run)
        takes = known[run.model.source]
        whole = takes(beginning(run, job.stages))
        taken = takes(beginning(run, job.taken)) if job.after else (0.0, 0.0)
        for index in range(2):
            total[index] += whole[index] - taken[index]
            alone[index] += 0.0 if job.shared else whole[index]
    return Forecast(seconds=(total[0], total[1]), alone=(alone[0], alone[1]))


def _estimator(run: Run) -> Callable[[Run], Range]:
    """How long runs of that model take."""
    compute = choose_dtype(run)
    loaded = open_model(run, BASE, compute)
    probe = probe_bf16(loaded.model.device)
    speed: Rates = rates(loaded.parameters, probe.bfloat16 if compute == torch.bfloat16 else probe.float32)
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    return lambda each: estimate(each, chat, speed).seconds
