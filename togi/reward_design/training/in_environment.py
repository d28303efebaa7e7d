"""Agents in an environment, as the search asks for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property

from togi.reward_design.archive import Archive
from togi.reward_design.design import AgentDesign, Candidate, Kind
from togi.reward_design.programs.random_programs import random_programs
from togi.reward_design.side_by_side import side_by_side
from togi.reward_design.subject import Job, Made
from togi.reward_design.training.episodes import Episode
from togi.reward_design.training.frames import keep_frames
from togi.reward_design.training.measure import Workplace
from togi.reward_design.training.play import random_play, transitions
from togi.sandbox.box import AnyTier
from togi.sandbox.tiers.choose_tier import cores


class InEnvironment:
    """Programs are tried on the steps of an agent that acts at random, and each trains agents in the jail."""

    def __init__(self, design: AgentDesign, tier: AnyTier = "auto") -> None:
        self._design, self._tier = design, tier

    def check(self) -> None:
        with closing(self._open()) as place:
            place.check(self._random_play)

    def examined(self, written: Sequence[Candidate]) -> Iterator[Candidate]:
        steps = transitions(self._random_play, self._design.file.design.info)
        with closing(self._open()) as place:
            for each in written:
                yield replace(each, fault=place.fault(each.program or "", steps))

    def random_programs(self, count: int) -> list[str]:
        return random_programs(self._random_play, count, self._design.file.search.seed)

    def there_before(self) -> list[tuple[Kind, str | None]]:
        compare, human = self._design.file.compare, self._design.human
        found: list[tuple[Kind, bool, str | None]] = [
            ("own", compare.own, None),
            ("human", human is not None, human),
            ("sparse", compare.sparse, None),
        ]
        return [(kind, program) for kind, wanted, program in found if wanted]

    def trained(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Made]]:
        places: list[Workplace] = []
        own = threading.local()

        def make(job: Job) -> Made:
            if not hasattr(own, "place"):
                own.place = self._open()
                places.append(own.place)
            candidate, number, final = job
            made: Made = own.place.trained(candidate, number, final=final)
            return made

        def stop() -> None:
            for place in places:
                place.close()

        yield from side_by_side(jobs, make, self._design.file.train.workers or cores(), stop)

    def keep_pictures(self, archive: Archive, candidate: str) -> str:
        return keep_frames(self._design, archive, candidate, 0)

    def _open(self) -> Workplace:
        return Workplace(self._design, self._tier)

    @cached_property
    def _random_play(self) -> list[Episode]:
        return random_play(self._design)
