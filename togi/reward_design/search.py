"""The loop of Eureka: programs are written, tried, trained and measured, and the next are written from what was found.

It decides what is done next from what the archive holds, so that a design which is killed goes on where it was. What
does the work stands elsewhere: who is asked is a transcript's, and agents are trained by ``measure.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any

from togi.reward_design.archive import Archive, Generation
from togi.reward_design.asked import first_question, next_question, program_of, requests
from togi.reward_design.design import Candidate, Design, Kind
from togi.reward_design.findings import Standing, hopeless, ranked, standings
from togi.reward_design.programs.random_programs import random_programs
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.reflection import reflection
from togi.reward_design.training.episodes import Episode
from togi.reward_design.training.measure import Workplace, side_by_side
from togi.reward_design.training.play import random_play, transitions
from togi.sandbox.box import AnyTier
from togi.sandbox.tiers.choose_tier import cores
from togi.transcript import Transcript
from togi.types import Message

COMMENTS = "comments.txt"
"""The file in a design's folder that a person may write between generations."""
Tell = Callable[[str], None]


class Search:
    """One design in its folder. ``tell`` is given a line for whoever watches."""

    def __init__(
        self, design: Design, archive: Archive, transcript: Transcript, tell: Tell, tier: AnyTier = "auto"
    ) -> None:
        self.design, self.archive, self.tell = design, archive, tell
        self._transcript, self._tier = transcript, tier

    def run(self, *, one_generation: bool = False) -> bool:
        """Search, compare and measure anew; whether all is done. With ``one_generation`` it stops after the next
        generation that was not done yet, for a person to look and comment."""
        search = self.design.file.search
        with closing(Workplace(self.design, self._tier)) as place:
            place.check(self._random_play)
        for number in range(1, search.generations + 1):
            worked = self._generation(number)
            if worked and one_generation and number < search.generations:
                return False
        self._comparisons()
        self._final()
        return True

    @cached_property
    def _random_play(self) -> list[Episode]:
        return random_play(self.design)

    @cached_property
    def _tried_on(self) -> dict[str, Any]:
        return transitions(self._random_play, self.design.file.design.info)

    def standings(self, *kinds: Kind) -> dict[str, Standing]:
        candidates = {name: each for name, each in self.archive.candidates().items() if each.kind in kinds}
        return standings(candidates, self.archive.trained(final=False), self.design.file.search.seeds)

    def _generation(self, number: int) -> bool:
        """Write, try and train the candidates of a generation; whether anything was left to do."""
        search = self.design.file.search
        names = [f"{number}-{place:02d}" for place in range(1, search.candidates + 1)]
        worked = not set(names) <= self.archive.candidates().keys()
        if worked:
            generation = self.archive.generation(number) or self._begin(number)
            questions = [self._question(parent, generation.comment) for parent in generation.parents]
            # A question may be one of an earlier generation word for word, and its answers must be others.
            first = (number - 1) * search.candidates * search.generations
            self._write(names, "written", number, questions, generation.parents, first=first)
        return self._train(names, keep=search.parents) or worked

    def _begin(self, number: int) -> Generation:
        """Choose what a generation is written from, and write that down with what a person says."""
        best = [each.candidate.name for each in ranked(self.standings("written").values())]
        faulty = [each.candidate.name for each in self.standings("written").values() if each.candidate.program]
        chosen = best[: self.design.file.search.parents] or faulty or [""]
        comments = self.archive.path / COMMENTS
        comment = comments.read_text(encoding="utf-8", errors="replace") if comments.is_file() else ""
        places = range(self.design.file.search.candidates)
        parents = tuple("" if number == 1 else chosen[place % len(chosen)] for place in places)
        generation = Generation(number=number, parents=parents, comment=comment if number > 1 else "")
        self.archive.add_generation(generation)
        return generation

    def _question(self, parent: str, comment: str) -> tuple[Message, ...]:
        if not parent:
            return first_question(self.design)
        standing = self.standings("written")[parent]
        if standing.sound:
            return next_question(self.design, "reflection", reflection(standing), comment)
        fields = {"program": (standing.candidate.program or "").strip(), "fault": standing.fault}
        return next_question(self.design, "failure", fields, comment)

    def _write(
        self,
        names: Sequence[str],
        kind: Kind,
        generation: int,
        questions: Sequence[tuple[Message, ...]],
        parents: Sequence[str],
        *,
        first: int,
    ) -> None:
        """Ask for programs and keep what came, each with what is wrong with it."""
        self.tell(f"{len(names)} programs are asked for ({_of(kind, generation)})")
        replies = self._transcript.ask(requests(self.design, questions, first))
        self.archive.vouch_for_replies()
        if all(reply.status != "ok" for reply in replies):
            raise ValueError(
                f"the writer did not answer any of {len(replies)} questions ({replies[0].note or replies[0].status}). "
                "What was found so far is kept: mend this, and the same command goes on"
            )
        with closing(Workplace(self.design, self._tier)) as place:
            for name, reply, parent in zip(names, replies, parents, strict=True):
                program, fault = program_of(reply)
                made = Candidate(
                    name=name, kind=kind, generation=generation, program=program or None, fault=fault, parent=parent
                )
                self._keep(made, place)

    def _keep(self, made: Candidate, place: Workplace) -> None:
        if made.program is not None and not made.fault:
            fault = fault_of(made.program) or place.fault(made.program, self._tried_on)
            made = replace(made, fault=fault)
        self.archive.add(made)
        if made.fault:
            self.tell(f"  {made.name} cannot be used: {made.fault}")

    def _train(self, names: Iterable[str], keep: int) -> bool:
        """Train the candidates, one agent each and then the next, without those that cannot be among the best ``keep``
        any more; whether anything was left to do."""
        worked = False
        for number in range(self.design.file.search.seeds):
            found = self.standings(*(each.kind for each in self.archive.candidates().values()))
            ours = [found[name] for name in names]
            rivals = _rivals(ours, found.values())
            left = [
                each.candidate
                for each in ours
                if each.candidate.trainable
                and len(each.agents) == number
                and each.state != "failed"
                and not hopeless(each, rivals, keep)
            ]
            worked = self._train_all([(candidate, number, False) for candidate in left]) or worked
        return worked

    def _train_all(self, jobs: Sequence[tuple[Candidate, int, bool]]) -> bool:
        if not jobs:
            return False
        workers = self.design.file.train.workers or cores()
        for job, trained, weights in side_by_side(self.design, jobs, workers, self._tier):
            self.archive.add_trained(trained, weights, final=job[2])
            said = trained.fault or f"fitness {trained.fitness:.2f}"
            self.tell(f"  {trained.candidate}, agent {trained.seed + 1}{' (last)' * job[2]}: {said}")
        return True

    def _comparisons(self) -> None:
        """The same search without reflection, and without a model, at the same number of programs; and the rewards that
        were there before, for the last comparison."""
        file = self.design.file
        total = file.search.candidates * file.search.generations
        if file.compare.independent and total > file.search.candidates:
            self._without_reflection(total - file.search.candidates)
        if file.compare.random:
            self._by_chance(total)
        known = self.archive.candidates()
        others: list[tuple[Kind, bool, str | None]] = [
            ("own", file.compare.own, None),
            ("human", self.design.human is not None, self.design.human),
            ("sparse", file.compare.sparse, None),
        ]
        for kind, wanted, program in others:
            if wanted and kind not in known:
                self.archive.add(Candidate(name=kind, kind=kind, generation=0, program=program))

    def _without_reflection(self, count: int) -> None:
        """So many programs more than the first generation has, all written from the first question."""
        names = [f"i-{place:02d}" for place in range(1, count + 1)]
        if not set(names) <= self.archive.candidates().keys():
            questions = [first_question(self.design)] * count
            self._write(names, "independent", 1, questions, [""] * count, first=self.design.file.search.candidates)
        self._train(names, keep=1)

    def _by_chance(self, count: int) -> None:
        names = [f"r-{place:02d}" for place in range(1, count + 1)]
        known = self.archive.candidates().keys()
        programs = random_programs(self._random_play, count, self.design.file.search.seed)
        if missing := [each for each in zip(names, programs, strict=True) if each[0] not in known]:
            with closing(Workplace(self.design, self._tier)) as place:
                for name, program in missing:
                    self._keep(Candidate(name=name, kind="random", generation=0, program=program), place)
        self._train(names, keep=1)

    def chosen(self) -> list[tuple[Kind, str]]:
        """What is compared at the end: the best of each search, and the rewards that were there before."""
        return chosen(self.standings("written", "independent", "random"), self.archive.candidates())

    def _final(self) -> None:
        """New agents, with seeds that nothing was chosen by, for all that is compared."""
        candidates, done = self.archive.candidates(), self.archive.trained(final=True)
        seeds = range(self.design.file.final.seeds)
        names = list(dict.fromkeys(name for _, name in self.chosen()))
        self.tell("what is compared is trained anew, with other seeds: " + ", ".join(names))
        self._train_all([(candidates[n], s, True) for s in seeds for n in names if (n, s) not in done])


