"""The losses by name."""

from .distillation import (
    forward_kl as forward_kl,
    jsd as jsd,
    reverse_kl as reverse_kl,
    skewed_forward_kl as skewed_forward_kl,
    skewed_reverse_kl as skewed_reverse_kl,
)
from .off_policy import (
    drawn_weight as drawn_weight,
    still_near as still_near,
    within as within,
)
from .policy import (
    LOG_LIMIT as LOG_LIMIT,
    awr as awr,
    cispo as cispo,
    clip_fraction as clip_fraction,
    dppo_tv as dppo_tv,
    dual_clip as dual_clip,
    entropy_from_logits as entropy_from_logits,
    importance as importance,
    k1 as k1,
    k2 as k2,
    k3 as k3,
    kl as kl,
    left_by_probability as left_by_probability,
    nll as nll,
    policy_gradient as policy_gradient,
    ppo_clip as ppo_clip,
    ratio as ratio,
    sapo as sapo,
    shaped_imitation as shaped_imitation,
    value_clip as value_clip,
    weighted_sum as weighted_sum,
)
from .preference import (
    apo_down as apo_down,
    apo_zero as apo_zero,
    bco as bco,
    cpo as cpo,
    dpo as dpo,
    dpop as dpop,
    exo as exo,
    exo_rewards as exo_rewards,
    f_dpo as f_dpo,
    infonca as infonca,
    ipo as ipo,
    kto as kto,
    length_desensitised as length_desensitised,
    log_odds_ratio as log_odds_ratio,
    nca as nca,
    orpo as orpo,
    robust_dpo as robust_dpo,
    rso as rso,
    simpo as simpo,
    slic as slic,
    sppo as sppo,
)
from .reward_model import (
    binary as binary,
    bradley_terry as bradley_terry,
    plackett_luce as plackett_luce,
    plackett_luce_ties as plackett_luce_ties,
)
from .sequence import (
    geometric_ratio as geometric_ratio,
    gmpo as gmpo,
    gspo as gspo,
    log_ratio as log_ratio,
    mirror_descent as mirror_descent,
    sequence_ratio_clip as sequence_ratio_clip,
    topr as topr,
    vespo as vespo,
)
from .thoughts import (
    nll_ahead as nll_ahead,
    thought_gain as thought_gain,
    thought_reinforce as thought_reinforce,
)
