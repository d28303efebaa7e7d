"""Algorithms, one page each, and their names. Nothing here knows where a name is read."""

from collections.abc import Mapping

from togi.algorithms.collect import Collect
from togi.algorithms.dapo import DAPO
from togi.algorithms.dr_grpo import DR_GRPO
from togi.algorithms.grpo import BASELINES, GRPO
from togi.algorithms.lite_ppo import LITE_PPO
from togi.algorithms.nash_md import NashMD
from togi.algorithms.policy_gradient import AVERAGES, ConstantLength, PolicyGradient
from togi.algorithms.reinforce import REINFORCE_PP_BASELINE, ReinforcePP
from togi.algorithms.rloo import RLOO
from togi.algorithms.sft import SFT
from togi.samplers import Revised
from togi.types import Algorithm

ALGORITHMS: Mapping[str, Algorithm] = {
    "sft": SFT(),
    "sft_revised": SFT(sampler=Revised()),
    "collect": Collect(),
    "grpo": GRPO(),
    "dr_grpo": DR_GRPO,
    "dapo": DAPO,
    "rloo": RLOO(),
    "reinforce_pp": ReinforcePP(),
    "reinforce_pp_baseline": REINFORCE_PP_BASELINE,
    "lite_ppo": LITE_PPO,
    "nash_md": NashMD(),
}
"""Every algorithm by name, with its paper's values; ``dataclasses.replace`` makes a variant."""

__all__ = [
    "ALGORITHMS",
    "AVERAGES",
    "BASELINES",
    "DAPO",
    "DR_GRPO",
    "GRPO",
    "LITE_PPO",
    "REINFORCE_PP_BASELINE",
    "RLOO",
    "SFT",
    "Collect",
    "ConstantLength",
    "NashMD",
    "PolicyGradient",
    "ReinforcePP",
]