def chosen(found: Mapping[str, Standing], candidates: Mapping[str, Candidate]) -> list[tuple[Kind, str]]:
    """What is compared: without reflection the first generation counts, and what was asked besides."""
    searches: dict[Kind, list[Standing]] = {
        "written": [each for each in found.values() if each.candidate.kind == "written"],
        "independent": [
            each for each in found.values() if each.candidate.kind == "independent" or _first_written(each.candidate)
        ],
        "random": [each for each in found.values() if each.candidate.kind == "random"],
    }
    if not any(each.candidate.kind == "independent" for each in found.values()):
        del searches["independent"]
    best = [(kind, ranked(each)[0].candidate.name) for kind, each in searches.items() if ranked(each)]
    others = [(each.kind, name) for name, each in candidates.items() if each.kind in ("own", "human", "sparse")]
    return [*best, *others]


def _rivals(ours: Sequence[Standing], found: Iterable[Standing]) -> list[Standing]:
    """Those that candidates of one search are chosen among: without reflection, also the first generation."""
    kinds = {each.candidate.kind for each in ours}
    return [
        each
        for each in found
        if each.candidate.kind in kinds or ("independent" in kinds and _first_written(each.candidate))
    ]


def _first_written(candidate: Candidate) -> bool:
    return candidate.kind == "written" and candidate.generation == 1


def _of(kind: Kind, generation: int) -> str:
    return f"generation {generation}" if kind == "written" else "without reflection, for comparison"
