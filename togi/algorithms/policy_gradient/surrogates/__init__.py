"""Surrogates: how the policy now, the one before and advantages become a loss of each token.

A surrogate is a part of an algorithm, as its sampler is: any credit goes with any surrogate that does not refuse it.
``surrogate.py`` says what one is, ``of_tokens.py`` and ``of_sequences.py`` have them by what their ratio is of, and
``SURROGATES`` has their names. Torch is imported where it calculates.
"""

from collections.abc import Mapping

from togi.algorithms.policy_gradient.surrogates.of_sequences import (
    GMPOClip,
    GSPOClip,
    MirrorDescent,
    SequenceClip,
    TOPRTaper,
    VESPOWeight,
)
from togi.algorithms.policy_gradient.surrogates.of_tokens import (
    AWRWeight,
    CISPOWeight,
    DPPOMask,
    Importance,
    Likelihood,
    MixedPolicy,
    PPOClip,
    SAPOGate,
)
from togi.algorithms.policy_gradient.surrogates.surrogate import Surrogate

SURROGATES: Mapping[str, Surrogate] = {
    "likelihood": Likelihood(),
    "importance": Importance(),
    "ppo_clip": PPOClip(),
    "sequence_clip": SequenceClip(),
    "gspo": GSPOClip(),
    "gmpo": GMPOClip(),
    "cispo": CISPOWeight(),
    "sapo": SAPOGate(),
    "topr": TOPRTaper(),
    "vespo": VESPOWeight(),
    "dppo": DPPOMask(),
    "awr": AWRWeight(),
    "mirror_descent": MirrorDescent(),
    "mixed_policy": MixedPolicy(),
}
"""Surrogates by name, each of a class of its own."""

__all__ = [
    "SURROGATES",
    "AWRWeight",
    "CISPOWeight",
    "DPPOMask",
    "GMPOClip",
    "GSPOClip",
    "Importance",
    "Likelihood",
    "MirrorDescent",
    "MixedPolicy",
    "PPOClip",
    "SAPOGate",
    "SequenceClip",
    "Surrogate",
    "TOPRTaper",
    "VESPOWeight",
]
