"""Held-out evaluation: every task is attempted several times and everything is kept. It knows no model, no statistics.

What the numbers mean is ``evaluation_summary.py``'s to say; the form on disk is ``evaluation_file.py``'s.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import torch

from togi.batch import collate, samples
from togi.evidence.after.evaluation_file import AttemptRecord, Bounds, EvaluationRecord, ScoreRecord, TaskRecord
from togi.evidence.after.evaluation_summary import reward_as_wrong
from togi.evidence.during.stuck_stage import why_unscored
from togi.models.microbatch import microbatches
from togi.protocols import Model, Play
from togi.records import completion_tokens, conversation, group_rewards, is_truncated, message_rows, turn_rows
from togi.samplers.group import ask
from togi.types import CUT, Group, Sampling, Score, Task, Trajectory


def evaluate(
    play: Play,
    tasks: Sequence[Task],
    attempts: int,
    *,
    model: str,
    step: int,
    sampling: Sampling,
    pass_mark: float = 1.0,
    keep: Callable[[Sequence[Group]], None] | None = None,
) -> EvaluationRecord:
    """Play every task ``attempts`` times and keep everything, in the form of ``evaluations/MODEL.json``; ``keep`` is
    handed the groups themselves. Raises ValueError when tasks cannot be evaluated, or no attempt could be scored.

    Two models are compared fairly by two plays with the same seeds; ``sampling`` is recorded, the play already has it.
    """
    if attempts < 1:
        raise ValueError(f"an evaluation needs at least 1 attempt a task, got {attempts}")
    if not tasks:
        raise ValueError("an evaluation needs at least 1 task, got none")
    twice = [task for task, count in Counter(task.id for task in tasks).items() if count > 1]
    if twice:
        raise ValueError(f"task ids must differ, but several tasks have the id {twice[0]!r}")
    started = time.perf_counter()
    groups = play(ask(tasks, attempts))
    seconds = time.perf_counter() - started
    if why := why_unscored([score for group in groups for score in group.scores]):
        raise ValueError(
            f"no attempt of {model} at a held-out task could be scored ({why}). Mend the reward, the environment or "
            "the rows, with togi preview"
        )
    if keep is not None:
        keep(groups)
    return from_groups(
        groups, attempts, model=model, step=step, sampling=sampling, pass_mark=pass_mark, seconds=seconds
    )


def from_groups(
    groups: Sequence[Group],
    attempts: int,
    *,
    model: str,
    step: int,
    sampling: Sampling,
    pass_mark: float = 1.0,
    seconds: float = 0.0,
) -> EvaluationRecord:
    """Groups that were already played, as an evaluation."""
    tasks = [_task_record(group) for group in groups]
    means = [float(np.mean(rewards)) for rewards in map(group_rewards, groups) if rewards.size]
    return EvaluationRecord(
        model=model,
        step=step,
        attempts=attempts,
        pass_mark=pass_mark,
        sampling=asdict(sampling),
        tasks=tasks,
        seconds=seconds,
        tokens=sum(attempt["tokens"] for task in tasks for attempt in task["attempts"]),
        mean=Bounds(left_out=float(np.mean(means)) if means else None, as_wrong=reward_as_wrong(tasks)),
    )


@torch.no_grad()
def read_under_base(record: EvaluationRecord, groups: Sequence[Group], base: Model, budget: int = 2000) -> None:
    """Note how likely each scored attempt is to ``base``, and how far it shows its model to be from it: the sum over
    its tokens of the sampler's log-probability minus the base's, in nats (k1). ``budget`` bounds memory, in tokens."""
    made = samples(groups)
    read: dict[tuple[int, int], tuple[float, float]] = {}
    for part in microbatches(made, budget):
        batch = collate([made[i] for i in part])
        logp_BT = torch.where(batch.mask_BT, base(batch).logp_BT, 0.0)
        own_BT = torch.where(batch.mask_BT, batch.logp_BT, 0.0)
        sums = (each_BT.sum(dim=1, dtype=torch.float64).tolist() for each_BT in (logp_BT, own_BT))
        for i, logp, own in zip(part, *sums, strict=True):
            attempt = (made[i].group, made[i].trajectory)
            before = read.get(attempt, (0.0, 0.0))
            read[attempt] = (before[0] + logp, before[1] + own - logp)
    for number, task in enumerate(record["tasks"]):
        for index, each in enumerate(task["attempts"]):
            each["base_logp"], each["kl"] = read.get((number, index), (None, None))


def _task_record(group: Group) -> TaskRecord:
    task = group.task
    prompt = "\n\n".join(
        message.content if len(task.prompt) == 1 else f"[{message.role}] {message.content}" for message in task.prompt
    )
    attempts = [_attempt_record(task, *pair) for pair in zip(group.trajectories, group.scores, strict=True)]
    name = f"{task.id}, {group.role}" if group.role else task.id  # what a player is asked is a task of its own
    return TaskRecord(id=name, prompt=prompt, answer=task.answer, attempts=attempts)


def _attempt_record(task: Task, trajectory: Trajectory, score: Score) -> AttemptRecord:
    record = ScoreRecord(
        value=float(score.value) if score.status == "ok" else None,
        parts={name: float(value) for name, value in score.parts.items() if np.isfinite(value)},
        status=score.status,
        note=score.note,
    )
    if score.own_fault:
        record["own_fault"] = score.own_fault
    attempt = AttemptRecord(
        completion=conversation(trajectory),
        tokens=completion_tokens(trajectory),
        stop=trajectory.stop,
        score=record,
    )
    if trajectory.counts:
        attempt["counts"] = dict(trajectory.counts)
    if trajectory.role:
        attempt["role"] = trajectory.role
    if trajectory.asked and trajectory.asked != task.prompt:
        attempt["asked"] = message_rows(trajectory.asked)
    if turns := turn_rows(trajectory):
        attempt["turns"] = turns
    if trajectory.stop not in CUT and is_truncated(trajectory):
        attempt["cut"] = True
    return attempt
