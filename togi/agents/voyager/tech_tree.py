"""A small world with a deep tree: from wood and pebbles by tools and fires to a telescope. It knows no skill.

Everything is text and numbers. The seed decides how many of each thing a craft takes and how often gathering succeeds;
what needs what is the same in every world, so that what was learned in one helps in another, and a number that was
learned by heart does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A thing that is gathered, with a ``tool`` where hands are not enough."""

    tier: int
    tool: str = ""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A thing that is crafted out of ``parts``, beside a ``station`` where it needs one."""

    tier: int
    parts: tuple[str, ...]
    station: str = ""


TIERS = ("hands", "wood", "stone", "bronze", "iron", "diamond")
THINGS: Mapping[str, Raw | Made] = {
    "wood": Raw(tier=0),
    "fibre": Raw(tier=0),
    "pebble": Raw(tier=0),
    "clay": Raw(tier=0),
    "sand": Raw(tier=0),
    "reed": Raw(tier=0),
    "plank": Made(tier=1, parts=("wood",)),
    "stick": Made(tier=1, parts=("plank",)),
    "rope": Made(tier=1, parts=("fibre",)),
    "basket": Made(tier=1, parts=("reed", "rope")),
    "workbench": Made(tier=1, parts=("plank", "pebble")),
    "ladder": Made(tier=1, parts=("stick", "rope"), station="workbench"),
    "wooden_pickaxe": Made(tier=1, parts=("plank", "stick"), station="workbench"),
    "stone": Raw(tier=2, tool="wooden_pickaxe"),
    "coal": Raw(tier=2, tool="wooden_pickaxe"),
    "torch": Made(tier=2, parts=("stick", "coal")),
    "stone_axe": Made(tier=2, parts=("stone", "stick", "rope"), station="workbench"),
    "stone_pickaxe": Made(tier=2, parts=("stone", "stick"), station="workbench"),
    "furnace": Made(tier=2, parts=("stone", "clay"), station="workbench"),
    "brick": Made(tier=2, parts=("clay", "coal"), station="furnace"),
    "glass": Made(tier=2, parts=("sand", "coal"), station="furnace"),
    "hardwood": Raw(tier=2, tool="stone_axe"),
    "copper_ore": Raw(tier=3, tool="stone_pickaxe"),
    "tin_ore": Raw(tier=3, tool="stone_pickaxe"),
    "copper": Made(tier=3, parts=("copper_ore", "coal"), station="furnace"),
    "tin": Made(tier=3, parts=("tin_ore", "coal"), station="furnace"),
    "bronze": Made(tier=3, parts=("copper", "tin"), station="furnace"),
    "bronze_pickaxe": Made(tier=3, parts=("bronze", "stick"), station="workbench"),
    "lantern": Made(tier=3, parts=("torch", "glass", "copper"), station="workbench"),
    "iron_ore": Raw(tier=4, tool="bronze_pickaxe"),
    "iron": Made(tier=4, parts=("iron_ore", "coal"), station="furnace"),
    "anvil": Made(tier=4, parts=("iron", "hardwood"), station="workbench"),
    "gear": Made(tier=4, parts=("iron", "bronze"), station="anvil"),
    "iron_pickaxe": Made(tier=4, parts=("iron", "hardwood"), station="anvil"),
    "gold_ore": Raw(tier=5, tool="iron_pickaxe"),
    "diamond": Raw(tier=5, tool="iron_pickaxe"),
    "gold": Made(tier=5, parts=("gold_ore", "coal"), station="furnace"),
    "diamond_pickaxe": Made(tier=5, parts=("diamond", "hardwood"), station="anvil"),
    "clock": Made(tier=5, parts=("gear", "gold", "glass"), station="anvil"),
    "telescope": Made(tier=5, parts=("glass", "gold", "diamond"), station="anvil"),
}


class TechTree:
    """One world, of one seed."""

    about = (
        "A world of things. Some are gathered, which does not succeed every time, and some need a tool. Others are "
        "crafted from parts, some beside a station such as a workbench. Tools and stations only have to be there, and "
        "are not used up; parts are."
    )
    calls = ("gather", "craft", "count", "needs")
    items: Mapping[str, int] = {name: thing.tier for name, thing in THINGS.items()}

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._held = dict.fromkeys(THINGS, 0)
        self._tried = dict.fromkeys(THINGS, 0)

    def held(self) -> dict[str, int]:
        return {name: count for name, count in self._held.items() if count}

    def hint(self, item: str) -> str:
        thing = THINGS[item]
        if isinstance(thing, Raw):
            return f"{item} is gathered{f'; there must be 1 {thing.tool}' if thing.tool else ''}."
        parts = " and ".join(f"{count} {part}" for part, count in self._parts(item).items())
        return f"{item} is crafted from {parts}{f'; there must be 1 {thing.station}' if thing.station else ''}."

    def gather(self, item: str) -> bool:
        """Try once to gather an item, such as gather("wood"). Gives True where one more is there now, False where
        nothing was found this time. Raises ValueError where a tool is lacking."""
        thing = THINGS[self._known(item)]
        if not isinstance(thing, Raw):
            raise ValueError(f"{item} is not gathered: {self.hint(item)}")
        if thing.tool and not self._held[thing.tool]:
            raise ValueError(f"gather {item}: there is no {thing.tool}, which this needs")
        self._tried[item] += 1
        found = self._chance(f"try {item} {self._tried[item]}") < 0.4 + 0.5 * self._chance(f"often {item}")
        self._held[item] += found
        return found

    def craft(self, item: str) -> bool:
        """Craft one item, such as craft("plank"). Gives True, and raises ValueError where parts or a station are
        lacking."""
        thing = THINGS[self._known(item)]
        if not isinstance(thing, Made):
            raise ValueError(f"{item} is not crafted: {self.hint(item)}")
        parts = self._parts(item)
        lacking = {part: need - self._held[part] for part, need in parts.items() if self._held[part] < need}
        if thing.station and not self._held[thing.station]:
            lacking = {thing.station: 1, **lacking}
        if lacking:
            said = ", ".join(f"{count} {part}" for part, count in lacking.items())
            raise ValueError(f"craft {item}: {said} more needed")
        for part, need in parts.items():
            self._held[part] -= need
        self._held[item] += 1
        return True

    def count(self, item: str) -> int:
        """How many there are of an item, such as count("wood")."""
        return self._held[self._known(item)]

    def needs(self, item: str) -> dict[str, int]:
        """What one item takes: parts with their numbers, and the tool or station with 1. Empty for what hands can
        gather."""
        thing = THINGS[self._known(item)]
        beside = thing.tool if isinstance(thing, Raw) else thing.station
        return {**self._parts(item), **({beside: 1} if beside else {})}

    def _parts(self, item: str) -> dict[str, int]:
        thing = THINGS[item]
        parts = thing.parts if isinstance(thing, Made) else ()
        return {part: 1 + int(3 * self._chance(f"{item} from {part}")) for part in parts}

    def _chance(self, what: str) -> float:
        """A number from 0 to 1 that only the seed and ``what`` decide."""
        return int.from_bytes(hashlib.sha256(f"{self._seed} {what}".encode()).digest()[:6]) / 2**48

    def _known(self, item: str) -> str:
        if not isinstance(item, str) or item not in THINGS:
            raise ValueError(f"there is no item {item!r:.60} in this world")
        return item
