"""One completion's program on its way through the box, and what is made of what came out; it pays nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from togi.rewards.code.compare_values import same, same_text
from togi.rewards.code.row_tests import Tests
from togi.sandbox.box import Calls, Outcome, Ran, Script
from togi.sandbox.codec import NoValue, encode
from togi.types import Fault

LIMITS: Mapping[str, Fault] = {"timeout": "time", "memory": "memory", "output": "length"}


@dataclass(kw_only=True)
class Attempt:
    """A program and its tests. ``ran`` has one entry a program run, ``verdicts`` what the row's own check said of each
    output that it was asked about, in their order."""

    tests: Tests
    source: str
    ran: Sequence[Ran] = ()
    verdicts: Ran | None = None

    def jobs(self) -> list[Calls | Script]:
        """All calls in one process; a script has one for each input."""
        if self.tests.function:
            source = f"{self.tests.setup}\n{self.source}" if self.tests.setup else self.source
            return [Calls(source=source, function=self.tests.function, arguments=self.tests.inputs)]
        return [Script(source=self.source, stdin=text) for text in self.tests.inputs]

    def asking(self) -> Calls:
        """The row's own check, to be called in a box of its own: it is told arguments and output as plain values."""
        asked = tuple((list(self.tests.inputs[index]), outcome.value) for index, outcome in self._asked())
        return Calls(source=self.tests.check, function="check", arguments=asked)

    @property
    def failed(self) -> Ran | None:
        """A run that says nothing about the program: the box did not start, or cannot run such a program."""
        runs = [*self.ran, *([self.verdicts] if self.verdicts is not None else [])]
        return next((ran for ran in runs if not ran.judged), None)

    @property
    def check_broken(self) -> bool:
        """Whether the row's own check never said a word, having been asked."""
        return self.verdicts is not None and self.verdicts.status == "error" and not self.verdicts.outcomes

    def control(self) -> Calls | Script:
        """What a box that can run anything runs: where the check broke, the check with nothing to look at, else a
        program that does nothing."""
        if self.check_broken:
            return replace(self.asking(), arguments=())
        if not self.tests.function:
            return Script(source="")
        return Calls(
            source=f"def {self.tests.function}():\n    return None\n", function=self.tests.function, arguments=()
        )

    @property
    def ran_over(self) -> Fault | None:
        """The first limit that a run went beyond."""
        return next((LIMITS[ran.status] for ran in self.ran if ran.status in LIMITS), None)

    @property
    def whole(self) -> bool:
        """Whether every run ended by itself, within its limits."""
        return all(ran.status == "ok" for ran in self.ran)

    def passed(self, tolerance: float) -> list[bool]:
        """Which of the tests were passed; those that were not reached were not."""
        tests = self.tests
        marks = [False] * len(tests.inputs)
        if not tests.function:
            return [
                ran.status == "ok" and same_text(ran.stdout, wanted)
                for ran, wanted in zip(self.ran, tests.outputs, strict=True)
            ]
        if tests.check:
            assert self.verdicts is not None
            for (index, _), said in zip(self._asked(), self.verdicts.outcomes, strict=False):
                marks[index] = said.status == "ok" and said.value is True
            return marks
        room = tolerance if tests.tolerance is None else tests.tolerance
        for index, outcome in self._given():
            marks[index] = same(outcome.value, tests.outputs[index], strict=tests.strict, tolerance=room)
        return marks

    def _given(self) -> Iterator[tuple[int, Outcome]]:
        for index, outcome in enumerate(self.ran[0].outcomes[: len(self.tests.inputs)]):
            if outcome.status == "ok":
                yield index, outcome

    def _asked(self) -> Iterator[tuple[int, Outcome]]:
        """The outputs that can enter a box again: one may be as deep as a value can be, and arguments hold it."""
        for index, outcome in self._given():
            try:
                encode((list(self.tests.inputs[index]), outcome.value))
            except NoValue:
                continue
            yield index, outcome

    def said(self, marks: Sequence[bool]) -> str:
        """Why tests were not passed, without a word of what was wanted."""
        ended = next((ran for ran in self.ran if ran.status != "ok"), None)
        if ended is not None:
            return f"{ended.status}: {ended.note}".rstrip(": ")
        if all(marks):
            return ""
        first = marks.index(False)
        count = f"{sum(marks)} of {len(marks)} tests passed; test {first + 1} "
        if not self.tests.function or first >= len(self.ran[0].outcomes):
            return f"{count}gave another output" if not self.tests.function else f"{count}was not reached"
        outcome = self.ran[0].outcomes[first]
        return count + ("gave another value" if outcome.status == "ok" else f"{outcome.status}: {outcome.note}")
