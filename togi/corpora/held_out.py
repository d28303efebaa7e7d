"""What rows are held against: the held-out tasks of a recipe, a benchmark by its name, or any file of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from togi.corpora.corpus import open_corpus, read_corpus
from togi.corpora.recipe_rows import recipe_tasks
from togi.data import DataError, HubRows
from togi.data.lineage import Source
from togi.types import Task

BENCHMARKS: Mapping[str, HubRows] = {
    "gsm8k": HubRows(name="openai/gsm8k", subset="main", split="test"),
    "math500": HubRows(name="HuggingFaceH4/MATH-500", split="test", columns={"prompt": "problem"}),
    "mmlu": HubRows(name="cais/mmlu", subset="all", split="test", columns={"prompt": "question"}),
    "arc_challenge": HubRows(
        name="allenai/ai2_arc", subset="ARC-Challenge", split="test", columns={"prompt": "question"}
    ),
    "humaneval": HubRows(name="openai/openai_humaneval", split="test"),
    "mbpp": HubRows(name="google-research-datasets/mbpp", subset="full", split="test", columns={"prompt": "text"}),
    "ifeval": HubRows(name="google/IFEval", split="train"),
}
"""Benchmarks by the name people call them, as they are on the hub."""


@dataclass(frozen=True, kw_only=True)
class HeldOutSet:
    """Questions that are to be held out, and where they are from."""

    source: Source
    tasks: tuple[Task, ...]


def open_held_out(named: str, columns: Mapping[str, str]) -> HeldOutSet:
    """The questions that ``named`` means; ``columns`` is how rows call Togi's. Raises DataError when there are none."""
    if named.endswith(".toml"):
        found = recipe_tasks(Path(named), "test")
        return HeldOutSet(source=found.source, tasks=tuple(found.tasks))
    if named in BENCHMARKS:
        corpus = read_corpus(BENCHMARKS[named], "", "test")
        return HeldOutSet(source=corpus.source, tasks=corpus.tasks)
    try:
        corpus = open_corpus(named, columns, split="test")
    except DataError as error:
        names = ", ".join(BENCHMARKS)
        raise DataError(f"--against {named}: {error}\nBenchmarks with a name: {names}") from error
    return HeldOutSet(source=corpus.source, tasks=corpus.tasks)
