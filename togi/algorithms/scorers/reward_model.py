"""Reward models: a scalar head that scores the answer people preferred higher.

Pairs by Bradley and Terry, as in InstructGPT (https://arxiv.org/abs/2203.02155, equation 1): all pairs of answers to
one prompt are learned in one forward pass, and their mean counts once, so that a prompt with nine ranked answers is
not learned 36 times. Margins as in Llama 2 (https://arxiv.org/abs/2307.09288, equation 2), centring as in
https://arxiv.org/abs/2312.09244, soft labels as in RLAIF (https://arxiv.org/abs/2309.00267). Or whole rankings by
Plackett and Luce (Plackett 1975; Luce 1959).

Left out: shifting the scores afterwards so that demonstrations score 0 on average (InstructGPT); centring holds them
near 0 while learning, and whoever is trained on the scores subtracts a baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from togi import batch as batching, losses
from togi.advantages import FLAT
from togi.algorithms.policy_gradient.base import mean
from togi.algorithms.preference.base import REASONS, reason
from togi.algorithms.preference.compared_answers import answers as answers_by_group, left_out
from togi.protocols import Algorithm, Sampler
from togi.samplers import Recorded
from togi.types import Batch, Heads, Loss, Mean, Memory, Output, Outputs, Sample, Trains, Unit

if TYPE_CHECKING:
    from torch import Tensor

_SUM_TO_ONE = 1e-6  # worths that were written as decimals


@dataclass(frozen=True, kw_only=True)
class RewardModel(Algorithm):
    """Scores answers so that the one with the higher worth scores higher; one score an answer, after its last token.

    ``ranking`` learns pairs, or the whole order of a prompt's answers. ``margin`` times the difference in worth is how
    far apart the scores of a pair shall be at least. ``centre`` times (r_w + r_l)² holds scores around 0, since
    a pair only says how far apart they are. With ``soft`` the worths of two answers are the chances that each is
    preferred, and the loss is the cross-entropy to them.

    Left out of the loss are pairs that say nothing: answers of equal worth (unless ``soft``, where 0.5 is a label),
    answers that are the same, and an answer alone.
    """

    sampler: Sampler = field(default=Recorded())
    ranking: Literal["pairs", "plackett_luce"] = "pairs"
    margin: float = 0.0
    centre: float = 0.01
    soft: bool = False

    def __post_init__(self) -> None:
        if self.margin < 0 or self.centre < 0:
            raise ValueError(f"margin and centre are 0 or more, got margin={self.margin}, centre={self.centre}")
        if self.soft and (self.margin or self.ranking != "pairs"):
            raise ValueError(
                "soft labels already say by how much an answer is preferred, and of two answers only: "
                'set margin = 0 and ranking = "pairs", or soft = false'
            )
        if self.margin and self.ranking != "pairs":
            raise ValueError('a margin is one between two answers: set ranking = "pairs", or margin = 0')

    @property
    def unit(self) -> Unit:
        return "group"

    @property
    def outputs(self) -> frozenset[Output]:
        return frozenset({"score"})

    @property
    def heads(self) -> Heads:
        return "shared"

    @property
    def trains(self) -> Trains:
        return "scorer"

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights only: prompts count alike, however many pairs they have.

        Raises ValueError when no prompt of recorded answers has a usable pair, or worths are no chances although
        ``soft``.
        """
        answers = batching.answers(samples)
        if self.soft:
            _check_chances(answers)
        pairs = self._pairs(answers)
        used = {answers[better].group for better, _ in pairs}
        if samples:
            memory.update(_explained(samples, used))
        if not used and any(sample.recorded for sample in samples):
            raise ValueError(
                f"none of the step's {len({s.group for s in samples})} tasks has two different answers of different "
                "worth to compare: give rows chosen and rejected, or several rated answers, or take more tasks a step"
            )
        compared = {index for pair in pairs for index in pair}
        return [replace(answers[index], weight=1 / len(used)) for index in sorted(compared)]

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        import torch

        assert out.score_B is not None
        score_B = out.score_B
        pairs = self._pairs(batch.samples)
        better_P, worse_P = torch.tensor(pairs, device=score_B.device).T
        worth_B, share_P = _floats([s.reward for s in batch.samples], score_B), _shares(batch.samples, pairs, score_B)
        chosen_P, rejected_P, gap_P = score_B[better_P], score_B[worse_P], worth_B[better_P] - worth_B[worse_P]
        weight_P = batch.weight_B.to(score_B)[better_P] * share_P
        if self.ranking == "pairs":
            loss_P = losses.bradley_terry(
                chosen_P,
                rejected_P,
                margin=self.margin * gap_P,
                centring=self.centre,
                label=worth_B[better_P] if self.soft else 1.0,
            )
            value = (loss_P * weight_P).sum()
        else:
            worse_BB = torch.zeros(len(score_B), len(score_B), dtype=torch.bool, device=score_B.device)
            worse_BB[better_P, worse_P] = True
            ranked_B = losses.plackett_luce_ties(score_B, worse_BB)
            centring_P = self.centre * (chosen_P + rejected_P) ** 2
            value = (ranked_B * batch.weight_B.to(score_B)).sum() + (centring_P * weight_P).sum()
        return Loss(value=value, metrics=_metrics(score_B, chosen_P, rejected_P, gap_P > 0))

    def _pairs(self, answers: Sequence[Sample]) -> list[tuple[int, int]]:
        """Indices of the pairs of different answers to one prompt, the better one first."""
        pairs = [pair for group in _by_group(answers) for pair in combinations(group, 2)]
        ordered = [sorted(pair, key=lambda index: -answers[index].reward) for pair in pairs]
        return [
            (better, worse)
            for better, worse in ordered
            if (self.soft or answers[better].reward - answers[worse].reward >= FLAT)
            and not np.array_equal(answers[better].ids, answers[worse].ids)
        ]


