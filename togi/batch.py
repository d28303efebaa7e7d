"""Groups become samples, samples become padded batches. Knows no algorithm, no model and no text.

Axis legend: B samples, T positions of a sample, S trajectories of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from togi.types import CUT, Batch, FloatArray, Group, Outputs, Sample, Score, Turn, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Attempts:
    """Each trajectory behind some samples once, so that a statistic over rewards counts no trajectory twice.

    Arrays are [S], in order of first appearance. ``length_S`` counts trained tokens over all samples of the
    trajectory, ``truncated_S`` is true when a limit has cut it. ``index`` [B] gives each sample's row:
    ``advantage_S[index]`` is one value a sample.
    """

    reward_S: NDArray[np.float64]
    group_S: NDArray[np.int64]
    length_S: NDArray[np.int64]
    truncated_S: NDArray[np.bool_]
    index: NDArray[np.int64]


def samples(groups: Sequence[Group]) -> list[Sample]:
    """One sample for each prefix-consistent run of turns of every scored trajectory; ``Sample.group`` is the position.

    A trajectory whose score has a status other than ``ok`` gives none: it is absent, not worth 0. Ids are the ones the
    engine emitted, and the mask comes from turn boundaries, never from token values, so an end token that doubles as
    padding stays trained on. An attempt's reference is a recorded sample before its own. Turns of one run share a
    temperature; ``version`` is that of its oldest turn.
    """
    found = []
    for number, group in enumerate(groups):
        assert len(group.trajectories) == len(group.scores), f"task {group.task.id}: one score a trajectory"
        for attempt, (trajectory, score) in enumerate(zip(group.trajectories, group.scores, strict=True)):
            if score.status != "ok":
                continue
            if group.references and (reference := group.references[attempt]):
                found.append(_reference(reference, score.value, number, attempt, group.task.id))
            runs, paid = _runs(trajectory.turns), 0
            for run in runs:
                ids, mask, logp = _arrays(run)
                dense_T = _dense(run, score.dense[paid:]) if score.dense else None
                paid += sum(len(turn.completion) for turn in run)
                found.append(
                    Sample(
                        ids=ids,
                        mask=mask,
                        logp=logp,
                        reward=score.value,
                        group=number,
                        trajectory=attempt,
                        task=group.task.id,
                        stop=trajectory.stop,
                        recorded=not any(turn.logp for turn in run),
                        role=trajectory.role,
                        baseline=group.baseline,
                        state_keys=tuple(turn.state_key for turn in run if turn.completion),
                        dense=dense_T,
                        shares=score.shares,
                        steps=_steps(run[-1], score, len(ids)) if run is runs[-1] and score.steps else None,
                        temperature=run[0].temperature,
                        version=min(turn.version for turn in run),
                    )
                )
    return found


def _reference(turn: Turn, reward: float, group: int, attempt: int, task: str) -> Sample:
    """The task's own answer after an attempt's thought, with the number and the reward of the attempt."""
    ids, mask, logp = _arrays([turn])
    return Sample(
        ids=ids,
        mask=mask,
        logp=logp,
        reward=reward,
        group=group,
        trajectory=attempt,
        task=task,
        stop=turn.stop,
        recorded=True,
        temperature=turn.temperature,
        version=turn.version,
    )


def trajectories(samples: Sequence[Sample]) -> Attempts:
    """The trajectories that the samples were made from, each counted once."""
    rows: dict[tuple[int, int], int] = {}
    index = np.array([rows.setdefault((s.group, s.trajectory), len(rows)) for s in samples], dtype=np.int64)
    reward_S = np.zeros(len(rows))
    group_S = np.zeros(len(rows), dtype=np.int64)
    length_S = np.zeros(len(rows), dtype=np.int64)
    truncated_S = np.zeros(len(rows), dtype=np.bool_)
    for row, sample in zip(index, samples, strict=True):
        reward_S[row] = sample.reward
        group_S[row] = sample.group
        length_S[row] += sample.mask.sum()
        truncated_S[row] = sample.stop in CUT
    return Attempts(reward_S=reward_S, group_S=group_S, length_S=length_S, truncated_S=truncated_S, index=index)


def answers(samples: Sequence[Sample]) -> list[Sample]:
    """One sample a trajectory, in order of first appearance: the last one, which ends where the trajectory ends. None
    for a trajectory in which the model wrote nothing."""
    last = {(sample.group, sample.trajectory): sample for sample in samples if sample.mask.any()}
    return list(last.values())


def minibatches(samples: Sequence[Sample], count: int, unit: Unit) -> list[list[Sample]]:
    """Split a step's samples, in order, into at most ``count`` parts of about equal size; no part is empty.

    A sample of weight 0 has no gradient and is left out. The weights of a part are multiplied by the number of parts:
    they were made for the whole step, and this way each update has the size of a whole step's on average, however
    many updates a step is cut into. With ``unit`` "group", samples of one group stay together.
    """
    if count < 1:
        raise ValueError(f"minibatches must be at least 1, got {count}")
    units: dict[tuple[int, ...], list[Sample]] = {}
    for number, sample in enumerate(samples):
        if sample.weight != 0:
            units.setdefault((sample.group,) if unit == "group" else (sample.group, number), []).append(sample)
    pieces = list(units.values())
    count = min(count, len(pieces))
    edges = [round(part * len(pieces) / count) for part in range(count + 1)] if count else [0]
    parts = [[s for piece in pieces[a:b] for s in piece] for a, b in pairwise(edges)]
    return [[replace(sample, weight=sample.weight * count) for sample in part] for part in parts]


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad samples on the right to one batch. What no sample carries (``old_logp``, ``value``, ...) stays None."""
    import torch

    if not samples:
        raise ValueError("cannot make a batch of no samples: skip the update instead")
    shape = (len(samples), max(len(sample.ids) for sample in samples))
    ids_BT = np.zeros(shape, dtype=np.int64)
    mask_BT = np.zeros(shape, dtype=np.bool_)
    for row, sample in enumerate(samples):
        ids_BT[row, : len(sample.ids)] = sample.ids
        mask_BT[row, : len(sample.ids)] = sample.mask
    logp_BT = _padded([sample.logp for sample in samples], shape)
    assert logp_BT is not None
    advantage_BT = _padded([sample.advantage for sample in samples], shape)
    return Batch(
        samples=tuple(samples),
        ids_BT=torch.from_numpy(ids_BT),
        mask_BT=torch.from_numpy(mask_BT),
        logp_BT=logp_BT,
        advantage_BT=torch.zeros(shape) if advantage_BT is None else advantage_BT,
        weight_B=torch.tensor([sample.weight for sample in samples], dtype=torch.float32),
        temperature_B=torch.tensor([sample.temperature for sample in samples], dtype=torch.float32),
        old_logp_BT=_padded([sample.old_logp for sample in samples], shape),
        ref_logp_BT=_padded([sample.ref_logp for sample in samples], shape),
        value_BT=_padded([sample.value for sample in samples], shape),
        returns_BT=_padded([sample.returns for sample in samples], shape),
        hold_BT=_padded([sample.hold for sample in samples], shape, partly=True),
    )


