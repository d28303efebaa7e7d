"""Judges: rewards that ask a model, here or at a server, and how easily they are fooled. See docs/judges.md."""

from togi.rewards.judge.leaves import Judge, judge, preference
from togi.rewards.judge.outage import JudgeOutage, JudgeWarning

__all__ = ["Judge", "JudgeOutage", "JudgeWarning", "judge", "preference"]
