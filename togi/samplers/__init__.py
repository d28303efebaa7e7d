"""Samplers: who is sampled. They know tasks and a Play, and nothing of models, tokens or credit.

``task_order.py`` says which tasks they are given, ``replay.py`` what is learned from once more beside what they give.
``ahead.py`` calls them for one group at a time while others are learned from, and ``baton.py`` says whose turn it is.
"""

from collections.abc import Mapping

from togi.samplers.budgeted import Budgeted
from togi.samplers.dynamic import Dynamic
from togi.samplers.entropy_tree import EntropyTree
from togi.samplers.greedy import WithGreedy
from togi.samplers.group import Groups, Recorded
from togi.samplers.opponent import Against
from togi.samplers.rationalised import Rationalised
from togi.samplers.reasoning_steps import StepLabels, Stepwise
from togi.samplers.rejection import Rejection
from togi.samplers.replay import Replay
from togi.samplers.revised import Revised
from togi.samplers.segment_tree import LevelTree, SegmentTree
from togi.samplers.students_share import StudentsShare
from togi.samplers.task_order import Order
from togi.samplers.valued_steps import Valued, ValuedSegments, ValuedSteps
from togi.samplers.with_reference_answer import Referenced

PLAIN: Mapping[str, type[Groups] | type[Dynamic] | type[Budgeted]] = {
    "groups": Groups,
    "dynamic": Dynamic,
    "budgeted": Budgeted,
}
"""Samplers of attempts alike, by the names that recipes call them: one can stand for another."""

__all__ = [
    "PLAIN",
    "Against",
    "Budgeted",
    "Dynamic",
    "EntropyTree",
    "Groups",
    "LevelTree",
    "Order",
    "Rationalised",
    "Recorded",
    "Referenced",
    "Rejection",
    "Replay",
    "Revised",
    "SegmentTree",
    "StepLabels",
    "Stepwise",
    "StudentsShare",
    "Valued",
    "ValuedSegments",
    "ValuedSteps",
    "WithGreedy",
]