def after(out: Outputs, batch: Batch) -> torch.Tensor:
    """What a scalar head says after each token [B, T]: after the last one, and where the policy wrote the next."""
    import torch

    assert out.value_BT is not None
    assert out.score_B is not None
    last_B = torch.tensor([len(sample.ids) - 1 for sample in batch.samples], device=out.value_BT.device)
    rows_B = torch.arange(len(last_B), device=last_B.device)
    # A value at t is said before token t, which is after the one that precedes it.
    shifted_BT = torch.nn.functional.pad(out.value_BT[:, 1:], (0, 1))
    return shifted_BT.index_put((rows_B, last_B), out.score_B)


def _runs(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Cut turns where the history was rewritten, that is where a prompt does not start with all that went before."""
    runs: list[list[Turn]] = []
    seen: tuple[int, ...] = ()
    for turn in turns:
        if runs and turn.prompt[: len(seen)] == seen and turn.temperature == runs[-1][-1].temperature:
            runs[-1].append(turn)
        else:
            runs.append([turn])
        seen = turn.prompt + turn.completion
    return runs


def _arrays(
    run: Sequence[Turn],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], FloatArray]:
    """Ids, mask and the sampler's log-probabilities [T] of turns that continue each other."""
    ids = np.array(run[-1].prompt + run[-1].completion, dtype=np.int64)
    mask = np.zeros(len(ids), dtype=np.bool_)
    logp = np.zeros(len(ids), dtype=np.float32)
    for turn in run:
        start, end = len(turn.prompt), len(turn.prompt) + len(turn.completion)
        mask[start:end] = True
        if turn.logp:
            assert len(turn.logp) == len(turn.completion), "one log-probability a completion token"
            logp[start:end] = turn.logp
    if len(ids):
        mask[0], logp[0] = False, 0.0
    return ids, mask, logp


def _dense(run: Sequence[Turn], dense: Sequence[float]) -> FloatArray:
    """Dense rewards [T] at the tokens of a run's turns, to whose first ``dense`` begins."""
    dense_T, start = np.zeros(len(run[-1].prompt) + len(run[-1].completion), dtype=np.float32), 0
    for turn in run:
        written = len(turn.completion)
        dense_T[len(turn.prompt) : len(turn.prompt) + written] = dense[start : start + written]
        start += written
    return dense_T


def _steps(turn: Turn, score: Score, length: int) -> FloatArray:
    """What each step is worth, at its last token [T]; nan elsewhere."""
    steps_T = np.full(length, np.nan, dtype=np.float32)
    steps_T[len(turn.prompt) + np.array(score.step_ends)] = score.steps
    return steps_T


def _padded(rows: Sequence[FloatArray | None], shape: tuple[int, int], *, partly: bool = False) -> torch.Tensor | None:
    import torch

    missing = sum(row is None for row in rows)
    assert partly or missing in (0, len(rows)), "a field is set on all samples of a batch or on none"
    if missing == len(rows):
        return None
    padded = np.zeros(shape, dtype=np.float32)
    for number, row in enumerate(rows):
        if row is not None:
            padded[number, : len(row)] = row
    return torch.from_numpy(padded)
