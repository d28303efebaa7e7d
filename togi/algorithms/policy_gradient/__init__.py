"""Policy gradients: attempts are sampled, credited, and made more or less likely. ``base.py`` is shared."""

from collections.abc import Mapping

from togi.algorithms.policy_gradient.awr import AWR
from togi.algorithms.policy_gradient.cispo import CISPO
from togi.algorithms.policy_gradient.covariance import CLIP_COV, KL_COV
from togi.algorithms.policy_gradient.dapo import DAPO
from togi.algorithms.policy_gradient.decoupled_ppo import DECOUPLED_PPO
from togi.algorithms.policy_gradient.dppo import DPPO
from togi.algorithms.policy_gradient.dr_grpo import DR_GRPO
from togi.algorithms.policy_gradient.entropy_minimisation import EntropyMinimisation
from togi.algorithms.policy_gradient.gdpo import GDPO
from togi.algorithms.policy_gradient.gigpo import GiGPO
from togi.algorithms.policy_gradient.gmpo import GMPO
from togi.algorithms.policy_gradient.grpo import GRPO
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
from togi.algorithms.policy_gradient.topr import TOPR
from togi.algorithms.policy_gradient.tree_po import TreePO
from togi.algorithms.policy_gradient.tree_rl import TreeRL
from togi.algorithms.policy_gradient.vanilla_pg import VANILLA_PG
from togi.algorithms.policy_gradient.verifree import VeriFree
from togi.algorithms.policy_gradient.vespo import VESPO
from togi.algorithms.policy_gradient.vine_ppo import VinePPO
from togi.protocols import Algorithm

POLICY_GRADIENT: Mapping[str, Algorithm] = {
    "grpo": GRPO(),
    "dr_grpo": DR_GRPO,
    "dapo": DAPO,
    "rloo": RLOO(),
    "reinforce_pp": ReinforcePP(),
    "reinforce_pp_baseline": REINFORCE_PP_BASELINE,
    "lite_ppo": LITE_PPO,
    "gigpo": GiGPO(),
    "mt_grpo": MTGRPO(),
    "rae": RAE(),
    "treerl": TreeRL(),
    "treepo": TreePO(),
    "vineppo": VinePPO(),
    "spo": SPO(),
    "spo_tree": SPO_TREE,
    "pass_at_k": PassAtK(),
    "pass_at_k_training": PASS_AT_K_TRAINING,
    "rlpr": RLPR(),
    "verifree": VeriFree(),
    "entropy_minimisation": EntropyMinimisation(),
    "ppo": PPO(),
    "prime": PRIME(),
    "reinforce_baseline": REINFORCE_BASELINE,
    "remax": ReMax(),
    "nash_md": NashMD(),
    "vanilla_pg": VANILLA_PG,
    "gspo": GSPO,
    "luspo": LUSPO,
    "cispo": CISPO,
    "sapo": SAPO,
    "gmpo": GMPO,
    "topr": TOPR,
    "vespo": VESPO,
    "dppo": DPPO,
    "decoupled_ppo": DECOUPLED_PPO,
    "awr": AWR,
    "mirror_descent": MIRROR_DESCENT,
    "m2po": M2PO,
    "luffy": LUFFY,
    "opo": OPO(),
    "maxrl": MAXRL,
    "gdpo": GDPO(),
    "clip_cov": CLIP_COV,
    "kl_cov": KL_COV,
    "high_entropy_tokens": HIGH_ENTROPY_TOKENS,
}
