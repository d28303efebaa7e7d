"""A user's own function as a reward, asked in workers (graders/user_function.py), and who is to blame where that fails.

What is asked together and fails is asked again one by one, so that one completion costs its siblings nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from togi.find_function import absolute, files_of
from togi.graders.call_user_function import is_part_name
from togi.protocols import Asked
from togi.rewards.algebra import Leaf
from togi.rewards.blame import FAULTS, Graded, failed
from togi.rewards.printed_output import tell
from togi.rewards.verifiers import completion_text, first_answer
from togi.sandbox.workers.pool import Pool, Verdict, shared_pool
from togi.types import Score, Task, Trajectory

AT_ONCE = 16  # questions to an async function that a worker awaits together


@dataclass(frozen=True)
class python(Leaf):
    """A function of the user's own, "file.py:function" or "module:function", called in a worker.

    Togi's signature is ``(task, completion) -> float``, or ``(float, {name: float})`` with the parts that it is made
    of, called once a completion; TRL's is
    ``(completions, **columns) -> list of float``, called once a group with ``prompts``, ``completions``,
    ``completion_ids``, ``answer`` and the data's further columns. Arrays and tensors are read as lists. An ``async``
    function is awaited for many questions at once. True and False are 1 and 0, None abstains, and so does nan in TRL's
    signature, as there; text, infinities and a wrong count are errors that name the function. ``fresh`` makes each call
    in a process of its own, for a function that runs answers. ``base`` is the folder a file is relative to.
    """

    function: str
    name: str = ""
    fresh: bool = field(default=False, kw_only=True)
    base: Path = field(default_factory=Path, kw_only=True, compare=False, repr=False)
    pool: Pool = field(default_factory=shared_pool, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", absolute(self.function, self.base))
        if not self.name:
            object.__setattr__(self, "name", self.function.rpartition(":")[2])

    @property
    def files(self) -> tuple[Path, ...]:
        return files_of(self.function)

    @property
    def may_not_apply(self) -> bool:
        return True

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """All attempts at all tasks in one go, so that every worker has something to do."""
        told = self.pool.call(
            "togi.graders.call_user_function:signature", {"name": self.name}, {"function": self.function}
        )
        tell(self.name, told.output)
        if told.status != "ok":
            return [[failed(self.name, Graded(verdict=told))] * len(played) for _, played in asked]
        asking = _Asking(self, awaited=bool(told.value["awaited"]))
        groups = [_question(task, played) for task, played in asked]
        questions = [[group] if told.value["kind"] == "trl" else group.alone() for group in groups]
        answers = iter(asking.answers([each for part in questions for each in part]))
        given = [[answer for _ in part for answer in next(answers)] for part in questions]
        return [
            [self._score(each) for each in asking.blamed(group.task, part)]
            for group, part in zip(groups, given, strict=True)
        ]

    def _score(self, each: Graded) -> Score:
        if each.verdict.status != "ok":
            return failed(self.name, each)
        if each.verdict.value is None:
            return Score(value=math.nan, status="abstain", note=f"{self.name}: abstained")
        said = each.verdict.value
        value, parts = (said["value"], said["parts"]) if isinstance(said, Mapping) else (said, {})
        own = {f"{self.name}/{part}": number for part, number in parts.items()}
        return Score(value=value, parts={self.name: value, **own})


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Completions at one task that the function is asked about together, with their token ids."""

    task: Task
    completions: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...] = ((),)

    def plain(self) -> Mapping[str, Any]:
        task = self.task
        prompt = [{"role": message.role, "content": message.content} for message in task.prompt]
        return {
            "task": {"id": task.id, "prompt": prompt, "answer": task.answer, "info": dict(task.info)},
            "completions": self.completions,
            "completion_ids": self.ids,
            "columns": {**task.info, "answer": task.answer},
        }

    def some(self, places: Sequence[int]) -> _Question:
        return replace(
            self,
            completions=tuple(self.completions[place] for place in places),
            ids=tuple(self.ids[place] for place in places),
        )

    def alone(self) -> list[_Question]:
        return [self.some([place]) for place in range(len(self.completions))]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the function said of a question, or of one completion. ``blameless``: no completion is to blame for a
    failure, since the function waited for something, reached the network, or was asked too much at once."""

    verdict: Verdict
    blameless: bool = False

    def split(self) -> list[_Answer]:
        """The answer to each completion of a question that was answered."""
        return [replace(self, verdict=Verdict(value=value)) for value in self.verdict.value]


class _Asking:
    """One round of questions to a function: calls, and who is to blame for those that failed."""

    def __init__(self, own: python, *, awaited: bool) -> None:
        self.own, self.awaited = own, awaited
        self.jailed = own.pool.tier == "bubblewrap"

    def answers(self, questions: Sequence[_Question]) -> list[list[_Answer]]:
        """One answer a completion of each question."""
        said = self._ask(questions, AT_ONCE if self.awaited else 1)
        found = [
            each.split() if each.verdict.status == "ok" else [each] * len(question.completions)
            for question, each in zip(questions, said, strict=True)
        ]
        broken = [place for place, each in enumerate(said) if each.verdict.status != "ok" and len(found[place]) > 1]
        mended = self._one_by_one([questions[place] for place in broken], [said[place] for place in broken])
        for place, answers in zip(broken, mended, strict=True):
            found[place] = answers
        return found

    def blamed(self, task: Task, answers: Sequence[_Answer]) -> list[Graded]:
        """The answers to all attempts at a task. Where one failed, another one's answer is the control; where there is
        none, the task's own answer and an empty completion are asked for."""
        if all(each.verdict.status == "ok" or each.blameless for each in answers):
            return [Graded(verdict=each.verdict) for each in answers]
        control = _sound(answers)
        if control is None:
            texts = dict.fromkeys((first_answer(task) or "", ""))
            control = _sound(self._ask([_Question(task=task, completions=(text,)) for text in texts]))
        return [
            Graded(verdict=each.verdict, control=None if each.blameless or control is None else control.verdict)
            for each in answers
        ]

    def _one_by_one(self, questions: Sequence[_Question], wholes: Sequence[_Answer]) -> list[list[_Answer]]:
        """Find out which completions these questions failed at, and ask about the others of each together."""
        alone = iter(self._ask([each for question in questions for each in question.alone()]))
        apart = [[next(alone) for _ in question.completions] for question in questions]
        sound = [[place for place, each in enumerate(answers) if each.verdict.status == "ok"] for answers in apart]
        some = [number for number, answers in enumerate(apart) if 0 < len(sound[number]) < len(answers)]
        again = dict(zip(some, self._ask([questions[number].some(sound[number]) for number in some]), strict=True))
        return [
            _settled(answers, sound[number], wholes[number], again.get(number)) for number, answers in enumerate(apart)
        ]

    def _ask(self, questions: Sequence[_Question], at_once: int = 1) -> list[_Answer]:
        parts = [questions[start : start + at_once] for start in range(0, len(questions), at_once)]
        shared = {"name": self.own.name, "jailed": self.jailed, "seconds": self.own.pool.seconds}
        calls = [shared | {"questions": [each.plain() for each in part]} for part in parts]
        found: list[_Answer] = []
        given = {"function": self.own.function}
        verdicts = self.own.pool.call_many("togi.graders.call_user_function:ask", calls, given, fresh=self.own.fresh)
        for part, verdict in zip(parts, verdicts, strict=True):
            tell(self.own.name, verdict.output)
            if verdict.status == "ok" and not _are_replies(verdict.value, len(part)):
                verdict = _replied(verdict.value, "answers to its questions")
            if verdict.status == "ok":
                found += self._read(part, verdict.value)
            else:
                found += self._ask(part) if len(part) > 1 else [_Answer(verdict=verdict)]
        return found

    def _read(self, part: Sequence[_Question], value: Any) -> list[_Answer]:
        outside = bool(value["reached"]) and not self.jailed
        return [
            _Answer(verdict=reply, blameless=outside or (self.awaited and reply.status == "timeout"))
            for reply in (
                _verdict(said, len(question.completions)) for question, said in zip(part, value["replies"], strict=True)
            )
        ]


