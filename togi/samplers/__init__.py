"""Samplers: who is sampled. They know tasks and a Play, and nothing of models, tokens or credit."""

from togi.samplers.dynamic import Dynamic
from togi.samplers.greedy import WithGreedy
from togi.samplers.group import Groups, Recorded
from togi.samplers.nash import Against
from togi.samplers.referenced import Referenced
from togi.samplers.rejection import Rejection
from togi.samplers.revised import Revised
from togi.samplers.steps import StepLabels, Stepwise

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
