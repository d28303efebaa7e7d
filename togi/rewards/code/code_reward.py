"""The reward of code: runs the program of each completion in a box and compares what came out, outside of it.

The program gets inputs and nothing else: no test, no expected value and no verdict to forge. What it does to its own
process, its exit code included, is worth nothing; a value is right when it is what was wanted, by type and value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from togi.protocols import Asked
from togi.rewards.algebra import Leaf, Surroundings
from togi.rewards.code.extra_tests import with_fresh
from togi.rewards.code.find_program import program
from togi.rewards.code.row_tests import BadTests, Tests, read_maker, read_tests
from togi.rewards.code.run_program import Attempt
from togi.rewards.verifiers import completion_text
from togi.sandbox.box import Box, Limits, Tier
from togi.sandbox.tiers.choose_tier import open_box
from togi.types import Fault, Score, Status, Task, Trajectory

PAYS = ("all", "fraction")


@dataclass(frozen=True)
class code(Leaf):
    """1 when the program of a completion passes the task's tests, run in a jail (docs/code.md shows how tests look).

    ``pay`` "fraction" pays the share of tests passed instead. ``fresh`` is how many tests are made beside those of the
    row, from its columns ``fresh`` and ``reference``. ``tolerance`` is the largest difference of floats where the row
    says nothing of it. ``seconds`` and ``memory_mb`` limit one program with all its calls. ``box`` is a place to run
    them in, or the name of its tier.

    A program that hangs, crashes, floods its output or needs what the box does not speak earned 0, since that is the
    model's doing. Status "unparseable" means that the row's tests could not be read or made, "error" that no program
    could be run at all. Parts beside ``correct`` (all tests passed) and ``parsed`` (a program was found): NAME/passed,
    the share of tests passed, and NAME/ran, whether the program ended by itself within its limits.
    """

    pay: str = "all"
    fresh: int = 0
    tolerance: float = 0.0
    seconds: float = 5.0
    memory_mb: int = 512
    name: str = "code"
    box: Box | Tier | Literal["auto"] = field(default="auto", kw_only=True, compare=False, repr=False)
    _made: dict[str, Tests] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.pay not in PAYS:
            raise ValueError(f'code: pay is "all" or "fraction"; got "{self.pay}"')
        if self.fresh < 0 or not 0 <= self.tolerance < math.inf:
            raise ValueError(f"code: fresh and tolerance are at least 0; got {self.fresh} and {self.tolerance}")
        if self.seconds <= 0 or self.memory_mb < 64:
            raise ValueError(f"code: seconds is above 0, memory_mb at least 64; got {self.seconds}, {self.memory_mb}")

    def opened(self, at: Surroundings) -> code:
        """The same, once a jail was found: a run without one is refused before it starts."""
        self._open()
        return self

    def right(self, task: Task) -> str | None:
        """The row's right program as a completion; None when the row has none."""
        reference = task.info.get("reference")
        return f"```python\n{reference}\n```" if isinstance(reference, str) else None

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """The programs of all attempts at all tasks in one go, some side by side."""
        box = self._open()
        plans = [
            (self._tests(task, box), [program(completion_text(each)) for each in played]) for task, played in asked
        ]
        groups = [
            [Attempt(tests=tests, source=source) if isinstance(tests, Tests) and source else None for source in sources]
            for tests, sources in plans
        ]
        attempts = [attempt for group in groups for attempt in group if attempt is not None]
        self._run(box, attempts)
        return [
            [self._score(tests, attempt, box) for attempt in group]
            for (tests, _), group in zip(plans, groups, strict=True)
        ]

    def _open(self) -> Box:
        return open_box(self.box) if isinstance(self.box, str) else self.box

    @property
    def _limits(self) -> Limits:
        return Limits(seconds=self.seconds, memory_mb=self.memory_mb)

    def _tests(self, task: Task, box: Box) -> Tests | BadTests:
        """The task's tests. Those that are made are made once: they depend on the row alone."""
        try:
            tests = read_tests(task)
            if not self.fresh:
                return tests
            maker = read_maker(task)
            row = json.dumps([task.answer, maker.reference, maker.fresh], sort_keys=True)
            if row not in self._made:
                self._made[row] = with_fresh(tests, maker, self.fresh, row, box, self._limits)
        except BadTests as error:
            return error
        return self._made[row]

    def _run(self, box: Box, attempts: Sequence[Attempt]) -> None:
        """Run every program, and then every row's own check of what they gave."""
        ran = iter(box.run([job for attempt in attempts for job in attempt.jobs()], self._limits))
        for attempt in attempts:
            attempt.ran = tuple(islice(ran, len(attempt.jobs())))
        checked = [attempt for attempt in attempts if attempt.tests.check]
        verdicts = box.run([attempt.asking() for attempt in checked], self._limits)
        for attempt, verdict in zip(checked, verdicts, strict=True):
            attempt.verdicts = verdict

    def _score(self, tests: Tests | BadTests, attempt: Attempt | None, box: Box) -> Score:
        if isinstance(tests, BadTests):
            return self._unscored("unparseable", str(tests))
        if attempt is None:
            return Score(value=0.0, parts=self._parts(0.0, 0.0, parsed=False, ran=False), note="no program was found")
        if attempt.failed is not None or attempt.check_broken:
            return self._not_judged(attempt, box)
        marks = attempt.passed(self.tolerance)
        correct = float(all(marks) and attempt.whole)
        share = sum(marks) / len(marks)
        value = share if self.pay == "fraction" and (attempt.whole or share < 1.0) else correct
        note = "" if correct else f"{self.name}: {attempt.said(marks)}"
        parts = self._parts(value, correct, share, ran=attempt.whole)
        return Score(value=value, parts=parts, own_fault=None if value else attempt.ran_over, note=note)

    def _not_judged(self, attempt: Attempt, box: Box) -> Score:
        """The box refused the program, or its output ended the row's check: the completion's own fault, unless the
        box, or the check, does not run at all."""
        (control,) = box.run([attempt.control()], self._limits)
        refused = attempt.failed
        if refused is None and control.status != "ok":
            return self._unscored("unparseable", 'the row\'s "check" cannot be called')
        if refused is not None and (refused is attempt.verdicts or not control.judged):
            return self._unscored("error", refused.note)
        note = refused.note if refused is not None else 'its output ended the row\'s "check"'
        parts = self._parts(0.0, 0.0, ran=attempt.whole)
        fault: Fault = "error" if refused is None else "construct"
        return Score(value=0.0, parts=parts, own_fault=fault, note=f"{self.name}: {note}")

    def _parts(
        self, value: float, correct: float, passed: float = 0.0, *, parsed: bool = True, ran: bool
    ) -> dict[str, float]:
        return {
            self.name: value,
            "correct": correct,
            "parsed": float(parsed),
            f"{self.name}/passed": passed,
            f"{self.name}/ran": float(ran),
        }

    def _unscored(self, status: Status, note: str) -> Score:
        return Score(value=math.nan, status=status, note=f"{self.name}: {note}")
