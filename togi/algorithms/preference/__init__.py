"""Learning from which answers are better: pairs, rankings, and single answers found good or bad. A page each.

``base.py`` is what pages on pairs and rankings share, ``single_answers.py`` what pages on single answers share.
"""

from collections.abc import Mapping

from togi.algorithms.preference.bco import BCO
from togi.algorithms.preference.dpo import CDPO, DPO, DPO_NORM, ONLINE_DPO, RPO
from togi.algorithms.preference.dpo_variants import DPOP, FDPO, LDDPO, APODown, APOZero, RobustDPO
from togi.algorithms.preference.exo import EXO, EXOReward
from togi.algorithms.preference.ipo import IPO, IPO_SUM
from togi.algorithms.preference.kto import KTO
from togi.algorithms.preference.nca import NCA, PLDPO, InfoNCA
from togi.algorithms.preference.reference_free import CPO, ORPO, SimPO, SLiC
from togi.algorithms.preference.rso import RSO
from togi.algorithms.preference.sppo import SPPO
from togi.protocols import Algorithm

PREFERENCE: Mapping[str, Algorithm] = {
    "dpo": DPO(),
    "cdpo": CDPO,
    "robust_dpo": RobustDPO(),
    "rpo": RPO,
    "dpo_norm": DPO_NORM,
    "ld_dpo": LDDPO(),
    "online_dpo": ONLINE_DPO,
    "ipo": IPO(),
    "ipo_sum": IPO_SUM,
    "f_dpo": FDPO(),
    "dpop": DPOP(),
    "apo_zero": APOZero(),
    "apo_down": APODown(),
    "exo": EXO(),
    "exo_reward": EXOReward(),
    "infonca": InfoNCA(),
    "nca": NCA(),
    "pl_dpo": PLDPO(),
    "sppo": SPPO(),
    "rso": RSO(),
    "slic": SLiC(),
    "orpo": ORPO(),
    "simpo": SimPO(),
    "cpo": CPO(),
    "kto": KTO(),
    "bco": BCO(),
}
