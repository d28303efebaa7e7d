"""Models that are taught by what they wrote themselves, found right, or that learn to think by themselves."""

from collections.abc import Mapping

from togi.algorithms.self_taught.quiet_star import QuietSTaR
from togi.protocols import Algorithm

SELF_TAUGHT: Mapping[str, Algorithm] = {"quiet_star": QuietSTaR()}
