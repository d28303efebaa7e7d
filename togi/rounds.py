"""Talk with an engine that draws calls whole: all turns that were asked for, and then all those that come next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from togi.protocols import Engine
from togi.types import Prompt, Sampling, Turn


class Rounds:
    def __init__(self, engine: Engine, sampling: Sampling, progress: Callable[[int, int], None] | None) -> None:
        self._engine, self._sampling, self._progress = engine, sampling, progress
        self._asked: list[Prompt] = []
        self._ended = 0

    @property
    def drawing(self) -> int:
        return 0

    def ask(self, prompts: Sequence[Prompt]) -> None:
        self._asked += prompts

    def draw(self) -> list[tuple[int, Turn]]:
        drawn = self._engine.generate(self._asked, self._sampling, self._progress)
        turns = [turn for each in drawn for turn in each]
        first, self._ended, self._asked = self._ended, self._ended + len(turns), []
        return list(enumerate(turns, first))

    def over(self, turns: Iterable[int]) -> None:
        pass
