"""What a process needs of the machine that it runs on, for launchers that choose one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Cores, and cards (where there are any), that are its own while it runs."""

    cores: int = 1
    cards: int = 0

    def __str__(self) -> str:
        words = [f"{count} {name}{'s' * (count != 1)}" for count, name in ((self.cores, "core"), (self.cards, "card"))]
        return " and ".join(words if self.cards else words[:1])
