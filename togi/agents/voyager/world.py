"""What a world must offer so that skills can be written for it. It knows no skill, no model and no world.

A world is made from a seed, and what happens in it is decided by the seed and the calls that were made: the same calls
lead to the same world. So a run that was stopped is played again from the calls it wrote down.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MOST = 64
"""The most of an item that a goal may ask for."""


class World(Protocol):
    """``about`` tells a writer of skills what this world is; it is followed by the docstrings of ``calls``, the names
    of methods that a skill may call. ``items`` has everything that can be had, with its tier, which is only for the
    account of how far one got.

    What a method gives must be plain: texts, numbers, lists, dictionaries. What it raises is told to the skill.
    """

    about: str
    calls: Sequence[str]
    items: Mapping[str, int]

    def held(self) -> Mapping[str, int]:
        """How many there are of each item that is there: what goals are checked by, and what a planner is shown."""
        ...

    def hint(self, item: str) -> str:
        """What somebody who wants this item should know, as the world's own words; may be empty."""
        ...


Make = Callable[[int], World]
"""Makes a world from a seed."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """``count`` more of an item than there were when somebody set out for it."""

    item: str
    count: int = 1

    @property
    def told(self) -> str:
        return f"get {self.count} more {self.item}"


def reached(goal: Goal, before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """The state checker: what is there decides, and nothing that a skill says."""
    return now.get(goal.item, 0) >= before.get(goal.item, 0) + goal.count


def held_told(held: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {item}" for item, count in sorted(held.items()) if count) or "nothing"


def calls_told(world: World) -> str:
    """The calls with their arguments and docstrings, a line each."""
    lines = []
    for name in world.calls:
        call = getattr(world, name)
        told = " ".join((inspect.getdoc(call) or "").split())
        lines.append(f"{name}({', '.join(inspect.signature(call).parameters)}): {told}")
    return "\n".join(lines)


def check_world(world: Any, name: str) -> World:
    """``world`` where it has what a world needs. Raises ValueError."""
    for kind, wanted in (("about", str), ("calls", Sequence), ("items", Mapping)):
        if not isinstance(getattr(world, kind, None), wanted):
            got = getattr(world, kind, None)
            raise ValueError(f"{name}: a world has {kind}, a {wanted.__name__.lower()}; got {got!r:.80}")
    if isinstance(world.calls, str) or not world.calls:
        raise ValueError(f'{name}: calls are names of methods, as in ("gather", "craft"); got {world.calls!r:.80}')
    for method in (*world.calls, "held", "hint"):
        if not isinstance(method, str) or not method.isidentifier() or not callable(getattr(world, method, None)):
            raise ValueError(f"{name}: a world has a method {method!s:.40}, and this has none")
    undescribed = [call for call in world.calls if not inspect.getdoc(getattr(world, call))]
    if undescribed:
        raise ValueError(f"{name}: {undescribed[0]} has no docstring: it is what a model is told of this call")
    wrong = [item for item, tier in world.items.items() if not isinstance(item, str) or type(tier) is not int]
    if wrong or not world.items:
        raise ValueError(f"{name}: items are texts with whole numbers, their tiers; got {wrong[:1] or 'none'}")
    held = world.held()
    if not isinstance(held, Mapping) or any(type(count) is not int for count in held.values()):
        raise ValueError(f"{name}: held() gives whole numbers by item; got {held!r:.80}")
    if unknown := sorted(set(held) - set(world.items)):
        raise ValueError(f"{name}: held() has {unknown[0]}, which is not in items")
    return world  # type: ignore[no-any-return]
