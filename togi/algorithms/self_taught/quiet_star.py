"""Quiet-STaR: a model learns from plain text to think before every token (https://arxiv.org/abs/2403.09629).

After every token several thoughts are drawn in parallel, each between a learned start and a learned end, which are no
tokens. What is said of the next tokens without and with a thought is mixed, log-probability by log-probability, with a
share that a small network reads from both (equation 1, renormalised). A thought is rewarded by how much more likely it
makes the true tokens ahead than the other thoughts at its place do (equation 4), and learned by REINFORCE.

Other than in the paper and its code: gains below 0 count, since leaving them out is biased (``positive_only``); the
gradient of thoughts has the weight that makes the whole that of the expected loss, instead of a factor found by trial;
thoughts are drawn and learned at temperature 1; the start and the end have a learning rate instead of a factor on their
gradients, which Adam would take out again.

Left out: stacking several thoughts before one token, and choosing where to think.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from togi import losses
from togi.algorithms.policy_gradient.base import mean
from togi.algorithms.sft import SFT
from togi.types import AfterThoughts, Batch, Loss, Mean, Output, Outputs, Sample, Thinking, Thoughts

PLACES = 16  # of a text whose thoughts are learned together at least
MOST_LENGTH, MOST_THOUGHTS, MOST_AHEAD = 256, 64, 64


@dataclass(frozen=True, kw_only=True)
class QuietSTaR(SFT):
    """``base`` times the negative log-likelihood of the text without thoughts, and ``mixed`` times that of the mixture.

    Before every token stand ``thoughts`` thoughts of ``length`` tokens. The mixture is asked for the next ``ahead``
    tokens after each, so that thoughts that help later tokens are seen (non-myopic); their sum is divided by ``ahead``.
    ``reinforce`` is the weight of the gradient by way of the thoughts: 1 is the gradient of the expected loss, 0 leaves
    how the model thinks as it is. ``random`` draws thoughts of any tokens with equal chances: a control, which thinks
    as long but not of anything. ``start`` and ``end`` are texts that the marks are first read like ("---" in the
    paper); without them, like the mean of all tokens.
    """

    thoughts: int = 2
    length: int = 12
    ahead: int = 4
    base: float = 0.5
    mixed: float = 0.5
    reinforce: float = 1.0
    positive_only: bool = False
    random: bool = False
    start: str = ""
    end: str = ""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("thoughts", 2, MOST_THOUGHTS),
            ("length", 1, MOST_LENGTH),
            ("ahead", 1, MOST_AHEAD),
        ):
            if not least <= getattr(self, name) <= most:
                why = ": a thought is compared with others at its place" if name == "thoughts" else ""
                raise ValueError(f"{name} is {getattr(self, name)}, wanted {least} to {most}{why}")
        if min(self.base, self.mixed, self.reinforce) < 0 or self.mixed == 0:
            raise ValueError(
                "base and reinforce are 0 or more and mixed is above 0, "
                f"got base={self.base}, mixed={self.mixed}, reinforce={self.reinforce}"
            )
        if self.random and self.reinforce:
            raise ValueError("random thoughts are not the model's own, which it could learn: set reinforce = 0")

    @property
    def outputs(self) -> frozenset[Output]:
        return frozenset({"logp", "after_thoughts"})

    @property
    def thinking(self) -> Thinking:
        return Thinking(length=self.length, random=self.random, start=self.start, end=self.end)

    @property
    def computed(self) -> int:
        """Tokens that are learned from for each token of a text: itself, its thoughts, and what is read after them."""
        return 1 + self.thoughts * (self.length + 1 + self.ahead)

    def prepare(self, samples: Sequence[Sample]) -> list[Sample]:
        """Each text as parts that share its tokens, with places to think at before some of its trained tokens each."""
        return [part for sample in samples for part in self._parts(sample)]

    def _parts(self, sample: Sample) -> list[Sample]:
        places = np.flatnonzero(sample.mask)
        places = places[places > 0]
        # How many trained tokens stand in a row from each on: a token that nobody is to learn ends what is asked.
        gaps = np.flatnonzero(~np.append(sample.mask, False))
        room = gaps[np.searchsorted(gaps, places)] - places
        parts = []
        for start in range(0, len(places), PLACES):
            at_N = places[start : start + PLACES]
            ahead_N = np.minimum(room[start : start + PLACES], self.ahead)
            thoughts = Thoughts(at_N=at_N, ahead_N=ahead_N, ids_NPL=np.zeros((len(at_N), self.thoughts, 0), np.int64))
            parts.append(replace(sample, mask=np.isin(np.arange(len(sample.ids)), at_N), thoughts=thoughts))
        return parts

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        said = out.after_thoughts
        assert said is not None
        plain = super().loss(out, batch)
        nll_BNP = losses.nll_ahead(said.logp_BNPA, said.known_BNA) / self.ahead
        gain_BNP = losses.thought_gain(-nll_BNP, positive_only=self.positive_only)
        by_thoughts_BN = losses.thought_reinforce(said.own_BNP, gain_BNP)
        place_BN = nll_BNP.mean(-1) + self.reinforce * by_thoughts_BN
        value = self.base * plain.value + self.mixed * (place_BN.sum(-1) * batch.weight_B.to(place_BN)).sum()
        return Loss(value=value, metrics=self._metrics(out, said, batch))

    def _metrics(self, out: Outputs, said: AfterThoughts, batch: Batch) -> dict[str, Mean]:
        known_BNA = said.known_BNA
        place_BN = known_BNA[..., 0]
        reward_BNP = -losses.nll_ahead(said.logp_BNPA, known_BNA).detach()
        share_BNA = said.weight_BNPA.detach().mean(2)
        return {
            "thoughts/nll_without": mean(-out.logp_BT.detach(), batch.mask_BT),
            "thoughts/nll_with": mean(-said.logp_BNPA.detach()[..., 0].mean(-1), place_BN),
            "thoughts/share": mean(share_BNA, known_BNA),
            "thoughts/spread": mean(reward_BNP.std(-1), place_BN),
            "thoughts/logp": mean(said.own_BNP.detach().mean(-1) / self.length, place_BN),
        }
