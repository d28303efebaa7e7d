"""Policy gradients: attempts are sampled, credited, and made more or less likely. ``base.py`` is shared."""

from collections.abc import Mapping

from togi.algorithms.policy_gradient.dapo import DAPO
from togi.algorithms.policy_gradient.dr_grpo import DR_GRPO
from togi.algorithms.policy_gradient.entropy_minimisation import EntropyMinimisation
from togi.algorithms.policy_gradient.gigpo import GiGPO
from togi.algorithms.policy_gradient.grpo import GRPO
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
from togi.algorithms.policy_gradient.verifree import VeriFree
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
}
