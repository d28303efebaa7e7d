"""The loop of Eureka: programs are written, tried, trained and measured, and the next are written from what was found.

It decides what is done next from what the archive holds, so that a design which is killed goes on where it was. What
does the work stands elsewhere: who is asked is a transcript's, and what tries programs and trains is a subject's.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from togi.reward_design.archive import Archive, Generation
from togi.reward_design.asked import first_question, next_question, program_of, requests
from togi.reward_design.design import Candidate, Design, Kind
from togi.reward_design.findings import Standing, different, hopeless, ranked, standings
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.reflection import reflection
from togi.reward_design.subject import Job, Subject
from togi.reward_design.words import words_of
from togi.transcript import Transcript
from togi.types import Message

COMMENTS = "comments.txt"
"""The file in a design's folder that a person may write between generations."""
Tell = Callable[[str], None]


class Search:
    """One design in its folder. ``tell`` is given a line for whoever watches."""

    def __init__(self, design: Design, archive: Archive, subject: Subject, transcript: Transcript, tell: Tell) -> None:
        self.design, self.archive, self.subject, self.tell = design, archive, subject, tell
        self._transcript = transcript

    def run(self, *, one_generation: bool = False) -> bool:
        """Search, compare and measure anew; whether all is done. With ``one_generation`` it stops after the next
        generation that was not done yet, for a person to look and comment."""
        search = self.design.file.search
        self.subject.check()
        for number in range(1, search.generations + 1):
            worked = self._generation(number)
            if worked and one_generation and number < search.generations:
                return False
        self._comparisons()
        self._final()
        return True

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
            return next_question(self.design, "reflection", reflection(standing, words_of(self.design)), comment)
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
        made = []
        for name, reply, parent in zip(names, replies, parents, strict=True):
            program, fault = program_of(reply, self.design.dialect)
            fault = fault or fault_of(program, self.design.dialect)
            made.append(
                Candidate(
                    name=name, kind=kind, generation=generation, program=program or None, fault=fault, parent=parent
                )
            )
        self._keep(made)

    def _keep(self, made: Sequence[Candidate]) -> None:
        """Keep new candidates, those that could be read once they were tried. One that was written before is not tried
        and trained with again."""
        names = {each.name for each in made}
        earlier = [
            each for each in self.archive.candidates().values() if each.name not in names and each.kind != "human"
        ]
        first: dict[str, Candidate] = {}
        for each in [*earlier, *made]:
            if each.program and not (each.fault and each.name in names):
                first.setdefault(_normal(each.program), each)
        new = [each for each in first.values() if each.name in names]
        tried = {each.name: each for each in self.subject.examined(new)}
        for each in made:
            if each.name in tried:
                each = tried[each.name]
            elif each.program and not each.fault:
                before = first[_normal(each.program)]
                before = tried.get(before.name, before)
                each = replace(each, fault=before.fault, attack=before.attack, same=before.original)
            self.archive.add(each)
            if each.fault:
                self.tell(f"  {each.name} cannot be used: {each.fault}")

    def _train(self, names: Iterable[str], keep: int) -> bool:
        """Train the candidates, one agent each and then the next, without those that cannot be among the best ``keep``
        any more; whether anything was left to do."""
        worked = False
        for number in range(self.design.file.search.seeds):
            found = self.standings(*(each.kind for each in self.archive.candidates().values()))
            ours = different(found[name] for name in names)
            rivals = _rivals(ours, found.values())
            left = [
                found[each.candidate.original].candidate
                for each in ours
                if each.candidate.trainable
                and len(each.agents) == number
                and each.state != "failed"
                and not hopeless(each, rivals, keep)
            ]
            worked = self._train_all([(candidate, number, False) for candidate in left]) or worked
        return worked

    def _train_all(self, jobs: Sequence[Job]) -> bool:
        if not jobs:
            return False
        for job, (trained, weights) in self.subject.trained(jobs):
            self.archive.add_trained(trained, weights, final=job[2])
            said = trained.fault or f"fitness {trained.fitness:.2f}"
            self.tell(f"  {trained.candidate}, number {trained.seed + 1}{' (last)' * job[2]}: {said}")
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
        for kind, program in self.subject.there_before():
            if kind not in known:
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
        if not set(names) <= known:
            programs = zip(names, self.subject.random_programs(count), strict=True)
            self._keep(
                [
                    Candidate(name=name, kind="random", generation=0, program=program)
                    for name, program in programs
                    if name not in known
                ]
            )
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
    best = [(kind, ranked(each)[0].candidate.original) for kind, each in searches.items() if ranked(each)]
    others = [(each.kind, name) for name, each in candidates.items() if each.kind in ("own", "human", "sparse")]
    return [*best, *others]


def _rivals(ours: Sequence[Standing], found: Iterable[Standing]) -> list[Standing]:
    """Those that candidates of one search are chosen among: without reflection, also the first generation."""
    kinds = {each.candidate.kind for each in ours}
    return different(
        each
        for each in found
        if each.candidate.kind in kinds or ("independent" in kinds and _first_written(each.candidate))
    )


def _first_written(candidate: Candidate) -> bool:
    return candidate.kind == "written" and candidate.generation == 1


def _normal(program: str) -> str:
    """What is the same for programs that differ in layout and comments alone."""
    try:
        return ast.dump(ast.parse(program))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program


def _of(kind: Kind, generation: int) -> str:
    return f"generation {generation}" if kind == "written" else "without reflection, for comparison"
