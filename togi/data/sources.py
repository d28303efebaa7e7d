"""Sources of tasks, and how each becomes tasks; it does not know what a task is used for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.data.answer_worth import PAIR_COLUMNS, is_thumb, refuse_one_class
from togi.data.columns import COLUMNS, under_our_names
from togi.data.errors import DataError, Diagnostics, RowError, RowSkipped
from togi.data.judgement_file import holds_judgements, read_judgements
from togi.data.judgement_tasks import Combine, tasks_from_judgements
from togi.data.lineage import find_lineage
from togi.data.reasoning_gym_rows import gym_rows
from togi.data.row_files import read_rows
from togi.data.row_tables import hub_rows
from togi.data.row_to_task import Learned, Prompting, make_task, prompt_key
from togi.data.row_values import Row, plain
from togi.data.task_sets import MadeRows, Tasks
from togi.find_function import resolve
from togi.types import Task

DRAWS = 20  # a generator is given up after this many draws for each task wanted


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A .jsonl, .json or .parquet file, or a folder saved by `datasets`. ``columns`` says what the rows call Togi's
    columns, and ``turns`` which of a conversation's assistant messages are learned.

    A file of judgements is known by its first line; ``combine`` says how several judgements of a pair become one.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    turns: Learned = "last"
    combine: Combine = "soft"


@dataclass(frozen=True, kw_only=True)
class HubRows:
    """A data set of the hub, "owner/name", or a folder that is laid out like one: its ``subset``, its ``split`` (None:
    the one named as the tasks are), at a ``revision`` (branch, tag or commit). It is read by `datasets`."""

    name: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    turns: Learned = "last"


@dataclass(frozen=True, kw_only=True)
class ReasoningGym:
    """``size`` different questions of a reasoning-gym data set; ``config`` holds the data set's own settings."""

    name: str
    size: int
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """``size`` different tasks of a function ``(rng: random.Random) -> row``, "/absolute/file.py:function" or
    "module:function"; the row's keys are the columns of a file. With levels of ``difficulty`` the function is called as
    ``(rng, level)``, with each of them in turn, and the level is the row's column ``difficulty``."""

    function: str
    size: int
    seed: int
    turns: Learned = "last"
    difficulty: tuple[float | str, ...] = ()


Source = Rows | HubRows | ReasoningGym | Generated


def load_tasks(
    source: Source, prompting: Prompting | None = None, *, split: str, exclude: Iterable[Task] = ()
) -> Tasks:
    """The tasks of a source, with ids such as "train:17" (a file's line, else a count from 1).

    ``exclude`` are tasks of another split: a task with one of their prompts is left out and counted in
    ``Tasks.dropped``, and generators go on until they have ``size`` others.

    Raises:
        DataError: rows that cannot be used (up to 100 are shown, all are counted), or no tasks left.
    """
    prompting = prompting or Prompting()
    taken = {prompt_key(task) for task in exclude}
    demonstrate = resolve(prompting.demonstrate, Path()) if prompting.demonstrate else None
    if isinstance(source, Rows) and holds_judgements(source.path):
        tasks = _load_judgements(source, prompting, split, taken)
    elif isinstance(source, Rows | HubRows):
        tasks = _load_rows(source, prompting, demonstrate, split, taken)
    else:
        tasks = _load_made(source, prompting, demonstrate, split, taken)
    if not tasks:
        raise DataError(f"{describe(source)} has no tasks{': ' if tasks.notes() else ''}{'; '.join(tasks.notes())}")
    try:
        refuse_one_class([task.worth for task in tasks])
    except RowError as error:
        raise DataError(f"{describe(source)}: {error}") from error
    return tasks


Demonstrate = Callable[[dict[str, Any]], str] | None


def _load_judgements(source: Rows, prompting: Prompting, split: str, taken: set[str]) -> Tasks:
    tasks = tasks_from_judgements(read_judgements(source.path), prompting, combine=source.combine, split=split)
    kept = [task for task in tasks if prompt_key(task) not in taken]
    return Tasks(kept, dropped=len(tasks) - len(kept), skipped=tasks.skipped)


def _load_rows(
    source: Rows | HubRows, prompting: Prompting, demonstrate: Demonstrate, split: str, taken: set[str]
) -> Tasks:
    lineage = find_lineage(source.path) if isinstance(source, Rows) else None
    made = [MadeRows(path=source.path, lineage=lineage)] if isinstance(source, Rows) and lineage else []
    problems = Diagnostics()
    tasks: list[Task] = []
    kinds: dict[str, tuple[str, int]] = {}
    skipped: Counter[str] = Counter()
    dropped = 0
    for number, row in numbered_rows(source, split, problems):
        try:
            identity = f"{split}:{number}"
            task = make_task(row, identity, prompting, demonstrate, columns=source.columns, turns=source.turns)
            check_kinds(under_our_names(row, source.columns), number, kinds)
        except RowError as error:
            problems.add(f"{describe(source)}:{number}", str(error))
            continue
        except RowSkipped as reason:
            skipped[str(reason)] += 1
            continue
        if prompt_key(task) in taken:
            dropped += 1
        else:
            tasks.append(task)
    problems.stop_if_any()
    return Tasks(tasks, dropped=dropped, skipped=skipped, made=made)


