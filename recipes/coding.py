"""A closed coding loop: a program with one wrong sign, tests that can be run, edits, and hidden tests at the end.

Programs run in a jail, and what they give is compared outside of it, so that nothing a program does can pass a test.
``problem`` makes a row, ``Coding`` plays it, ``model`` makes a little model that can read both.
"""

from __future__ import annotations

import operator
import random
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from little_model import END, TEMPLATE, character_tokenizer, little_llama
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.rewards.code.compare_values import same
from togi.sandbox.box import AnyTier, Box, Calls, Limits, Ran
from togi.sandbox.tiers.choose_tier import open_box
from togi.types import Message, Task

SIGNS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
SHOWN, HIDDEN = 2, 6  # tests of each kind
LIMITS = Limits(seconds=2.0, memory_mb=256, output_bytes=10_000)
LONGEST = 2000  # characters of a program, and of what is shown of a value


def problem(rng: random.Random) -> dict[str, Any]:
    """A program whose sign is not the wanted one, tests of both kinds, and a conversation that shows the form alone: it
    guesses a sign, and does not look at what the tests say."""
    wrong, right = rng.sample(list(SIGNS), 2)
    inputs = rng.sample([(a, b) for a in range(2, 10) for b in range(2, 10) if _tells(right, a, b)], SHOWN + HIDDEN)
    tests = [[list(each), SIGNS[right](*each)] for each in inputs]
    one, other = rng.sample(string.ascii_lowercase.replace("f", ""), 2)
    row: dict[str, Any] = {
        "program": _program(one, other, wrong),
        "tests": tests[:SHOWN],
        "hidden": tests[SHOWN:],
        "answer": right,
    }
    messages, sign = [_said("user", row["program"])], wrong
    for _ in range(rng.choice([1, 1, 2, 3])):
        messages += [_said("assistant", "test"), _said("user", _told(tests[:SHOWN], _given(sign, tests[:SHOWN])))]
        guess = rng.choice([each for each in SIGNS if each != sign])
        messages += [_said("assistant", f"edit {sign} => {guess}"), _said("user", "edited")]
        sign = guess
    return row | {"messages": [*messages, _said("assistant", "done")]}


def _tells(right: str, a: int, b: int) -> bool:
    """Whether a test of these numbers tells the right sign from every other."""
    return all(SIGNS[each](a, b) != SIGNS[right](a, b) for each in SIGNS if each != right)


def _program(one: str, other: str, sign: str) -> str:
    return f"def f({one}, {other}):\n    return {one} {sign} {other}"


def _given(sign: str, tests: Sequence[Any]) -> list[str]:
    return [repr(SIGNS[sign](*inputs)) for inputs, _ in tests]


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _told(tests: Sequence[Any], given: Sequence[str]) -> str:
    """What the tests say."""
    lines = [
        f"f({', '.join(map(repr, inputs))}) gave {got}, wanted {wanted!r}"
        for (inputs, wanted), got in zip(tests, given, strict=True)
        if got != repr(wanted)
    ]
    return "\n".join(lines) or "passed"


class Coding:
    """``test`` runs the tests that are shown, ``edit OLD => NEW`` changes the one place where OLD stands, ``read``
    shows the program, and ``done`` ends the attempt: it is paid 1 when the hidden tests pass, and nothing else is paid.

    With ``blind`` the model is not told what the tests say. ``tier`` is the jail that programs run in; ValueError says
    that it does not hold on this machine.
    """

    harmless = "read"

    def __init__(self, task: Task, turns: int = 6, blind: bool = False, tier: AnyTier = "auto") -> None:
        self.task, self.turns, self.blind = task, turns, blind
        self.box = _box(tier)
        self.program = str(task.info["program"])
        self.counts = {"tests": 0, "edits": 0, "unreadable": 0, "passed_when_done": 0}
        self.honest = ["test", f"edit {_sign(self.program)} => {task.answer}", "test", "done"]
        self.turn = 0

    def start(self) -> tuple[Message, ...]:
        return self.task.prompt

    def step(self, message: Message) -> tuple[str, float, bool]:
        self.turn += 1
        said = message.content.strip()
        if said == "done":
            passed = self._passes(self.task.info["hidden"])
            self.counts["passed_when_done"] = int(passed)
            return "", float(passed), True
        return self._answer(said), 0.0, self.turn == self.turns

    def _answer(self, said: str) -> str:
        if said == "test":
            self.counts["tests"] += 1
            return "tested" if self.blind else self._tested()
        if said == "read":
            return self.program
        command, _, change = said.partition(" ")
        old, arrow, new = change.partition(" => ")
        if command != "edit" or not arrow or not old:
            self.counts["unreadable"] += 1
            return "say test, read, done, or edit OLD => NEW"
        if (places := self.program.count(old)) != 1:
            return f"the program has this {places} times, and it must be there once"
        edited = self.program.replace(old, new)
        if len(edited) > LONGEST:
            return f"a program has at most {LONGEST} characters"
        self.program = edited
        self.counts["edits"] += 1
        return "edited"

    def _tested(self) -> str:
        """What the shown tests say, without a word of the hidden ones."""
        tests = self.task.info["tests"]
        ran = _run(self.box, self.program, _inputs(tests))
        if ran.status != "ok":
            return f"{ran.status}: {ran.note}"[:LONGEST]
        given = [repr(each.value) if each.status == "ok" else each.note for each in ran.outcomes]
        return _told(tests, given)[:LONGEST]

    def _passes(self, tests: Sequence[Any]) -> bool:
        ran = _run(self.box, self.program, _inputs(tests))
        if ran.status != "ok" or len(ran.outcomes) != len(tests):
            return False
        pairs = zip(ran.outcomes, tests, strict=True)
        return all(each.status == "ok" and same(each.value, wanted) for each, (_, wanted) in pairs)


def _sign(program: str) -> str:
    """The sign that the program has, the longest of those that stand in it."""
    return max((sign for sign in SIGNS if f" {sign} " in program), key=len, default="+")


def _inputs(tests: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(inputs) for inputs, _ in tests)


@lru_cache(maxsize=20_000)
def _run(box: Box, program: str, inputs: tuple[tuple[Any, ...], ...]) -> Ran:
    """What a program gives: many attempts write the same one, and one run tells of all."""
    (ran,) = box.run([Calls(source=program, function="f", arguments=inputs)], LIMITS)
    if not ran.judged:
        raise RuntimeError(f"the jail did not run a program: {ran.note}")
    return ran


@cache
def _box(tier: AnyTier) -> Box:
    return open_box(tier, workers=1)


WORDS = ["def", "return", "test", "edit", "read", "done", "tested", "edited", "passed", "gave", "wanted", "error"]


def model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """About 250,000 weights that know nothing yet, and a tokenizer of single characters and the words of this task."""
    characters = [*map(chr, range(32, 127)), "\n"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([END, *characters, *WORDS, "//", "=>"]))}
    known = "|".join(rf"\b{word}\b" for word in WORDS)
    tokenizer = character_tokenizer(vocabulary, TEMPLATE, rf"{known}|//|=>|.|\n")
    return little_llama(tokenizer, width=96, layers=2, positions=512), tokenizer
