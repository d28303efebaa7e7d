"""``togi data difficulty``: a recipe or a run folder to the rows between two pass rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from togi.corpora.difficulty import keep_between
from togi.corpora.pass_rates import kept_rates, sampled_rates, stage_asked
from togi.corpora.recipe_rows import reward_of, rows_behind, table_of
from togi.data import DataError
from togi.data.lineage import Lineage, Source
from togi.recipe import load_recipe
from togi.recipe.needed_at_start import check_start
from togi.run import BASE, stage_model
from togi.run_folder.files import digest, mark

ATTEMPTS = 8  # sampled at each task where nothing else is said


def filtered(
    recipe: Path,
    overrides: Sequence[str],
    out: Path,
    *,
    least: float,
    most: float,
    stage: str,
    attempts: int | None,
    model: str,
    progress: Callable[[int, int], None],
) -> Lineage:
    """Write the rows. A run folder's own attempts are counted, unless ``attempts`` says how many new ones are made or
    ``model`` names another policy. Raises ValueError."""
    loaded = load_recipe(recipe, overrides)
    run = loaded.run
    asked = stage_asked(run, stage)
    rows = rows_behind(loaded.reading, table_of(loaded.reading, asked.name), asked.tasks)
    if recipe.is_dir() and attempts is None and model == BASE:
        rates = kept_rates(run, asked)
        solver = Source(name=f"attempts of stage {asked.name} in {recipe}", sha256=mark(run.folder / "rollouts"))
        settings: dict[str, str | int] = {"stage": asked.name, "attempts": "the run's own"}
    else:
        check_start(run)
        if attempts is not None and attempts < 1:
            raise DataError(f"a pass rate is that of at least 1 attempt; got --attempts {attempts}")
        if model != BASE and not stage_model(run.folder, model).is_dir():
            raise DataError(f"{run.folder} has no finished stage {model}: name one of its stages, or base")
        each = attempts or ATTEMPTS
        rates = sampled_rates(run, asked, each, model, progress)
        named = run.model.source if model == BASE else f"stage {model} of {recipe}"
        told = run.model.source if model == BASE else mark(stage_model(run.folder, model))
        solver = Source(name=f"attempts of {named}", sha256=digest(told))
        settings = {"stage": asked.name, "attempts": each, "reward": reward_of(loaded.reading, asked.name)}
    return keep_between(rows, asked.tasks, rates, out, least=least, most=most, solver=solver, settings=settings)
