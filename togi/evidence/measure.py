"""Measuring a reward model, or any other reward, on held-out pairs; whoever is measured never sees which was chosen.

The form on disk is ``pairs.py``'s, what the numbers mean ``agreement.py``'s to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from togi.batch import answers
from togi.batch import samples as group_samples
from togi.evidence.pairs import SKIPS, PairRecord, PairsRecord, Scale
from togi.models.heads import ScalarModel
from togi.records import completion_tokens
from togi.rollout import score
from togi.text import Chat
from togi.types import Group, Reward, Score, Task, Trajectory

_SUM_TO_ONE = 1e-6


def measure_pairs(
    scores: Sequence[Sequence[float | None]],
    tasks: Sequence[Task],
    lengths: Sequence[Sequence[int]],
    *,
    name: str,
    step: int,
    scale: Scale = "log_odds",
) -> PairsRecord:
    """All pairs of recorded answers of different worth, with their scores (None: not given) and lengths in tokens.

    Both have one row a task and one entry a recorded answer. The worths of two answers that are chances (each in
    [0, 1], together 1) are a soft label. ``Task.info["truth"]``, where it is there, is the index of the answer that is
    truly the best. Raises ValueError when answers were not judged, or when a truth is no index of an answer.
    """
    skipped = dict.fromkeys(SKIPS, 0)
    pairs: list[PairRecord] = []
    for task, score_G, length_G in zip(tasks, scores, lengths, strict=True):
        if len(task.worth) != len(task.recorded):
            raise ValueError(f"task {task.id} says nothing of the worth of its answers: give rows chosen and rejected")
        if len(task.recorded) < 2:
            skipped["alone"] += 1
        truth = _truth(task)
        for i, j in combinations(range(len(task.recorded)), 2):
            chosen, rejected = (i, j) if task.worth[i] >= task.worth[j] else (j, i)
            high, low = score_G[chosen], score_G[rejected]
            if task.recorded[i] == task.recorded[j]:
                skipped["identical"] += 1
            elif task.worth[i] == task.worth[j]:
                skipped["tie"] += 1
            elif high is None or low is None or not np.isfinite([high, low]).all():
                skipped["unscored"] += 1
            else:
                pairs.append(
                    PairRecord(
                        task=task.id,
                        label=_label(task.worth, chosen),
                        chosen_score=float(high),
                        rejected_score=float(low),
                        chosen_tokens=length_G[chosen],
                        rejected_tokens=length_G[rejected],
                        truth=None if truth not in (chosen, rejected) else float(truth == chosen),
                    )
                )
    return PairsRecord(name=name, step=step, scale=scale, tasks=len(tasks), pairs=pairs, skipped=skipped)


def measure_reward_model(model: ScalarModel, chat: Chat, tasks: Sequence[Task], *, name: str, step: int) -> PairsRecord:
    """A reward model's scores of the recorded answers of held-out tasks."""
    played = [_answers(chat, task) for task in tasks]
    groups = [
        Group(task=task, trajectories=each, scores=(Score(value=0.0),) * len(each))
        for task, each in zip(tasks, played, strict=True)
    ]
    samples = answers(group_samples(groups))
    found = dict(zip([(s.group, s.trajectory) for s in samples], model.scores(samples).tolist(), strict=True))
    scores = [[found.get((number, i)) for i in range(len(each))] for number, each in enumerate(played)]
    return measure_pairs(scores, tasks, [_lengths(each) for each in played], name=name, step=step)


def measure_reward(
    reward: Reward, chat: Chat, tasks: Sequence[Task], *, name: str, step: int = 0, scale: Scale = "log_odds"
) -> PairsRecord:
    """Any reward's scores of the recorded answers, as if they had been sampled: this is how a judge is judged."""
    played = [_answers(chat, task) for task in tasks]
    given = score(reward, list(zip(tasks, played, strict=True)))
    scores = [[each.value if each.status == "ok" else None for each in group] for group in given]
    return measure_pairs(scores, tasks, [_lengths(each) for each in played], name=name, step=step, scale=scale)


def _truth(task: Task) -> int | None:
    truth = task.info.get("truth")
    if truth is None:
        return None
    if isinstance(truth, bool) or not isinstance(truth, int) or not 0 <= truth < len(task.recorded):
        raise ValueError(
            f"task {task.id}: the column truth is the index of the truly best of {len(task.recorded)} answers "
            f"(0 is the first), got {truth!r}"
        )
    return truth


def _label(worth: Sequence[float], chosen: int) -> float:
    chances = len(worth) == 2 and min(worth) >= 0 and abs(sum(worth) - 1) <= _SUM_TO_ONE
    return float(worth[chosen]) if chances else 1.0


def _answers(chat: Chat, task: Task) -> tuple[Trajectory, ...]:
    return tuple(Trajectory(turns=chat.recorded(task.prompt, answer), stop="eos") for answer in task.recorded)


def _lengths(answers: Sequence[Trajectory]) -> list[int]:
    return [completion_tokens(answer) for answer in answers]