def _by_group(answers: Sequence[Sample]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, answer in enumerate(answers):
        groups.setdefault(answer.group, []).append(index)
    return list(groups.values())


def _check_chances(answers: Sequence[Sample]) -> None:
    """Refuse worths that are not the chances of two answers."""
    for group in _by_group(answers):
        worths, task = [answers[index].reward for index in group], answers[group[0]].task
        if len(group) > 2:
            raise ValueError(f"task {task} has {len(group)} answers, soft labels compare 2: set soft = false")
        if len(group) == 2 and (min(worths) < 0 or abs(sum(worths) - 1) > _SUM_TO_ONE):
            raise ValueError(
                f"task {task} has answers of worth {worths[0]:g} and {worths[1]:g}, but soft labels are two "
                "chances that sum to 1: set soft = false, or give a judge's win probabilities"
            )


def _shares(answers: Sequence[Sample], pairs: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """1 / the number of pairs of each pair's prompt [P]."""
    count = Counter(answers[better].group for better, _ in pairs)
    return _floats([1 / count[answers[better].group] for better, _ in pairs], like)


def _floats(values: Sequence[float], like: Tensor) -> Tensor:
    import torch

    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _explained(samples: Sequence[Sample], used: Set[int]) -> dict[str, float]:
    """The share of prompts that nothing is learned from, by reason."""
    groups = answers_by_group(samples)
    reasons = Counter(reason(group) for number, group in groups.items() if number not in used)
    return left_out(len(groups), {name: reasons[name] for name in REASONS})


def _metrics(score_B: Tensor, chosen_P: Tensor, rejected_P: Tensor, known_P: Tensor) -> dict[str, Mean]:
    """Means over pairs whose better answer is known, and over answers."""
    import torch

    margin_P = chosen_P - rejected_P
    right_P = (margin_P > 0) + 0.5 * (margin_P == 0)
    return {
        "rewards/accuracies": mean(right_P, known_P),
        "rewards/margins": mean(margin_P, known_P),
        "rewards/chosen": mean(chosen_P, known_P),
        "rewards/rejected": mean(rejected_P, known_P),
        "score": mean(score_B, torch.ones_like(score_B, dtype=torch.bool)),
    }
