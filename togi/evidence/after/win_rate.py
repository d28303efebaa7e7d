"""How often one model's answers score higher than another's on the same tasks. It plays nothing and draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.evaluation_summary import scores_by_task
from togi.statistics import Interval, bootstrap_mean, probability_of_improvement, wilson


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """The chance that an answer of ``winner`` scores higher than one of ``loser`` to the same task, ties half.

    The names state the question, not its outcome. ``ties`` is the share of pairs that score the same, ``left_out`` the
    number of tasks without a score on one side.
    """

    winner: str
    loser: str
    rate: Interval
    ties: float
    tasks: int
    left_out: int

    @property
    def verdict(self) -> str:
        """``wins``, ``loses`` or ``unclear`` (the interval includes one half)."""
        if self.rate.low > 0.5:
            return "wins"
        return "loses" if self.rate.high < 0.5 else "unclear"


def win_rate(winner: EvaluationRecord, loser: EvaluationRecord, *, seed: int = 0) -> WinRate:
    """Every attempt of one against every attempt of the other at each task, then the mean over tasks.

    The 95% interval is bootstrapped over tasks (Wilson's where one side wins every task). Refuses evaluations of
    different tasks or sampling, as ``compare`` does.
    """
    both = scores_by_task(loser, winner)
    rates = [probability_of_improvement(won, lost) for lost, won in both]
    ties = [sum(a == b for a in won for b in lost) / (len(won) * len(lost)) for lost, won in both]
    sure = set(rates) in ({0.0}, {1.0})
    rate = wilson(sum(rates), len(rates)) if sure else bootstrap_mean([[one] for one in rates], seed=seed)
    return WinRate(
        winner=winner["model"],
        loser=loser["model"],
        rate=rate,
        ties=sum(ties) / len(ties),
        tasks=len(both),
        left_out=len(loser["tasks"]) - len(both),
    )
