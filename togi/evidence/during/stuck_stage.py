"""Stops a stage that cannot learn: its reward gives no scores, or always the same one, or its policy is lost.

It knows no model, no file and no algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence

from togi.evidence.during import Alarm
from togi.types import CUT, Sample, Score, Stop

UNSCORED = 3  # steps in a row without any score that are a fault of the reward, and not an accident
ALIKE = 10  # steps from a stage's start without any signal that are enough to doubt the reward or the task


class Standstill(ValueError):
    """Nothing is learned, and nothing is wrong with the run: it can be resumed."""


WHAT_TO_TRY = {
    "lost reward": "Steps that are too large are the usual cause: try a tenth of the learning_rate",
    "no entropy": "Try a tenth of the learning_rate, or a price on moving away from the start (kl in settings)",
    "endless repetition": "Try a tenth of the learning_rate; where the reward rose, it pays for such answers: mend it",
    "empty answers": "Try a tenth of the learning_rate; where the reward rose, it pays for such answers: mend it",
    "noise": "Try a tenth of the learning_rate, and no entropy_bonus",
}
"""By the signal that told of a collapse."""


def stop_if_collapsed(alarms: Sequence[Alarm]) -> None:
    """Raises Standstill when an alarm of this step says that the policy is lost."""
    lost = [alarm for alarm in alarms if alarm.collapse]
    if lost:
        seen = " ".join(alarm.text for alarm in lost)
        raise Standstill(
            f"{lost[0].stage} has collapsed at step {lost[0].step}. {seen} {WHAT_TO_TRY[lost[0].signal]}, in a new run "
            "folder. If you want to go on with this policy all the same, the same command does; with stop_on_collapse "
            "= false a stage never stops for this"
        )


def why_unscored(scores: Sequence[Score]) -> str | None:
    """What the first failed score says when none could be given, else None. A reward that abstains has not failed."""
    failed = [score for score in scores if score.status not in ("ok", "abstain")]
    if not failed or any(score.status == "ok" for score in scores):
        return None
    return f"{failed[0].status}: {failed[0].note}" if failed[0].note else failed[0].status


class RewardCheck:
    """Whether the reward of a stage of ``steps`` steps teaches anything; ``taught`` when that is known beforehand."""

    def __init__(self, stage: str, steps: int, *, taught: bool) -> None:
        self.taught = taught
        self._stage, self._steps, self._step = stage, steps, 0
        self._unscored = 0  # steps in a row
        self._cut = self._ended = False  # whether attempts that could have taught something were, and were not

    @property
    def why(self) -> str:
        """Why nothing was learned, and what to do about it."""
        if self._cut and not self._ended:
            return (
                "every attempt that could have taught something was cut before its end. Raise max_tokens, or turns and "
                "tokens of [env], or ask for shorter answers"
            )
        return (
            "no two attempts at a task were paid differently. See togi preview whether the reward tells good answers "
            "from bad ones, and togi doctor whether the task is too hard"
        )

    def look(self, scores: Sequence[Score], samples: Sequence[Sample], stops: Sequence[Stop]) -> None:
        """All scores of one step with how each attempt stopped, and its samples after credit. Raises Standstill."""
        self._step += 1
        telling = [s for s in samples if s.advantage is None or bool(s.advantage.any())]
        self.taught = self.taught or any(s.weight for s in telling)
        cut = [stop in CUT for stop in ([s.stop for s in telling] or stops)]
        self._cut, self._ended = self._cut or any(cut), self._ended or not all(cut)
        why = why_unscored(scores)
        self._unscored = self._unscored + 1 if why else 0
        if self._unscored >= min(UNSCORED, self._steps):
            raise Standstill(
                f"{self._stage}: no attempt of {self._unscored} steps in a row could be scored ({why}). Mend the "
                "reward or the rows, with togi preview; the run can go on from here"
            )
        if self._step == ALIKE and not self.taught:
            raise Standstill(
                f"{self._stage}: {ALIKE} steps have passed, and nothing was learned: {self.why}; the same command goes "
                "on from here"
            )
