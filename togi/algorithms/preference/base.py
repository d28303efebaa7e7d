"""What the preference pages share: who is compared with whom, averaging and metrics. Knows no loss and no sampler.

A preference is a difference in worth between answers to one task: recorded ones carry what people said, sampled ones
what a reward said. Every page runs on both; only its sampler tells. Axis legend: A answers, C comparisons, P pairs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from togi.advantages import FLAT
from togi.algorithms.policy_gradient.base import mean
from togi.algorithms.preference.compared_answers import Answer, Answers, answers, left_out, side_by_side
from togi.protocols import Algorithm, Sampler
from togi.samplers import Recorded
from togi.types import Batch, Loss, Mean, Memory, Need, Outputs, Sample, Unit

if TYPE_CHECKING:
    from torch import Tensor

Comparison = tuple[Answer, ...]
"""Answers to one task, from the best to the worst."""

REASONS = ("alone", "empty", "identical", "tie")


@dataclass(frozen=True, kw_only=True)
class Preference(Algorithm):
    """A loss on comparisons of answers to one task.

    Every task counts alike, and its comparisons share its weight. ``beta`` scales the reward that the loss holds an
    answer to have. ``nll`` times the negative log-likelihood of the chosen answer, its mean over tokens, is added.

    Tasks without a comparison are left out: those with one answer, with no two answers that are not empty, with
    answers that are all of equal worth, and with answers that are the same. Their share is counted by reason.
    """

    sampler: Sampler = field(default=Recorded())
    beta: float = 0.1
    nll: float = 0.0

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if self.nll < 0:
            raise ValueError(f"nll makes the chosen answers less likely when it is below 0, got {self.nll}")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"ref_logp"})

    @property
    def unit(self) -> Unit:
        return "group"

    @abstractmethod
    def compared(self, answers: Sequence[Answer]) -> list[Comparison]:
        """The comparisons between answers to one task that are not empty. Answers in no comparison change nothing."""

    @abstractmethod
    def losses(self, table: Answers, comparisons: Sequence[Sequence[int]]) -> Tensor:
        """Comparisons, as positions in the table -> the loss of each [C]."""

    def reward(self, answers: Answers) -> Tensor:
        """The reward that the policy implies, for the metrics [A]."""
        return self.beta * answers.log_ratio

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights; the advantage is only for reading: 1 for an answer that won all its comparisons, -1 for one that
        lost them. Raises ValueError when recorded answers leave nothing to compare in the whole step."""
        if not samples:
            return []
        groups = answers(samples)
        found = {number: self.compared([each for each in group if each.length]) for number, group in groups.items()}
        used = [comparisons for comparisons in found.values() if comparisons]
        reasons = dict.fromkeys(REASONS, 0)
        for number, comparisons in found.items():
            if not comparisons:
                reasons[reason(groups[number])] += 1
        memory.update(left_out(len(groups), reasons))
        if not used and any(sample.recorded for sample in samples):
            said = ", ".join(f"{count} {why}" for why, count in reasons.items() if count)
            raise ValueError(
                f"none of the step's {len(groups)} tasks has two different answers of different worth to compare "
                f"({said}): give the rows chosen and rejected, or several rated answers, or take more tasks a step"
            )
        weight: dict[tuple[int, int], float] = {}
        advantage: dict[tuple[int, int], float] = {}
        for comparisons in used:
            for comparison in comparisons:
                for place, answer in zip(np.linspace(1, -1, len(comparison)).tolist(), comparison, strict=True):
                    weight[answer.key] = 1 / (len(used) * len(comparisons))
                    advantage[answer.key] = advantage.get(answer.key, 0.0) + place / len(comparisons)
        return [
            replace(
                sample,
                weight=weight.get((sample.group, sample.trajectory), 0.0),
                advantage=(sample.mask * advantage.get((sample.group, sample.trajectory), 0.0)).astype(np.float32),
            )
            for sample in samples
        ]

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        import torch

        known = {
            number: [each for each in group if each.length and batch.samples[each.rows[0]].weight]
            for number, group in answers(batch.samples).items()
        }
        comparisons = [each for group in known.values() for each in self.compared(group)]
        if not comparisons:
            return Loss(value=torch.zeros((), device=out.logp_BT.device), metrics={})
        each = [answer for group in known.values() for answer in group]
        table, at = side_by_side(each, out, batch), {answer.key: i for i, answer in enumerate(each)}
        index = [[at[answer.key] for answer in comparison] for comparison in comparisons]
        chosen, rejected = table.take([places[0] for places in index]), table.take([places[-1] for places in index])
        loss_C, nll_C = self.losses(table, index), -chosen.mean
        if self.nll:
            loss_C = loss_C + self.nll * nll_C
        weight_C = batch.weight_B[[each[places[0]].rows[0] for places in index]]
        metrics = self._metrics(chosen, rejected) | (
            {"nll_loss": mean(nll_C, torch.ones_like(nll_C, dtype=torch.bool))} if self.nll else {}
        )
        return Loss(value=(loss_C * weight_C.to(loss_C)).sum(), metrics=metrics)

    def _metrics(self, chosen: Answers, rejected: Answers) -> dict[str, Mean]:
        """Of the best and the worst answer of each comparison, where it is known which is better; a margin of exactly
        0 is half right."""
        import torch

        known_C = chosen.worth_A - rejected.worth_A >= FLAT
        with torch.no_grad():
            chosen_C, rejected_C = self.reward(chosen), self.reward(rejected)
            margin_C = chosen_C - rejected_C
            return {
                "rewards/chosen": mean(chosen_C, known_C),
                "rewards/rejected": mean(rejected_C, known_C),
                "rewards/margins": mean(margin_C, known_C),
                "rewards/accuracies": mean((margin_C > 0) + 0.5 * (margin_C == 0), known_C),
                "logps/chosen": mean(chosen.logp, known_C),
                "logps/rejected": mean(rejected.logp, known_C),
            }


