"""Whole answers out of a step's samples: what each was worth, and its tokens' log-probabilities side by side.

An answer is a trajectory; it may be spread over several samples, when its history was rewritten between turns. Knows
no loss and no sampler. Axis legend: B samples, T positions of a sample, A answers, N trained tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from togi.types import Batch, Outputs, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One attempt at a task. ``rows`` are the positions of its samples, ``length`` counts trained tokens over all of
    them, and ``text`` is the same for answers with the same tokens."""

    group: int
    trajectory: int
    task: str
    reward: float
    rows: tuple[int, ...]
    length: int
    text: tuple[bytes, ...]

    @property
    def key(self) -> tuple[int, int]:
        return self.group, self.trajectory


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Answers as tensors, with what losses read of them. ``ref_logp_AN`` is None where no reference was asked for."""

    logp_AN: Tensor
    mask_AN: Tensor
    worth_A: Tensor
    ref_logp_AN: Tensor | None = None

    @cached_property
    def length(self) -> Tensor:
        """Trained tokens [A]."""
        return self.mask_AN.sum(-1)

    @cached_property
    def logp(self) -> Tensor:
        """log pi of each answer [A]."""
        return self.logp_AN.sum(-1)

    @cached_property
    def mean(self) -> Tensor:
        """Mean log-probability of its tokens [A]."""
        return self.logp / self.length

    @cached_property
    def log_ratio_AN(self) -> Tensor:
        """log pi - log ref of each token."""
        assert self.ref_logp_AN is not None, "a page that reads the reference must have ref_logp in its needs"
        return self.logp_AN - self.ref_logp_AN

    @cached_property
    def log_ratio(self) -> Tensor:
        """h, log pi - log ref of each answer [A]."""
        return self.log_ratio_AN.sum(-1)

    @cached_property
    def mean_log_ratio(self) -> Tensor:
        """h divided by the number of tokens [A]."""
        return self.log_ratio / self.length

    def take(self, index: Sequence[int]) -> Answers:
        """The answers at these positions, in this order."""
        import torch

        at = torch.tensor(index, dtype=torch.long, device=self.logp_AN.device)
        return Answers(
            logp_AN=self.logp_AN[at],
            mask_AN=self.mask_AN[at],
            worth_A=self.worth_A[at],
            ref_logp_AN=None if self.ref_logp_AN is None else self.ref_logp_AN[at],
        )


def answers(samples: Sequence[Sample]) -> dict[int, list[Answer]]:
    """Every group's answers, groups and answers by number, so that the order of the samples is of no account."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, sample in enumerate(samples):
        rows.setdefault((sample.group, sample.trajectory), []).append(row)
    found: dict[int, list[Answer]] = {}
    for (group, trajectory), own in sorted(rows.items()):
        parts = [samples[row] for row in own]
        answer = Answer(
            group=group,
            trajectory=trajectory,
            task=parts[0].task,
            reward=parts[0].reward,
            rows=tuple(own),
            length=int(sum(part.mask.sum() for part in parts)),
            text=tuple(sorted(part.ids.tobytes() for part in parts)),
        )
        found.setdefault(group, []).append(answer)
    return found


def side_by_side(answers: Sequence[Answer], out: Outputs, batch: Batch) -> Answers:
    """The answers' trained tokens, those of an answer's samples one after the other, padded on the right with 0."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def gathered(values_BT: Tensor) -> Tensor:
        # Selecting, unlike multiplying by the mask, keeps what stands outside of it out of the gradient too.
        tokens = [torch.cat([values_BT[row][batch.mask_BT[row]] for row in answer.rows]) for answer in answers]
        return pad_sequence(tokens, batch_first=True)

    logp_AN = gathered(out.logp_BT)
    length_A = torch.tensor([answer.length for answer in answers], device=logp_AN.device)
    worth_A = torch.tensor([answer.reward for answer in answers], dtype=logp_AN.dtype, device=logp_AN.device)
    return Answers(
        logp_AN=logp_AN,
        mask_AN=torch.arange(logp_AN.shape[1], device=logp_AN.device) < length_A[:, None],
        worth_A=worth_A,
        ref_logp_AN=None if batch.ref_logp_BT is None else gathered(batch.ref_logp_BT).to(logp_AN.dtype),
    )


def left_out(groups: int, reasons: Mapping[str, int]) -> dict[str, float]:
    """The share of a step's groups that nothing is learned from, in all and by reason."""
    shares = {f"left_out/{reason}": count / groups for reason, count in reasons.items()}
    return {"frac_groups_unusable": sum(reasons.values()) / groups} | shares
