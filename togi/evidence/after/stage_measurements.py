"""What a stage's model is measured on when the stage ends: whatever was held out of it. It knows no loop and no log."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

import torch

from togi.algorithms import VStar
from togi.askers.local_model import LocalModel
from togi.batch import answers, samples
from togi.evidence.after.evaluation_file import read_evaluation
from togi.evidence.after.measure_process_model import measure_steps, said, write_steps
from togi.evidence.after.measure_ranking import measure_ranking
from togi.evidence.after.measure_reward import measure_reward_model, measure_verifier, reader
from togi.evidence.after.measure_thoughts import measure_thoughts, said as said_of_thoughts, write_thoughts
from togi.evidence.after.measured_pairs_file import write_pairs
from togi.evidence.after.verifier_rates import write_verification
from togi.models.scalar_heads import load_scalar
from togi.run import Run, Watch, start_of
from togi.stage_state import Workshop


def measure_stage(run: Run, work: Workshop, path: Path, *, step: int, dtype: torch.dtype, watch: Watch) -> Path | None:
    """Measure what a stage has trained, a scorer, a verifier or a policy that thinks, whose weights are at ``path``,
    after ``step`` steps of the run; gives the file of what was measured, None where there is nothing to measure on."""
    if isinstance(work.stage.algorithm, VStar):
        return _ranking(run, work, step, watch)
    trains, thinks = work.stage.algorithm.trains, work.stage.algorithm.thinking is not None
    if (trains not in ("scorer", "verifier") and not thinks) or not work.held_out:
        return None
    watch.phase("measure")
    if thinks:
        return _thoughts(run, work, step, watch)
    if trains == "verifier":
        return _verifier(run, work, step)
    if any(task.step_worth for task in work.held_out):
        groups = work.stage.algorithm.sampler(iter(work.held_out), len(work.held_out), work.play)
        model = load_scalar(path, dtype=dtype, device=run.model.device)
        record = measure_steps(model, answers(samples(groups)), name=work.stage.name, step=step)
        watch.note(said(record))
        return write_steps(run.folder, record)
    return _reward_model(run, work, path, step, dtype)


def _thoughts(run: Run, work: Workshop, step: int, watch: Watch) -> Path:
    """On texts."""
    algorithm = work.stage.algorithm
    groups = algorithm.sampler(iter(work.held_out), len(work.held_out), work.play)
    record = measure_thoughts(
        groups,
        work.annotate(groups),
        partial(algorithm.forward, work.here.outputs),
        work.chat,
        name=work.stage.name,
        step=step,
    )
    watch.note(said_of_thoughts(record))
    return write_thoughts(run.folder, record)


def _reward_model(run: Run, work: Workshop, path: Path, step: int, dtype: torch.dtype) -> Path:
    """On pairs. The scores are shifted so that their mean there is 0, since preferences say nothing of where 0 is
    (InstructGPT, appendix C.2)."""
    model = load_scalar(path, dtype=dtype, device=run.model.device)
    record = measure_reward_model(model, work.chat, work.held_out, name=work.stage.name, step=step)
    written = write_pairs(run.folder, record)
    scores = [score for pair in record["pairs"] for score in (pair["chosen_score"], pair["rejected_score"])]
    if scores:
        work.here.save_heads(path, shift=statistics.fmean(scores))
    return written


def _ranking(run: Run, work: Workshop, step: int, watch: Watch) -> Path | None:
    """On the held-out attempts of the policy that it started from, where the run has measured that."""
    names = [stage.name for stage in run.stages]
    attempts = run.folder / "evaluations" / f"{start_of(run, names.index(work.stage.name))}.json"
    if run.evaluation is None or not attempts.is_file():
        return None
    watch.phase("measure")
    record = measure_ranking(
        work.policy,
        work.chat,
        run.evaluation.tasks,
        read_evaluation(attempts),
        reader(run.evaluation.reward),
        name=work.stage.name,
        step=step,
    )
    return write_verification(run.folder, record)


def _verifier(run: Run, work: Workshop, step: int) -> Path:
    """On attempts, and on answers that say nothing."""
    stage, engine = work.stage, work.engine
    paid = {each.name: each.reward for each in run.stages}
    record = measure_verifier(
        stage.algorithm.sampler,
        LocalModel(engine.model, engine, work.chat, engine.context),
        work.chat,
        work.held_out,
        reader(paid[stage.collected.stages[0]] if stage.collected else None),
        name=stage.name,
        step=step,
    )
    return write_verification(run.folder, record)
