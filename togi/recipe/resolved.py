"""The recipe with every default filled in, as a run folder keeps it. It builds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from togi.recipe.algorithm_settings import attempts_of, settings_of
from togi.recipe.engine_combinations import unread
from togi.recipe.plan import Plan, merged
from togi.recipe.read_toml import Reading
from togi.recipe.schema import SOURCES, unused


def resolved(reading: Reading, plans: Sequence[Plan]) -> dict[str, Any]:
    """The recipe with every default filled in, as plain data that reads back as the same recipe.

    Paths stay as they were written; ``relative_to`` says what they are relative to, so that the resolved recipe runs
    from any folder.
    """
    values: dict[str, Any] = reading.recipe.model_dump(mode="json", exclude_none=True)
    values = {"name": values.pop("name"), "relative_to": str(reading.base), **values}
    for name in unread(reading.recipe):
        values["engine"].pop(name, None)  # refused where it means nothing
    given = [stage[name] for stage in values["stage"] for name in ("data", "mix") if name in stage]
    for table in (*values["data"].values(), *given):
        for part in (table, *table.get("sources", ())):
            used = next(keys for name, keys in SOURCES.items() if name in part)
            for name in part.keys() - used - ({"weight"} if part is not table else set()):
                del part[name]
    for stage, plan in zip(values["stage"], plans, strict=True):
        stage["name"] = plan.name
        stage["settings"] = settings_of(plan.algorithm)
        for name, needed in (("mix_per_step", "mix"), ("rounds", "constitution")):
            if needed not in stage:
                del stage[name]
        if plan.table.order is not None:
            stage["order"] = {
                name: value for name, value in stage["order"].items() if name not in unused(plan.table.order)
            }
        attempts = attempts_of(plan.algorithm)
        if attempts is None:
            del stage["sampling"]
        else:
            stage["attempts"] = attempts
            stage["sampling"] = plan.sampling.model_dump(mode="json")
    if reading.recipe.evaluation is not None:
        own = merged(reading.recipe.sampling, reading.recipe.evaluation.sampling)
        values["evaluation"]["sampling"] = own.model_dump(mode="json")
    return values
