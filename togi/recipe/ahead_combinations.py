"""What cannot be sampled ahead of learning, each with its fix. It knows the nouns and no algorithm by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from togi.recipe.combinations import Problem
from togi.recipe.plan import Plan
from togi.recipe.schema import Recipe
from togi.samplers import PLAIN

STALENESS = ("scale", "staleness")


def ahead(recipe: Recipe, plans: Sequence[Plan]) -> Iterator[Problem]:
    """What is wrong with a staleness above 0, for the stages that learn from what they sample."""
    if not recipe.scale.staleness:
        return
    if recipe.engine.kind == "native" and not recipe.scale.engines:
        yield (
            STALENESS,
            "nothing can be sampled while the same process learns: set engines = 1 under [scale], which draws beside "
            "it, or remove it",
        )
    samples = [plan for plan in plans if plan.algorithm.sampler.writes and plan.algorithm.trains != "nothing"]
    if not samples:
        yield STALENESS, "no stage learns from what it samples: remove it"
    for plan in samples:
        yield from _stage(recipe, plan)


def _stage(recipe: Recipe, plan: Plan) -> Iterator[Problem]:
    table, sampler = plan.table, plan.algorithm.sampler
    if not sampler.apart:
        other = ', or another sampler in settings, such as "groups"' if type(sampler) in PLAIN.values() else ""
        yield (
            (*plan.key, "algorithm"),
            f"{table.algorithm} has a step's groups made together, so that none can be sampled ahead: set "
            f"staleness = 0 under [scale]{other}",
        )
    if table.replay is not None:
        yield (
            (*plan.key, "replay"),
            "both it and staleness learn from groups of older weights: remove it, or set staleness = 0 under [scale]",
        )
    env = table.env or recipe.env
    if env is not None and env.use != "none" and not env.threads:
        key = (*plan.key, "env") if table.env is not None else ("env",)
        yield (
            (*key, "threads"),
            "environments answer beside the process that learns where groups are sampled ahead: set threads = 4",
        )
