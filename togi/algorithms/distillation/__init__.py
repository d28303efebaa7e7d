"""Learning from a larger model, the teacher, which reads the same tokens: what it says of answers, token by token.

A teacher with another tokenizer is learned from by its answers as text, which ``collect`` writes and ``sft`` learns.
"""

from collections.abc import Mapping

from togi.algorithms.distillation.gkd import GKD, KD, SKEWED_KL, SKEWED_REVERSE_KL
from togi.algorithms.distillation.on_policy_distillation import OnPolicyDistillation
from togi.protocols import Algorithm

DISTILLATION: Mapping[str, Algorithm] = {
    "on_policy_distillation": OnPolicyDistillation(),
    "gkd": GKD(),
    "kd": KD,
    "skewed_kl": SKEWED_KL,
    "skewed_reverse_kl": SKEWED_REVERSE_KL,
}
