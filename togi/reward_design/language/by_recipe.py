"""A language model that a recipe trains, as the search asks for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np

from togi.evidence.redteam.ask_reward import attempt
from togi.evidence.redteam.reward_card import SEVERITIES, Card
from togi.reward_design.archive import PROGRAMS, Archive
from togi.reward_design.design import Candidate, Kind, RecipeDesign, Trained
from togi.reward_design.language.random_texts import random_texts
from togi.reward_design.language.trainings import Trainings
from togi.reward_design.language.try_out import attack_told, attacked, fault_in, tried_answers
from togi.reward_design.side_by_side import side_by_side
from togi.reward_design.subject import Job, Made
from togi.rewards import python
from togi.sandbox.box import AnyTier
from togi.sandbox.workers.pool import Pool
from togi.types import Task

SECONDS, MEMORY_MB = 3.0, 512  # of a program that is tried or attacked
ASKED = 64  # answers whose pay is compared with that of a person's program


class ByRecipe:
    """Programs are tried on answers that others wrote, attacked, and each trains models, with the recipe's own means to
    keep a reward's function in."""

    def __init__(self, design: RecipeDesign, archive: Archive, tier: AnyTier = "auto") -> None:
        self._design, self._archive, self._tier = design, archive, tier
        self._trainings = Trainings(design, archive.path, tier)

    def check(self) -> None:
        with self._pool() as pool:
            pool.refuse_foreign_code("a reward design")

    def examined(self, written: Sequence[Candidate]) -> Iterator[Candidate]:
        with self._pool() as pool:
            for each in written:
                program = self._program(each, pool)
                fault = fault_in(program, self._tried)
                yield replace(each, fault=fault) if fault else self._attacked(each, program, pool)

    def _attacked(self, each: Candidate, program: python, pool: Pool) -> Candidate:
        evaluation, attack = self._design.run.evaluation, self._design.file.attack
        assert evaluation is not None
        card = attacked(
            program,
            evaluation.tasks[: self._design.file.search.episodes],
            evaluation.reward,
            answers=self._design.stage.tasks[0].answer is not None,
            rows=attack.rows,
            pool=pool,
        )
        if card is None:
            return each
        self._archive.add_attack(each.name, asdict(card))
        told = attack_told(card)
        return replace(each, attack=told, fault=f"the red team finds it {told}" if self._refuses(card) else "")

    def _refuses(self, card: Card) -> bool:
        refuse = self._design.file.attack.refuse
        return (
            refuse != "never"
            and card.severity is not None
            and SEVERITIES.index(card.severity) >= SEVERITIES.index(refuse)
        )

    def random_programs(self, count: int) -> list[str]:
        asked = [(task.prompt[-1].content, answer) for task, answers in self._tried for answer in answers]
        return random_texts(asked, count, self._design.file.search.seed)

    def there_before(self) -> list[tuple[Kind, str | None]]:
        compare, human = self._design.file.compare, self._design.human
        found: list[tuple[Kind, bool, str | None]] = [
            ("own", compare.own, None),
            ("human", human is not None, human),
            ("sparse", self._design.sparse is not None, None),
        ]
        return [(kind, program) for kind, wanted, program in found if wanted]

    def trained(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Made]]:
        for candidate, _, _ in jobs:
            self._archive.add_program(candidate)
        for job, (trained, weights) in side_by_side(
            jobs, self._trainings.make, self._trainings.workers, self._trainings.stop
        ):
            yield job, (replace(trained, human=self._agreement(job, trained)), weights)
            self._trainings.drop(job)

    def keep_pictures(self, archive: Archive, candidate: str) -> str:
        return ""

    def _agreement(self, job: Job, trained: Trained) -> float | None:
        """The correlation of a candidate's pay with that of the person's program, over the last answers of a training;
        None where one is constant."""
        candidate = job[0]
        if self._design.human is None or candidate.program is None or trained.fault:
            return None
        tasks = {task.id: task for task in self._design.stage.tasks}
        rows = [row for row in self._trainings.last_answers(job) if row["task"] in tasks][:ASKED]
        with self._pool() as pool:
            by_person = Candidate(name="human", kind="human", generation=0, program=self._design.human)
            human = self._program(by_person, pool)
            pairs = [
                (row["score"].get("value"), self._pay(human, tasks[row["task"]], row["completion"])) for row in rows
            ]
        if not (known := [pair for pair in pairs if None not in pair]):
            return None
        one, other = np.array(known, np.float64).T
        if min(float(np.ptp(one)), float(np.ptp(other))) <= 0:
            return None
        found = float(np.corrcoef(one, other)[0, 1])
        return found if math.isfinite(found) else None

    def _pay(self, program: python, task: Task, completion: str) -> float | None:
        (score,) = program(task, [attempt(task, completion)])
        return score.value if score.status == "ok" else None

    def _program(self, candidate: Candidate, pool: Pool) -> python:
        """A candidate's program as a reward; it stands in the design's folder from then on."""
        self._archive.add_program(candidate)
        path = self._archive.path.resolve() / PROGRAMS / f"{candidate.name}.py"
        return python(f"{path}:{self._design.dialect.function}", pool=pool)

    def _pool(self) -> Pool:
        return Pool(workers=1, seconds=SECONDS, memory_mb=MEMORY_MB, tier=self._tier)

    @cached_property
    def _tried(self) -> list[tuple[Task, tuple[str, ...]]]:
        return tried_answers(self._design.run, self._design.number, self._design.file.search.seed)
