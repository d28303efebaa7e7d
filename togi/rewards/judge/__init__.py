"""Judges: rewards that ask a model, here or at a server, and how easily they are fooled. See docs/judges.md."""

from togi.rewards.judge.base import Judge
from togi.rewards.judge.genrm import genrm
from togi.rewards.judge.grade import judge
from togi.rewards.judge.outage import JudgeOutage, judge_warnings_to
from togi.rewards.judge.preference import preference
from togi.rewards.judge.rubric import rubric

__all__ = ["Judge", "JudgeOutage", "genrm", "judge", "judge_warnings_to", "preference", "rubric"]
