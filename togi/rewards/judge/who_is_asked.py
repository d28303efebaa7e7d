"""Whom a judge asks: settings as they stand in a recipe, checked where they are read. It asks nobody."""

from __future__ import annotations

from dataclasses import dataclass

from togi.askers.who_is_asked import Who
from togi.rewards.algebra import Leaf

CACHE = "judge.sqlite"
"""The file in a run's folder that holds every reply of a server to a judge."""


@dataclass(frozen=True, kw_only=True)
class WhoIsAsked(Who, Leaf):
    """``model`` may also be "policy" (the model in training, as it is then) or a stage of the same run."""

    model: str = "policy"

    def __post_init__(self) -> None:
        if self.base_url and self.model == "policy":
            raise ValueError(f"{self.name}: model is the name of the model to ask; got {self.model!r}")
        self.check(self.name)

    @property
    def asks_here(self) -> bool:
        return not self.base_url
