"""reasoning-gym's own scorers, run in workers, since nine of them evaluate the answer as Python code.

What an answer evaluates to happens in the worker process, with its rights (see togi.sandbox.workers.pool): jailed where
that holds, and refused elsewhere unless it was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from togi.graders.answer_place import place_of
from togi.graders.marks import UNPARSED, Mark

LIBRARY = {"create": "reasoning_gym:create_dataset"}  # imported before the clock of a call starts
EXECUTING = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)
"""Data sets whose scorer evaluates the answer as Python, in reasoning-gym 0.1.25."""
Create = Callable[..., Any]


@lru_cache(maxsize=8)
def _dataset(create: Create, name: str, config: str) -> Any:
    return create(name, **json.loads(config))


@lru_cache(maxsize=256)
def _entry(create: Create, name: str, config: str, index: int) -> dict[str, Any]:
    # Made again from its seed, not sent: metadata holds tuples and sets that JSON would change and scorers rely on.
    return dict(_dataset(create, name, config)[index])


def score(
    *, text: str, question: str, origin: dict[str, Any], tag: str, marker: str, partial: bool, create: Create
) -> Mark:
    config = json.dumps(origin["config"], sort_keys=True)
    entry = _entry(create, origin["name"], config, origin["index"])
    if entry["question"] != question:
        return {"bad_gold": f"{origin['name']} does not make the same question again from its seed"}
    place = place_of(text, tag=tag, marker=marker, box=False)
    if place is None:
        return UNPARSED
    value = float(_dataset(create, origin["name"], config).score_answer(place.text, entry))
    if value < 1.0 and not partial:
        value = 0.0
    return {"value": value, "parsed": 1.0}
