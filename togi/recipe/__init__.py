"""Recipes: TOML text to a Run. Nothing here imports torch, so that a mistake is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from togi.recipe.errors import RecipeError
from togi.recipe.read_toml import Reading, read_recipe
from togi.recipe.schema import Recipe

if TYPE_CHECKING:
    from togi.run import Run

__all__ = ["LoadedRecipe", "Reading", "Recipe", "RecipeError", "load_recipe", "read_recipe"]


@dataclass(frozen=True, kw_only=True)
class LoadedRecipe:
    """A run, and the reading it was built from (which knows where each value was written)."""

    run: Run
    reading: Reading


def load_recipe(path: Path | str, overrides: Sequence[str] = (), *, folder: Path | None = None) -> LoadedRecipe:
    """Read a recipe file, or a run folder's ``recipe.toml``, and build its run.

    ``overrides`` are ``key.path=value`` texts; ``folder`` is where the run lives: the run folder that was named, or
    ``runs/NAME``.

    Raises:
        RecipeError: every problem found, each naming file, line and key.
    """
    reading = read_recipe(path, overrides)
    from togi.recipe.build import build  # after reading: `--help` and a misspelt key wait for no algorithm

    if folder is None and Path(path).is_dir():
        folder = Path(path)
    return LoadedRecipe(run=build(reading, folder), reading=reading)
