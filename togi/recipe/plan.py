"""What is decided of a stage before anything is loaded: its algorithm, its name and how it samples."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import cast

from togi.algorithms import ALGORITHMS
from togi.find_function import imported
from togi.protocols import Algorithm
from togi.recipe.errors import did_you_mean
from togi.recipe.key_lines import Key
from togi.recipe.schema import SamplingTable, StageTable


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stage with its algorithm and sampling decided."""

    table: StageTable
    name: str
    key: Key
    algorithm: Algorithm
    sampling: SamplingTable


def algorithm_named(name: str, base: Path) -> Algorithm:
    """Togi's own algorithm of this name, or the user's of ``file.py:NAME``: an instance, or a class to make one of.

    Raises ValueError for one that is not there, and for what is no algorithm.
    """
    if ":" not in name:
        if name not in ALGORITHMS:
            raise ValueError(f'no algorithm {name!r}; {did_you_mean(name, ALGORITHMS)} One of your own: "file.py:NAME"')
        return ALGORITHMS[name]
    try:
        found = imported(name, base)
        found = found() if isinstance(found, type) else found
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f'"{name}" cannot be made: {type(error).__name__}: {error}') from error
    missing = [each for each in ("sampler", "needs", "credit", "loss") if not hasattr(found, each)]
    if missing or not is_dataclass(found):
        lacks = f"has no {' and no '.join(missing)}" if missing else "is no dataclass"
        raise ValueError(
            f'"{name}" {lacks}: an algorithm is a frozen dataclass that derives from togi.PolicyGradient or '
            "another of Togi's algorithms"
        )
    return cast(Algorithm, found)


def merged(general: SamplingTable, own: SamplingTable) -> SamplingTable:
    """The general sampling with what a stage or the evaluation says of its own."""
    return general.model_copy(update={name: vars(own)[name] for name in own.model_fields_set})
