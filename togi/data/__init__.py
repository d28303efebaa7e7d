"""Rows to tasks: files, generators, splits and the order of training; it knows no token, no model and no reward."""

from togi.data.earlier_rollouts import Collected, load_collected
from togi.data.errors import DataError
from togi.data.row_to_task import Prompting
from togi.data.sources import Generated, HubRows, ReasoningGym, Rows, Source, load_tasks
from togi.data.task_sets import Tasks, TaskStream, disjoint, mixed, split, stream, with_shuffled_answers

__all__ = [
    "Collected",
    "DataError",
    "Generated",
    "HubRows",
    "Prompting",
    "ReasoningGym",
    "Rows",
    "Source",
    "TaskStream",
    "Tasks",
    "disjoint",
    "load_collected",
    "load_tasks",
    "mixed",
    "split",
    "stream",
    "with_shuffled_answers",
]
