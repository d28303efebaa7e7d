"""Samplers: who is sampled. They know tasks and a Play, and nothing of models, tokens or credit."""

from togi.samplers.dynamic import Dynamic
from togi.samplers.greedy import WithGreedy
from togi.samplers.group import Groups, Recorded
from togi.samplers.opponent import Against
from togi.samplers.reasoning_steps import StepLabels, Stepwise
from togi.samplers.rejection import Rejection
from togi.samplers.revised import Revised
from togi.samplers.with_reference_answer import Referenced

__all__ = [
    "Against",
    "Dynamic",
    "Groups",
    "Recorded",
    "Referenced",
    "Rejection",
    "Revised",
    "StepLabels",
    "Stepwise",
    "WithGreedy",
]
