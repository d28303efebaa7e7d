"""What the search asks of whatever is trained: agents in an environment, or a language model by a recipe. It implements
neither."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from togi.reward_design.archive import Archive
from togi.reward_design.design import Candidate, Kind, Trained

Job = tuple[Candidate, int, bool]
"""A candidate, the number of the agent or model to train with it, and whether it is one of the last comparison."""
Made = tuple[Trained, Mapping[str, Any]]
"""What came of a job, and the weights to keep."""


class NoCandidatesFault(ValueError):
    """The fitness, the machine, or what is trained is at fault, and no candidate: the design stops."""


class Subject(Protocol):
    """Tries programs and trains with them."""

    def check(self) -> None:
        """Raise ValueError for what is no candidate's fault, before anybody is asked."""
        ...

    def examined(self, written: Sequence[Candidate]) -> Iterator[Candidate]:
        """Programs that could be read, each with what is wrong with it when it is tried."""
        ...

    def random_programs(self, count: int) -> list[str]:
        """Programs that chance wrote."""
        ...

    def there_before(self) -> list[tuple[Kind, str | None]]:
        """The rewards that were there before the design, each with its program, if it has one."""
        ...

    def trained(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Made]]:
        """Train what is wanted, side by side. What was given has been kept when the next is asked for."""
        ...

    def keep_pictures(self, archive: Archive, candidate: str) -> str:
        """Keep pictures of what learned from a candidate; why there are none, where there are none."""
        ...
