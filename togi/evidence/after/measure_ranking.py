"""Ranking a generator's held-out attempts by how likely a verifier finds them (V-STaR); it samples nothing.

The attempts are those of the evaluation of the model that the verifier started from. What the numbers mean is for
``verifier_rates.py`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from togi.batch import answers, samples
from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord
from togi.evidence.after.verifier_rates import VerificationRecord, VerifiedAttempt, VerifiedTask
from togi.protocols import Policy
from togi.tokenization import Chat
from togi.types import Group, Message, Score, Task, Trajectory


def measure_ranking(
    policy: Policy,
    chat: Chat,
    tasks: Sequence[Task],
    record: EvaluationRecord,
    read: Callable[[str], str | None],
    *,
    name: str,
    step: int,
) -> VerificationRecord:
    """The log-likelihood of every scored attempt under the policy. Attempts of several turns have none. ``read`` finds
    what a completion answers, for the majority."""
    by_id = {task.id: task for task in tasks}
    asked = [(by_id[told["id"]], [one for one in told["attempts"] if _scored(one)]) for told in record["tasks"]]
    likely = _likelihoods(policy, chat, asked)
    return VerificationRecord(
        name=name,
        step=step,
        reason=False,
        ranks=True,
        tasks=[
            VerifiedTask(
                task=task.id,
                attempts=[
                    VerifiedAttempt(
                        p=likely.get((number, place)),
                        correct=(one["score"]["value"] or 0.0) >= record["pass_mark"],
                        answer=read(one["completion"]),
                    )
                    for place, one in enumerate(attempts)
                ],
            )
            for number, (task, attempts) in enumerate(asked)
        ],
        keys=[],
    )


def _scored(attempt: AttemptRecord) -> bool:
    return attempt["score"]["status"] == "ok"


def _likelihoods(
    policy: Policy, chat: Chat, asked: Sequence[tuple[Task, Sequence[AttemptRecord]]]
) -> dict[tuple[int, int], float]:
    """By task and attempt: the sum over the tokens of the answer."""
    groups = [
        Group(
            task=task,
            trajectories=tuple(_written(chat, task, one) for one in attempts),
            scores=(Score(value=0.0),) * len(attempts),
        )
        for task, attempts in asked
    ]
    read = policy.annotate(answers(samples(groups)), frozenset({"old_logp"}))
    found = {}
    for sample in read:
        assert sample.old_logp is not None
        found[sample.group, sample.trajectory] = float(np.sum(sample.old_logp[sample.mask], dtype=np.float64))
    return found


def _written(chat: Chat, task: Task, attempt: AttemptRecord) -> Trajectory:
    if "turns" in attempt:
        return Trajectory(turns=(), stop="done")
    answer = (Message(role="assistant", content=attempt["completion"]),)
    return Trajectory(turns=chat.of(task).recorded(task.prompt, answer), stop="eos")
