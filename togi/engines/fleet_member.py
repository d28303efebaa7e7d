"""One server of several, and how it stands among them. It starts nothing and asks nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from togi.engines.completions_server import CompletionsServer


class EngineOutage(ValueError):
    """No server draws any more."""


class OtherWeights(ValueError):
    """A server has taken weights, and has others. Beginning it again would not help."""


class Member(Protocol):
    """One server. ``called`` names it in messages; one that ``restarts`` can be begun again."""

    called: str
    restarts: bool

    @property
    def server(self) -> CompletionsServer: ...

    def begin(self) -> None:
        """Have it answer, in the place of what it was before. Raises ValueError."""
        ...

    def fault(self) -> str:
        """What is wrong with it; "" where it is well."""
        ...

    def end(self, seconds: float = 0.0) -> None: ...

    def last_words(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights that a server has: what it calls them, and the updates that they had seen."""

    name: str
    version: int


State = Literal["off", "begins", "up", "lost"]


@dataclass(eq=False)
class Seat:
    """A member and how it stands. ``life`` counts how often it was begun, ``failures`` how often it failed since it
    completed something; ``has`` is what it draws from."""

    member: Member
    state: State = "off"
    since: float = field(default_factory=time.monotonic)
    life: int = 0
    failures: int = 0
    under_way: int = 0
    why: str = ""
    has: Published | None = None

    def stands(self) -> str:
        """How it stands, in words."""
        asked = f", asked for {self.under_way}" if self.under_way else ""
        return f"{self.member.called} {_IN_WORDS[self.state]} for {time.monotonic() - self.since:.0f} s{asked}"


_IN_WORDS = {"off": "has not begun", "begins": "has been beginning", "up": "has been drawing", "lost": "is given up"}
