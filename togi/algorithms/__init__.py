"""Algorithms, one page each, in families, and their names. Nothing here knows where a name is read.

A page imports torch where it calculates, so that a recipe is checked without it.
"""

from collections.abc import Mapping
from typing import Any

from togi.algorithms.collect import Collect
from togi.algorithms.policy_gradient import POLICY_GRADIENT
from togi.algorithms.policy_gradient.base import AVERAGES, ConstantLength, PolicyGradient
from togi.algorithms.policy_gradient.dapo import DAPO
from togi.algorithms.policy_gradient.dr_grpo import DR_GRPO
from togi.algorithms.policy_gradient.entropy_minimisation import EntropyMinimisation
from togi.algorithms.policy_gradient.gigpo import GiGPO
from togi.algorithms.policy_gradient.grpo import BASELINES, GRPO
from togi.algorithms.policy_gradient.lite_ppo import LITE_PPO
from togi.algorithms.policy_gradient.mt_grpo import MTGRPO
from togi.algorithms.policy_gradient.nash_md import NashMD
from togi.algorithms.policy_gradient.pass_at_k import PASS_AT_K_TRAINING, PassAtK
from togi.algorithms.policy_gradient.ppo import PPO, REINFORCE_BASELINE
from togi.algorithms.policy_gradient.prime import PRIME
from togi.algorithms.policy_gradient.rae import RAE
from togi.algorithms.policy_gradient.reinforce import REINFORCE_PP_BASELINE, ReinforcePP
from togi.algorithms.policy_gradient.remax import ReMax
from togi.algorithms.policy_gradient.rloo import RLOO
from togi.algorithms.policy_gradient.rlpr import RLPR
from togi.algorithms.policy_gradient.surrogates import SURROGATES, PPOClip, SequenceClip, Surrogate
from togi.algorithms.policy_gradient.verifree import VeriFree
from togi.algorithms.preference import PREFERENCE
from togi.algorithms.preference.base import Listwise, Pairwise, Preference, ReferenceFree
from togi.algorithms.preference.bco import BCO
from togi.algorithms.preference.dpo import CDPO, DPO, DPO_NORM, ONLINE_DPO, RPO
from togi.algorithms.preference.dpo_variants import DPOP, FDPO, LDDPO, APODown, APOZero, RobustDPO
from togi.algorithms.preference.exo import EXO, EXOReward
from togi.algorithms.preference.ipo import IPO, IPO_SUM
from togi.algorithms.preference.kto import KTO
from togi.algorithms.preference.nca import NCA, PLDPO, InfoNCA
from togi.algorithms.preference.reference_free import CPO, ORPO, SimPO, SLiC
from togi.algorithms.preference.rso import RSO
from togi.algorithms.preference.single_answers import Single
from togi.algorithms.preference.sppo import SPPO
from togi.algorithms.scorers import SCORERS
from togi.algorithms.scorers.genrm import GenRM
from togi.algorithms.scorers.process_reward_model import ProcessRewardModel
from togi.algorithms.scorers.reward_model import RewardModel
from togi.algorithms.sft import SFT
from togi.protocols import Algorithm
from togi.samplers import Revised, StepLabels

ALGORITHMS: Mapping[str, Algorithm] = {
    "sft": SFT(),
    "sft_revised": SFT(sampler=Revised()),
    "collect": Collect(),
    "collect_revised": Collect(sampler=Revised()),
    "step_labels": Collect(sampler=StepLabels()),
    **POLICY_GRADIENT,
    **SCORERS,
    **PREFERENCE,
}
"""Every algorithm by name, with its paper's values; ``dataclasses.replace`` makes a variant."""

PARTS: Mapping[str, Mapping[str, Any]] = {"surrogate": SURROGATES}
"""What algorithms are made of besides their samplers, by field and name; the fields of a part are settings."""

__all__ = [
    "ALGORITHMS",
    "AVERAGES",
    "BASELINES",
    "BCO",
    "CDPO",
    "CPO",
    "DAPO",
    "DPO",
    "DPOP",
    "DPO_NORM",
    "DR_GRPO",
    "EXO",
    "FDPO",
    "GRPO",
    "IPO",
    "IPO_SUM",
    "KTO",
    "LDDPO",
    "LITE_PPO",
    "MTGRPO",
    "NCA",
    "ONLINE_DPO",
    "ORPO",
    "PARTS",
    "PASS_AT_K_TRAINING",
    "PLDPO",
    "PPO",
    "PRIME",
    "RAE",
    "REINFORCE_BASELINE",
    "REINFORCE_PP_BASELINE",
    "RLOO",
    "RLPR",
    "RPO",
    "RSO",
    "SFT",
    "SPPO",
    "APODown",
    "APOZero",
    "Collect",
    "ConstantLength",
    "EXOReward",
    "EntropyMinimisation",
    "GenRM",
    "GiGPO",
    "InfoNCA",
    "Listwise",
    "NashMD",
    "PPOClip",
    "Pairwise",
    "PassAtK",
    "PolicyGradient",
    "Preference",
    "ProcessRewardModel",
    "ReMax",
    "ReferenceFree",
    "ReinforcePP",
    "RewardModel",
    "RobustDPO",
    "SLiC",
    "SequenceClip",
    "SimPO",
    "Single",
    "Surrogate",
    "VeriFree",
]