@dataclass(frozen=True, kw_only=True)
class Pairwise(Preference):
    """A loss on pairs.

    ``pairs`` says which pairs of a task with more than two answers: the best with the worst (``ends``), or all of
    different worth. With ``soft`` the worths of a pair are the probabilities that each is the better one, and the
    loss is the expected one under them; even ones are a label then, not a tie.
    """

    pairs: Literal["ends", "all"] = "ends"
    soft: bool = False

    @abstractmethod
    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        """Pairs -> the loss of each [P]."""

    def compared(self, answers: Sequence[Answer]) -> list[Comparison]:
        ranked = _ranked(answers)
        ends = [(ranked[0], ranked[-1])] if ranked else []
        pairs = [
            (chosen, rejected)
            for chosen, rejected in (ends if self.pairs == "ends" else combinations(ranked, 2))
            if (self.soft or chosen.reward - rejected.reward >= FLAT) and chosen.text != rejected.text
        ]
        if self.soft:
            for chosen, rejected in pairs:
                if rejected.reward < 0 or abs(chosen.reward + rejected.reward - 1) > FLAT:
                    raise ValueError(
                        f"task {chosen.task} has answers of worth {chosen.reward:g} and {rejected.reward:g}, but soft "
                        "labels are two chances that sum to 1: set soft = false, or give a judge's win probabilities"
                    )
        return list(pairs)

    def losses(self, table: Answers, comparisons: Sequence[Sequence[int]]) -> Tensor:
        chosen, rejected = (table.take([pair[side] for pair in comparisons]) for side in (0, 1))
        loss_P = self.pair_loss(chosen, rejected)
        if self.soft:
            loss_P = chosen.worth_A * loss_P + rejected.worth_A * self.pair_loss(rejected, chosen)
        return loss_P


@dataclass(frozen=True, kw_only=True)
class ReferenceFree(Pairwise):
    """A loss on pairs that reads no reference model."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def reward(self, answers: Answers) -> Tensor:
        return self.beta * answers.mean


@dataclass(frozen=True, kw_only=True)
class Listwise(Preference):
    """A loss on all answers to a task at once."""

    @abstractmethod
    def list_loss(self, answers: Answers) -> Tensor:
        """The answers to one task, from the best to the worst -> their loss []."""

    def compared(self, answers: Sequence[Answer]) -> list[Comparison]:
        ranked = _ranked(answers)
        if len({answer.text for answer in ranked}) < 2 or ranked[0].reward - ranked[-1].reward < FLAT:
            return []
        return [tuple(ranked)]

    def losses(self, table: Answers, comparisons: Sequence[Sequence[int]]) -> Tensor:
        import torch

        return torch.stack([self.list_loss(table.take(places)) for places in comparisons])


def _ranked(answers: Sequence[Answer]) -> list[Answer]:
    """From the best to the worst; of equal ones the earlier attempt first."""
    return sorted(answers, key=lambda answer: (-answer.reward, answer.trajectory))


def reason(group: Sequence[Answer]) -> str:
    """Why a task has nothing to compare."""
    written = [answer for answer in group if answer.length]
    rewards = [answer.reward for answer in written]
    if len(written) < 2:
        return "alone" if len(written) == len(group) else "empty"
    same = len({answer.text for answer in written}) == 1
    return "tie" if max(rewards) - min(rewards) < FLAT and not same else "identical"
