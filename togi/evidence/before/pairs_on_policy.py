"""Are the answers of a pair set such as the model itself would write? It reads log-probabilities and trains nothing.

A preference loss moves probability between the two answers of a pair. When the model would write neither, that says
little about what it does write; so at least one side should be its own (Tajwar et al. 2024, arXiv:2404.14367).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from togi.batch import collate, samples
from togi.evidence.findings import Finding
from togi.models.microbatch import microbatches
from togi.protocols import Engine, Model
from togi.rollout import attempt_seed
from togi.tokenization import Chat
from togi.types import Group, Prompt, Sampling, Score, Task, Trajectory

Array = NDArray[np.float64]

FAR = 0.5
"""Nats a token: with a larger gap each token is on average more than 1.6 times less probable than the model's own."""
LONGEST = 256  # tokens of an own answer


@dataclass(frozen=True, kw_only=True, eq=False)
class Likelihoods:
    """Mean log-probability a token in nats, the end token included, under the model that training starts from.

    ``chosen_P`` and ``rejected_P`` are of the pairs, ``own_M`` of answers that the model itself sampled to the same
    prompts at temperature 1.
    """

    chosen_P: Array
    rejected_P: Array
    own_M: Array


def likelihood_findings(one: Likelihoods) -> list[Finding]:
    """Whether chosen or rejected is on-policy, and what to do when neither is. Raises ValueError without numbers."""
    if not (len(one.chosen_P) and len(one.chosen_P) == len(one.rejected_P) and len(one.own_M)):
        raise ValueError(
            f"wanted as many chosen as rejected answers and some own ones, got {len(one.chosen_P)}, "
            f"{len(one.rejected_P)} and {len(one.own_M)}"
        )
    sides = {"chosen": one.chosen_P, "rejected": one.rejected_P}
    far = [name for name, side in sides.items() if _is_far(one.own_M, side)]
    numbers = ", ".join(f"{name} {side.mean():.2f}" for name, side in sides.items())
    detail = (
        f"nats a token: {numbers}, the model's own answers {one.own_M.mean():.2f}; "
        + "; ".join(_side(name, side, one.own_M) for name, side in sides.items())
        + f"; {len(one.chosen_P)} pairs, {len(one.own_M)} own answers"
    )
    if len(far) == 2:
        return [
            Finding(
                level="warn",
                title="neither chosen nor rejected is what the model itself writes: these pairs are off-policy",
                detail=detail,
                advice='let the model answer these prompts first (a stage with algorithm = "collect" and a reward or '
                "judge), so that one side is its own; or teach it the chosen answers with an SFT stage",
            )
        ]
    if far:
        near = "rejected" if far == ["chosen"] else "chosen"
        title = f"the {near} answers are such as the model itself writes, the {far[0]} ones are not"
        return [Finding(level="ok", title=title, detail=detail)]
    return [Finding(level="ok", title="the pairs are on-policy: the model itself writes such answers", detail=detail)]


def own_likelihoods(
    tasks: Sequence[Task],
    model: Model,
    engine: Engine,
    chat: Chat,
    *,
    pairs: int = 64,
    seed: int = 0,
    tokens_per_microbatch: int = 2000,
) -> Likelihoods:
    """Measure up to ``pairs`` random preference tasks: the best and the worst recorded answer, and one that the engine
    samples, no longer than the longest recorded one. Raises ValueError when no task has two answers of unlike worth."""
    judged = [task for task in tasks if len(set(task.worth)) > 1]
    if not judged:
        raise ValueError("no task has two recorded answers of different worth: give preference pairs")
    drawn = np.random.default_rng(seed).permutation(len(judged))[:pairs]
    picked = [judged[index] for index in sorted(drawn.tolist())]
    groups = [_extremes(task, chat) for task in picked]
    chosen_P, rejected_P = _mean_logp(groups, model, tokens_per_microbatch).T
    longest = max(len(turn.completion) for group in groups for each in group.trajectories for turn in each.turns)
    prompts = [
        Prompt(ids=chat.of(task).prompt(task.prompt), seeds=(attempt_seed(seed, 0, task.id, 0, 0),)) for task in picked
    ]
    turns = engine.generate(prompts, Sampling(max_tokens=min(longest, LONGEST), temperature=1.0))
    own_M = np.asarray([np.mean(turn.logp) for (turn,) in turns if turn.logp])
    return Likelihoods(chosen_P=chosen_P, rejected_P=rejected_P, own_M=own_M)


def _extremes(task: Task, chat: Chat) -> Group:
    """The best and the worst answer, in this order."""
    best, worst = (f(range(len(task.worth)), key=lambda index: task.worth[index]) for f in (max, min))
    trajectories = tuple(
        Trajectory(turns=chat.of(task).recorded(task.prompt, task.recorded[index]), stop="eos")
        for index in (best, worst)
    )
    return Group(task=task, trajectories=trajectories, scores=(Score(value=1.0), Score(value=0.0)))


def _mean_logp(groups: Sequence[Group], model: Model, budget: int) -> Array:
    """Mean log-probability a trained token, [groups, 2]."""
    every = samples(groups)
    total, count = np.zeros((len(groups), 2)), np.zeros((len(groups), 2))
    with torch.no_grad():
        for part in microbatches(every, budget):
            batch = collate([every[index] for index in part])
            logp_B = (model(batch).logp_BT * batch.mask_BT).sum(-1).to(torch.float64).cpu().numpy()
            for index, logp in zip(part, logp_B, strict=True):
                place = every[index].group, every[index].trajectory
                total[place] += logp
                count[place] += every[index].mask.sum()
    return np.asarray(total / count)


def _is_far(own: Array, side: Array) -> bool:
    gap = float(own.mean() - side.mean())
    error = float(np.sqrt(own.var() / len(own) + side.var() / len(side)))
    return gap > FAR and gap - 1.96 * error > 0


def _side(name: str, side: Array, own: Array) -> str:
    """How much of a side lies where 95% of the model's own answers lie."""
    inside = float((side >= np.quantile(own, 0.05)).mean())
    return f"{100 * inside:.0f}% of {name} are as likely as the likeliest 95% of its own"
