"""The rows behind a recipe's tasks, as they stood before they were asked, and where they are from. It asks no model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from togi.corpora.corpus import named_row, record_of
from togi.data import DataError, Generated, HubRows, Prompting, ReasoningGym, Rows, Source as TaskSource, load_tasks
from togi.data.errors import Diagnostics
from togi.data.lineage import Source
from togi.data.row_to_task import make_task, prompt_key
from togi.data.row_values import Row
from togi.data.sources import made_rows, numbered_rows
from togi.find_function import files_of
from togi.recipe.read_toml import Reading, read_recipe
from togi.recipe.schema import OneSourceTable, SourceTable
from togi.recipe.task_source import prompting_of, source_of
from togi.types import Task

Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class RecipeTasks:
    """Tasks of a recipe, and what they were loaded from."""

    source: Source
    tasks: Sequence[Task]


@dataclass(frozen=True, kw_only=True)
class RowsBehind:
    """The rows of a table of sources: by the name of their task, and where they are made by their question."""

    sources: tuple[Source, ...]
    by_id: Mapping[str, Row]
    by_question: Mapping[str, Row]

    def of(self, task: Task) -> Row:
        """The row of a task. Raises DataError for one whose source has no rows, such as a file of judgements."""
        row = self.by_id.get(task.id) or self.by_question.get(prompt_key(task))
        if row is None:
            raise DataError(f"task {task.id} comes from no row that could be written")
        return row


def recipe_tasks(recipe: Path, split: Split) -> RecipeTasks:
    """The tasks of a recipe's ``[data.test]`` or ``[data.train]``, in their own words. Raises ValueError."""
    reading = read_recipe(recipe)
    table = reading.recipe.data.test if split == "test" else reading.recipe.data.train
    if table is None:
        raise DataError(f"{recipe} holds no tasks out: it has no [data.test]")
    sources = list(_sources(table, reading.base))
    tasks = [task for _, source in sources for task in load_tasks(source, Prompting(), split=split)]
    sha = hashlib.sha256(json.dumps([asdict(task) for task in tasks], sort_keys=True).encode()).hexdigest()
    name = f"[data.{split}] of {recipe.name}"
    return RecipeTasks(source=Source(name=name, sha256=sha, rows=len(tasks)), tasks=tasks)


def table_of(reading: Reading, stage: str) -> SourceTable:
    """The table of sources that a stage asks: its own, or ``[data.train]``. Raises DataError for rollouts."""
    own = next((each.data for each in reading.recipe.stage if each.called == stage), None)
    if own is not None and own.rollouts is not None:
        asked = " and ".join(own.rollouts)
        raise DataError(f"stage {stage} asks what {asked} asked: name that stage with --stage")
    return own or reading.recipe.data.train


def reward_of(reading: Reading, stage: str) -> str:
    """What a stage pays for, as the recipe writes it."""
    own = next((each.reward for each in reading.recipe.stage if each.called == stage), None)
    paid = own or reading.recipe.reward
    return paid.score if paid else ""


def rows_behind(reading: Reading, table: SourceTable, tasks: Sequence[Task], split: Split = "train") -> RowsBehind:
    """The rows of ``tasks``, which the recipe loads from this table. Raises ValueError."""
    wanted = {prompt_key(task) for task in tasks}
    prompting = prompting_of(reading.recipe.prompt)
    by_id: dict[str, Row] = {}
    by_question: dict[str, Row] = {}
    records = []
    for prefix, source in _sources(table, reading.base):
        if isinstance(source, Rows | HubRows):
            problems = Diagnostics()
            rows = {number: named_row(row, source) for number, row in numbered_rows(source, split, problems)}
            problems.stop_if_any()
            by_id |= {f"{split}{prefix}:{number}": row for number, row in rows.items()}
            records.append(record_of(source, list(rows.values()), len(rows)))
            continue
        for row in made_rows(source):
            by_question.setdefault(prompt_key(make_task(row, "row", prompting)), row)
            if len(by_question) >= len(wanted) and wanted <= by_question.keys():
                break
        records.append(record_of_made(source))
    return RowsBehind(sources=tuple(records), by_id=by_id, by_question=by_question)


def record_of_made(source: ReasoningGym | Generated) -> Source:
    """What a lineage says of a source that makes its rows: its sha256 is that of the settings and the user's files."""
    if isinstance(source, Generated):
        place, _, function = source.function.rpartition(":")
        name = f"{Path(place).name}:{function}, seed {source.seed}"
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files_of(source.function)}
    else:
        name, files = f"reasoning-gym {source.name}, seed {source.seed}", dict[str, str]()
    told = json.dumps([asdict(source) | {"function": name}, files], sort_keys=True, default=str)
    return Source(name=name, sha256=hashlib.sha256(told.encode()).hexdigest(), rows=source.size)


def _sources(table: SourceTable, base: Path) -> Iterator[tuple[str, TaskSource]]:
    """Each source of a table, with what stands behind the split in the names of its tasks."""
    parts: Sequence[OneSourceTable] = table.sources or (table,)
    for number, part in enumerate(parts, start=1):
        yield f".{number}" if table.sources else "", source_of(part, base)