def numbered_rows(source: Rows | HubRows, split: str, problems: Diagnostics) -> Iterator[tuple[int, Row]]:
    """The rows of a source as they stand there, with the numbers that their tasks are named by."""
    if isinstance(source, Rows):
        return read_rows(source.path, split, problems)
    return hub_rows(source.name, source.subset, source.split or split, source.revision, problems)


def check_kinds(row: Row, number: int, kinds: dict[str, tuple[str, int]]) -> None:
    """Refuse a column that is text in one row and a list in another, and one that some rows lack."""
    judged = PAIR_COLUMNS if row.get("chosen") is not None else ()
    kinds_here = {name: _kind(row.get(name)) for name in (*COLUMNS, *judged)}
    if row.get("completion") is not None:
        kinds_here["label"] = "a thumb" if is_thumb(row.get("label")) else "no thumb (true, false, 1 or 0)"
    for name, kind in kinds_here.items():
        first, where = kinds.setdefault(name, (kind, number))
        if kind != first:
            raise RowError(f'the column "{name}" is {kind} here and {first} in row {where}')


def _kind(value: Any) -> str:
    match value:
        case None:
            return "missing"
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case _:
            return "a list"


def _load_made(
    source: ReasoningGym | Generated, prompting: Prompting, demonstrate: Demonstrate, split: str, taken: set[str]
) -> Tasks:
    if source.size < 1:
        raise DataError(f"{describe(source)}: size is at least 1; got {source.size}")
    seen: set[str] = set()
    tasks: list[Task] = []
    skipped: Counter[str] = Counter()
    dropped = 0
    turns = source.turns if isinstance(source, Generated) else "last"
    for draw, row in enumerate(made_rows(source), 1):
        try:
            task = make_task(row, f"{split}:{len(tasks) + 1}", prompting, demonstrate, turns=turns)
        except RowError as error:
            raise DataError(f"{describe(source)}, draw {draw}: {error}") from error
        except RowSkipped as reason:
            skipped[str(reason)] += 1
            continue
        key = prompt_key(task)
        if key in taken:
            dropped += key not in seen
        elif key not in seen:
            tasks.append(task)
        seen.add(key)
        if len(tasks) == source.size:
            return Tasks(tasks, dropped=dropped, skipped=skipped)
    other = f" that are not in another split ({dropped} are)" if taken else ""
    raise DataError(
        f"{describe(source)} makes only {len(tasks)} different prompts{other} in {DRAWS * source.size} draws, and "
        f"{source.size} were wanted: ask for fewer, or make the tasks more varied"
    )


def made_rows(source: ReasoningGym | Generated) -> Iterator[Row]:
    """The rows that a source makes, in the order it makes them, also those that repeat others."""
    if isinstance(source, ReasoningGym):
        yield from gym_rows(
            source.name, seed=source.seed, size=source.size, config=source.config, most=DRAWS * source.size
        )
        return
    function = resolve(source.function, Path())
    rng, levels = random.Random(source.seed), source.difficulty
    for draw in range(DRAWS * source.size):
        level = (levels[draw % len(levels)],) if levels else ()
        try:
            row = function(rng, *level)
        except Exception as error:  # the user's function: say which one
            raise DataError(f"{source.function} raised {type(error).__name__}: {error}") from error
        if not isinstance(row, Mapping):
            raise DataError(f"{source.function} gave {type(row).__name__}; a dict with prompt and answer was wanted")
        renamed = {"prompt" if key == "question" and "prompt" not in row else key: row[key] for key in row}
        if levels:
            renamed.setdefault("difficulty", *level)
        if not {"prompt", "messages", "text"} & renamed.keys():
            raise DataError(f'{source.function} gave no "prompt"; its keys are {", ".join(map(str, row))}')
        try:
            yield plain(renamed)
        except RowError as error:
            raise DataError(f"{source.function}: {error}") from error


def describe(source: Source) -> str:
    match source:
        case Rows(path=path):
            return str(path)
        case HubRows(name=name):
            return name
        case ReasoningGym(name=name):
            return f"reasoning-gym {name}"
        case Generated(function=function):
            return function
