"""The table of a source of tasks -> the source, with paths made absolute. It loads no task."""

from __future__ import annotations

import re
from pathlib import Path

from togi.data import Collected, Generated, HubRows, Prompting, ReasoningGym, Rows, Source
from togi.find_function import absolute
from togi.recipe.schema import OneSourceTable, PromptTable, StageSourceTable

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def collected_of(table: StageSourceTable) -> Collected | None:
    if table.rollouts is None:
        return None
    return Collected(
        stages=table.rollouts,
        best=table.best,
        at_least=table.at_least,
        distinct=table.distinct,
        most=table.most,
        together=table.together,
    )


def prompting_of(table: PromptTable) -> Prompting:
    """How plain text is asked. Raises ValueError."""
    return Prompting(system=table.system, template=table.template, format=table.format, budget=table.budget)


def source_of(table: OneSourceTable, base: Path) -> Source:
    """The source of tasks a table names, with paths made absolute. Raises ValueError."""
    if table.file is not None:
        return Rows(path=base / Path(table.file).expanduser(), columns=table.columns, turns=table.turns)
    if table.hub is not None:
        return HubRows(
            name=hub_name(table.hub, base),
            subset=table.subset,
            split=table.split,
            revision=table.revision,
            columns=table.columns,
            turns=table.turns,
        )
    assert table.size is not None
    if table.reasoning_gym is not None:
        return ReasoningGym(name=table.reasoning_gym, size=table.size, seed=table.seed, config=table.config)
    assert table.generate is not None
    return Generated(
        function=absolute(table.generate, base),
        size=table.size,
        seed=table.seed,
        turns=table.turns,
        difficulty=table.difficulty,
    )


def hub_name(name: str, base: Path) -> str:
    """The name of a data set of the hub, or the folder that is a copy of one. Raises ValueError."""
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if HUB_NAME.fullmatch(name) is None:
        raise ValueError(f'hub = "{name}": there is no folder {folder}, and a data set of the hub is "owner/name"')
    return name