def _settled(answers: Sequence[_Answer], sound: Sequence[int], whole: _Answer, again: _Answer | None) -> list[_Answer]:
    """The answers to the completions of a question that failed as a ``whole``: each was asked about alone, and those
    that are ``sound`` then once more together, ``again``, since a function may compare them."""
    if not sound:
        return [whole] * len(answers)
    if again is None:
        note = f"{whole.verdict.note}, for {len(answers)} completions; each of them alone is answered"
        return [_Answer(verdict=replace(whole.verdict, note=note), blameless=True)] * len(answers)
    found = [each.split()[0] if each.verdict.status == "ok" else each for each in answers]
    for place, each in zip(sound, again.split() if again.verdict.status == "ok" else [], strict=False):
        found[place] = each
    return found


def _question(task: Task, played: Sequence[Trajectory]) -> _Question:
    return _Question(
        task=task,
        completions=tuple(map(completion_text, played)),
        ids=tuple(each.turns[-1].completion if each.turns else () for each in played),
    )


def _verdict(reply: Mapping[str, Any], count: int) -> Verdict:
    """A reply as a verdict."""
    if "values" not in reply:
        return Verdict(status=reply["status"], note=str(reply.get("note", "")))
    values = reply["values"]
    if isinstance(values, list) and len(values) == count and all(map(_is_mark, values)):
        return Verdict(value=values)
    return _replied(values, f"{count} numbers")


def _replied(value: Any, wanted: str) -> Verdict:
    return Verdict(status="error", note=f"its worker replied {str(value)[:100]!r}; {wanted} were wanted")


def _are_replies(value: Any, count: int) -> bool:
    """Whether a worker replies so. It was checked there already: but a function that runs answers may have had its
    reply forged by one."""
    replies = value.get("replies") if isinstance(value, dict) and "reached" in value else None
    return (
        isinstance(replies, list)
        and len(replies) == count
        and all(
            isinstance(reply, dict) and ("values" in reply or str(reply.get("status")) in FAULTS) for reply in replies
        )
    )


def _is_mark(value: Any) -> bool:
    if isinstance(value, dict):
        parts = value.get("parts")
        return (
            value.keys() == {"value", "parts"}
            and isinstance(parts, dict)
            and all(map(is_part_name, parts))
            and all(map(_is_number, [value["value"], *parts.values()]))
        )
    return value is None or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _sound(answers: Sequence[_Answer]) -> _Answer | None:
    """An answer that shows the function to be at work, and to need nothing from outside."""
    return next((each for each in answers if each.verdict.status == "ok" and not each.blameless), None)
