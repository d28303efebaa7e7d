"""A world for tests of SayCan: a corridor of five places with two lamps, at its ends. A lamp can be lit from where it
stands, once, and only while it is not broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from togi.agents.saycan.world import Instruction, Vector

LAMPS = {"left": 0, "right": 4}


class Corridor:
    skills = ("light the left lamp", "light the right lamp")
    actions = 3
    """Left, right, light."""
    instructions = (
        Instruction(text="It is dark on the left.", family="one", setting=("left",)),
        Instruction(text="It is dark on both sides.", family="both", setting=("left", "right")),
        Instruction(text="It is dark on the right, and that lamp is broken.", family="none", setting=()),
    )

    def start(self, seed: int, instruction: Instruction | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.place, self.lit = int(rng.integers(5)), set[str]()
        self.broken = {lamp for lamp in LAMPS if instruction is None and rng.random() < 0.5}
        self.wanted = {"left"}
        if instruction is not None:
            self.wanted = set(instruction.setting)
            self.broken = {"right"} if not self.wanted else set()
        self.begin(0)

    def begin(self, skill: int) -> None:
        self.lamp, self.before = list(LAMPS)[skill], set(self.lit)

    def observe(self, skill: int) -> Vector:
        lamp = list(LAMPS)[skill]
        away = LAMPS[lamp] - self.place
        return np.array([np.sign(away), away / 4, lamp in self.broken, lamp in self.lit], np.float32)

    def act(self, action: int) -> bool:
        if action < 2:
            self.place = min(4, max(0, self.place + 2 * action - 1))
        else:
            self.lit |= {lamp for lamp, place in LAMPS.items() if place == self.place and lamp not in self.broken}
        return self.lamp in self.lit and self.lamp not in self.before

    def solved(self, plan: Sequence[str]) -> bool:
        return self.lit == self.wanted and len(plan) == len(self.wanted)

    def picture(self) -> Any:
        pixels = np.zeros((2, 5, 3), np.uint8)
        pixels[0, self.place] = 255
        pixels[1, [LAMPS[lamp] for lamp in self.lit]] = (255, 200, 0)
        return pixels

    def possible(self, skill: int) -> bool:
        lamp = list(LAMPS)[skill]
        return lamp not in self.broken | self.lit

    def carry_out(self, skill: int) -> None:
        if self.possible(skill):
            lamp = list(LAMPS)[skill]
            self.place = LAMPS[lamp]
            self.lit.add(lamp)
