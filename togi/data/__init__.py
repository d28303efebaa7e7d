"""Rows to tasks: files, generators, splits and the order of training; it knows no token, no model and no reward."""

from togi.data.collected import Collected, load_collected
from togi.data.errors import DataError
from togi.data.load import Generated, ReasoningGym, Rows, Source, load_tasks
from togi.data.rows import Prompting
from togi.data.tasks import Tasks, TaskStream, disjoint, split, stream

__all__ = [
    "Collected",
    "DataError",
    "Generated",
    "Prompting",
    "ReasoningGym",
    "Rows",
    "Source",
    "TaskStream",
    "Tasks",
    "disjoint",
    "load_collected",
    "load_tasks",
    "split",
    "stream",
]
