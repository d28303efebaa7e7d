"""Models that are taught by what they wrote themselves, found right, or that learn to think by themselves.

Sampling and learning are stages, and rounds of them are ``[[repeat]]`` in the recipe.
"""

from collections.abc import Mapping

from togi.algorithms.collect import Collect
from togi.algorithms.self_taught.quiet_star import QuietSTaR
from togi.algorithms.self_taught.v_star import VStar
from togi.protocols import Algorithm
from togi.samplers import Groups, Rationalised

STAR = Collect(sampler=Rationalised())
RFT = Collect(sampler=Groups(100))
REST_EM = Collect(sampler=Groups(32))

SELF_TAUGHT: Mapping[str, Algorithm] = {
    "star": STAR,
    "rft": RFT,
    "rest_em": REST_EM,
    "v_star": VStar(),
    "quiet_star": QuietSTaR(),
}
