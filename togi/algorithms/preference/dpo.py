"""DPO (https://arxiv.org/abs/2305.18290) and what differs from it in a number.

The reward that a policy would be optimal for is beta times its log-ratio to the reference, so a reward model's loss
can be put on the policy itself: no reward model, no sampling. On answers that the policy has just written it is online
DPO (https://arxiv.org/abs/2402.04792).

Left out: syncing the reference to the policy while training (a stage of its own does that), and dropout. Only the
likelihood of chosen over rejected is held up: both may fall together. ``nll`` holds the chosen ones up; 1 is iterative
RPO (https://arxiv.org/abs/2404.19733), whose iterations are stages that collect and stages that learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.base import Pairwise
from togi.algorithms.preference.compared_answers import Answers
from togi.samplers import Groups

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DPO(Pairwise):
    """Logistic loss on the difference of log-ratios (equation 7).

    ``label_smoothing`` is how often a label is taken to be wrong (conservative DPO). ``per_token`` divides log-ratios
    by the answer's length, so that length alone earns nothing; beta is then some 50 times larger (Tülu 3,
    https://arxiv.org/abs/2411.15124).
    """

    label_smoothing: float = 0.0
    per_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing <= 0.5:
            raise ValueError(
                f"label_smoothing is the share of wrong labels, at least 0 and at most 0.5, got {self.label_smoothing}"
            )

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.dpo(self.ratio(chosen), self.ratio(rejected), beta=self.beta, label=1 - self.label_smoothing)

    def reward(self, answers: Answers) -> Tensor:
        return self.beta * self.ratio(answers)

    def ratio(self, answers: Answers) -> Tensor:
        """What is compared of an answer [A]."""
        return answers.mean_log_ratio if self.per_token else answers.log_ratio


CDPO = DPO(label_smoothing=0.1)
RPO = DPO(nll=1.0)
DPO_NORM = DPO(per_token=True, beta=5.0)
ONLINE_DPO = DPO(sampler=Groups(2))
