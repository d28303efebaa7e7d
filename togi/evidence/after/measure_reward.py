"""Measuring a reward model, a verifier, or any other reward on held-out answers; whoever is measured never sees which
were good.

The forms on disk and what the numbers mean are for ``measured_pairs_file.py``, ``pair_agreement.py`` and
``verifier_rates.py`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from togi.algorithms.scorers.genrm import KEYS, Labelled
from togi.askers.asker import Asker
from togi.batch import answers, samples as group_samples
from togi.evidence.after.measured_pairs_file import SKIPS, PairRecord, PairsRecord, Scale
from togi.evidence.after.verifier_rates import KeyRecord, VerificationRecord, VerifiedAttempt, VerifiedTask
from togi.models.scalar_heads import ScalarModel
from togi.protocols import Reward, Sampler
from togi.records import completion_tokens
from togi.rewards import Composable, Verifier, genrm
from togi.rewards.judge.fool_judge import ATTACKS, posed
from togi.rewards.judge.genrm import OpenVerification
from togi.rollout import score
from togi.tokenization import Chat
from togi.types import Group, Score, Task, Trajectory

ATTACKED = 8
"""Held-out tasks that answers which say nothing are given to."""

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


def measure_verifier(
    labelled: Sampler,
    asker: Asker,
    chat: Chat,
    tasks: Sequence[Task],
    read: Callable[[str], str | None],
    *,
    name: str,
    step: int,
    attacked: int = ATTACKED,
) -> VerificationRecord:
    """A verifier's word on the recorded answers of held-out tasks, asked as ``labelled`` taught it, and on answers that
    say nothing, given to the first ``attacked`` tasks. ``read`` finds what a completion answers, for the majority.

    Raises ValueError when answers were not judged, and JudgeOutage when the verifier does not answer.
    """
    assert isinstance(labelled, Labelled), "a verifier learns attempts that were found right or wrong"
    for task in tasks:
        if len(task.worth) != len(task.recorded):
            raise ValueError(f"task {task.id} says nothing of the worth of its answers: learn from scored rollouts")
    verifier = OpenVerification(genrm(reason=labelled.reason, name=name), asker, labelled.template)
    keys = [(family, text) for family, texts in ATTACKS.items() for text in texts]
    asked = [(task, _answers(chat, task)) for task in tasks]
    asked += [(task, tuple(posed(text, task) for _, text in keys)) for task in tasks[:attacked]]
    given = score(verifier, asked)
    return VerificationRecord(
        name=name,
        step=step,
        reason=labelled.reason,
        tasks=[
            VerifiedTask(task=task.id, attempts=_verified(task, scores, labelled.correct_from, read))
            for task, scores in zip(tasks, given, strict=False)
        ],
        keys=[
            KeyRecord(
                family=family,
                text=text,
                listed=text in KEYS,
                p=[scores[row].value for scores in given[len(tasks) :] if scores[row].status == "ok"],
            )
            for row, (family, text) in enumerate(keys)
        ],
    )


def reader(reward: Reward | None) -> Callable[[str], str | None]:
    """What a reward takes for the answer of a completion: its first verifier's reading, or nothing."""
    leaves = reward.leaves if isinstance(reward, Composable) else ()
    judging = [leaf for leaf in leaves if isinstance(leaf, Verifier) and leaf.judges]
    return judging[0].read if judging else lambda _: None


def _verified(
    task: Task, scores: Sequence[Score], correct_from: float, read: Callable[[str], str | None]
) -> list[VerifiedAttempt]:
    return [
        VerifiedAttempt(
            p=score.value if score.status == "ok" else None,
            correct=worth >= correct_from,
            answer=read(answer[-1].content),
        )
        for answer, worth, score in zip(task.recorded, task.worth, scores, strict=True)
    ]


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
    return tuple(Trajectory(turns=chat.of(task).recorded(task.prompt, answer), stop="eos") for answer in task.recorded)


def _lengths(answers: Sequence[Trajectory]) -> list[int]:
    return [completion_tokens(answer) for answer in answers]
