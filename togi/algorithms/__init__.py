"""Algorithms, one page each, in families, and their names. Nothing here knows where a name is read.

A page imports torch where it calculates, so that a recipe is checked without it.
"""

from collections.abc import Mapping
from typing import Any

from togi.algorithms.collect import Collect
from togi.algorithms.distillation import DISTILLATION
from togi.algorithms.distillation.gkd import GKD, KD, SKEWED_KL, SKEWED_REVERSE_KL
from togi.algorithms.distillation.on_policy_distillation import OnPolicyDistillation
from togi.algorithms.policy_gradient import POLICY_GRADIENT
from togi.algorithms.policy_gradient.averages import AVERAGES, ConstantLength
from togi.algorithms.policy_gradient.awr import AWR
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.cispo import CISPO
from togi.algorithms.policy_gradient.corrections import CORRECTIONS, Correction, Masked, Truncated
from togi.algorithms.policy_gradient.covariance import CLIP_COV, KL_COV
from togi.algorithms.policy_gradient.dapo import DAPO
from togi.algorithms.policy_gradient.decoupled_ppo import DECOUPLED_PPO
from togi.algorithms.policy_gradient.dppo import DPPO
from togi.algorithms.policy_gradient.dr_grpo import DR_GRPO
from togi.algorithms.policy_gradient.entropy_minimisation import EntropyMinimisation
from togi.algorithms.policy_gradient.gdpo import GDPO
from togi.algorithms.policy_gradient.gigpo import GiGPO
from togi.algorithms.policy_gradient.gmpo import GMPO
from togi.algorithms.policy_gradient.grpo import BASELINES, GRPO
from togi.algorithms.policy_gradient.gspo import GSPO, LUSPO
from togi.algorithms.policy_gradient.high_entropy_tokens import HIGH_ENTROPY_TOKENS
from togi.algorithms.policy_gradient.lite_ppo import LITE_PPO
from togi.algorithms.policy_gradient.luffy import LUFFY
from togi.algorithms.policy_gradient.m2po import M2PO
from togi.algorithms.policy_gradient.maxrl import MAXRL
from togi.algorithms.policy_gradient.mirror_descent import MIRROR_DESCENT
from togi.algorithms.policy_gradient.mt_grpo import MTGRPO
from togi.algorithms.policy_gradient.nash_md import NashMD
from togi.algorithms.policy_gradient.opo import OPO
from togi.algorithms.policy_gradient.pass_at_k import PASS_AT_K_TRAINING, PassAtK
from togi.algorithms.policy_gradient.ppo import PPO, REINFORCE_BASELINE
from togi.algorithms.policy_gradient.prime import PRIME
from togi.algorithms.policy_gradient.rae import RAE
from togi.algorithms.policy_gradient.reinforce import REINFORCE_PP_BASELINE, ReinforcePP
from togi.algorithms.policy_gradient.remax import ReMax
from togi.algorithms.policy_gradient.rloo import RLOO
from togi.algorithms.policy_gradient.rlpr import RLPR
from togi.algorithms.policy_gradient.sapo import SAPO
from togi.algorithms.policy_gradient.spo import SPO, SPO_TREE
from togi.algorithms.policy_gradient.surrogates import SURROGATES, PPOClip, SequenceClip, Surrogate
from togi.algorithms.policy_gradient.token_choices import TOKEN_CHOICES, TokenChoice
from togi.algorithms.policy_gradient.topr import TOPR
from togi.algorithms.policy_gradient.tree_po import TreePO
from togi.algorithms.policy_gradient.tree_rl import TreeRL
from togi.algorithms.policy_gradient.vanilla_pg import VANILLA_PG
from togi.algorithms.policy_gradient.verifree import VeriFree
from togi.algorithms.policy_gradient.vespo import VESPO
from togi.algorithms.policy_gradient.vine_ppo import VinePPO
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
from togi.algorithms.self_taught import REST_EM, RFT, SELF_TAUGHT, STAR
from togi.algorithms.self_taught.quiet_star import QuietSTaR
from togi.algorithms.self_taught.v_star import VStar
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
    **SELF_TAUGHT,
    **DISTILLATION,
}
"""Every algorithm by name, with its paper's values; ``dataclasses.replace`` makes a variant."""

PARTS: Mapping[str, Mapping[str, Any]] = {
    "surrogate": SURROGATES,
    "correction": CORRECTIONS,
    "tokens": TOKEN_CHOICES,
}
"""What algorithms are made of besides their samplers, by field and name; the fields of a part are settings."""

__all__ = [
    "ALGORITHMS",
    "AVERAGES",
    "AWR",
    "BASELINES",
    "BCO",
    "CDPO",
    "CISPO",
    "CLIP_COV",
    "CPO",
    "DAPO",
    "DECOUPLED_PPO",
    "DPO",
    "DPOP",
    "DPO_NORM",
    "DPPO",
    "DR_GRPO",
    "EXO",
    "FDPO",
    "GDPO",
    "GKD",
    "GMPO",
    "GRPO",
    "GSPO",
    "HIGH_ENTROPY_TOKENS",
    "IPO",
    "IPO_SUM",
    "KD",
    "KL_COV",
    "KTO",
    "LDDPO",
    "LITE_PPO",
    "LUFFY",
    "LUSPO",
    "M2PO",
    "MAXRL",
    "MIRROR_DESCENT",
    "MTGRPO",
    "NCA",
    "ONLINE_DPO",
    "OPO",
    "ORPO",
    "PARTS",
    "PASS_AT_K_TRAINING",
    "PLDPO",
    "PPO",
    "PRIME",
    "RAE",
    "REINFORCE_BASELINE",
    "REINFORCE_PP_BASELINE",
    "REST_EM",
    "RFT",
    "RLOO",
    "RLPR",
    "RPO",
    "RSO",
    "SAPO",
    "SFT",
    "SKEWED_KL",
    "SKEWED_REVERSE_KL",
    "SPO",
    "SPO_TREE",
    "SPPO",
    "STAR",
    "TOPR",
    "VANILLA_PG",
    "VESPO",
    "APODown",
    "APOZero",
    "Collect",
    "ConstantLength",
    "Correction",
    "EXOReward",
    "EntropyMinimisation",
    "GenRM",
    "GiGPO",
    "InfoNCA",
    "Listwise",
    "Masked",
    "NashMD",
    "OnPolicyDistillation",
    "PPOClip",
    "Pairwise",
    "PassAtK",
    "PolicyGradient",
    "Preference",
    "ProcessRewardModel",
    "QuietSTaR",
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
    "TokenChoice",
    "TreePO",
    "TreeRL",
    "Truncated",
    "VStar",
    "VeriFree",
    "VinePPO",
]
