"""V-STaR (https://arxiv.org/abs/2402.06457): what STaR throws away, its wrong answers, teaches a verifier.

All answers of all rounds, right and wrong, are pairs for DPO, whose reference is the last generator. The verifier ranks
the attempts at a task by how likely it finds them, and the likeliest is the answer. It is trained once, at the end.

Left out: drawing as many pairs of each task (``most`` of the data bounds its answers instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from togi.algorithms.preference.dpo import DPO
from togi.types import Trains


@dataclass(frozen=True, kw_only=True)
class VStar(DPO):
    """DPO on every pair of a right and a wrong answer to a task. The stage's model ranks answers, and is no policy."""

    pairs: Literal["ends", "all"] = "all"

    @property
    def trains(self) -> Trains:
        return "verifier"
