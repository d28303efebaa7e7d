"""Answers, and for tasks that were not solved, answers given with the right one as a hint, from which the hint is taken
away. It knows tasks and a Play, and no model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from togi.protocols import Play, Sampler, Texts
from togi.samplers.group import ask, draw, recorded
from togi.types import CUT, Group, Message, Question, Sampling, Task, Trajectory
from togi.unicode_words import WORD

PROMPT, ANSWER = "{prompt}", "{answer}"
NOTE = "rationalised: the right answer was given as a hint"


@dataclass(frozen=True)
class Rationalised(Sampler):
    """STaR's sampler (https://arxiv.org/abs/2203.14465, algorithm 1): ``n`` attempts at each task, and where none of
    them is right, as many with the task's own answer as a hint. One attempt is the likeliest answer, as in the paper;
    several are drawn.

    ``hint`` is how the last message of the prompt is written then: ``{prompt}`` stands for what it says, ``{answer}``
    for the answer. Of what is written with a hint, only right answers are kept, in a group of their own and as if they
    had been given to the task's own prompt: neither the reward nor whoever learns them sees the hint. One that repeats
    the hint's words is left out, since it would speak of what is not there. ``rationalise`` false gives no hints. What
    is worth ``right_from`` or more is right, by the part ``correct`` where a reward has one.

    Left in ``play.counts``: ``star/right`` (share of tasks solved without a hint), ``star/rationalised`` (share of
    tasks solved with one only) and ``star/told`` (share of answers with a hint that repeat it).
    """

    n: int = 1
    rationalise: bool = True
    hint: str = "{prompt}\n\n(Hint: the answer is {answer}.)"
    right_from: float = 0.5

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")
        if lacking := [each for each in (PROMPT, ANSWER) if self.hint.count(each) != 1]:
            raise ValueError(
                f"hint says where the prompt and the answer stand, by {PROMPT} and {ANSWER} once each; "
                f"got {self.hint.count(lacking[0])} of {lacking[0]} in {self.hint!r:.200}"
            )

    @property
    def apart(self) -> bool:
        return True

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        drawn = draw(tasks, want)
        groups = play([replace(question, sampling=self._how(play)) for question in ask(drawn, self.n)])
        unsolved = [place for place, group in enumerate(groups) if not self._right(group)]
        asked = [place for place in unsolved if self.rationalise and play.chat.reference(groups[place].task)]
        told, hinted = self._hinted([groups[place].task for place in asked], play)
        rationalised = [_only(group, right) for group in hinted if (right := self._right(group))]
        play.counts.update(_counts(want, len(unsolved), len(rationalised), told))
        return [*groups, *rationalised]

    def _how(self, play: Play) -> Sampling:
        return replace(play.sampling, temperature=0.0) if self.n == 1 else play.sampling

    def _hinted(self, unsolved: Sequence[Task], play: Play) -> tuple[list[bool], list[Group]]:
        """Whether each answer with a hint repeats it, and for each task those that do not, scored without it."""
        if not unsolved:
            return [], []
        hinted = [self.hinted(task, play.chat) for task in unsolved]
        asked = [Question(task=task, attempts=self.n, sampling=self._how(play)) for task in hinted]
        told: list[bool] = []
        pairs = []
        for task, attempts in zip(unsolved, play.attempts(asked), strict=True):
            own = [self._tells(attempt, task, play.chat) for attempt in attempts]
            kept = [one for one, tells in zip(attempts, own, strict=True) if not tells and _whole(one)]
            pairs.append((task, _unhinted(task, kept, play.chat)))
            told += own
        return told, play.scored(pairs)

    def hinted(self, task: Task, chat: Texts) -> Task:
        """The task with its answer in the last message that asks."""
        *before, last = task.prompt
        filled = {PROMPT: last.content, ANSWER: chat.reference(task) or ""}
        written = re.sub(r"\{prompt\}|\{answer\}", lambda place: filled[place[0]], self.hint)
        return replace(task, id=f"{task.id} with a hint", prompt=(*before, replace(last, content=written)))

    def _tells(self, attempt: Trajectory, task: Task, chat: Texts) -> bool:
        """Whether an answer repeats what the hint said in words."""
        said = "".join(turn.text for turn in attempt.turns).casefold()
        pieces = self.hint.replace(ANSWER, chat.reference(task) or "").split(PROMPT)
        return any(len(WORD.findall(piece)) > 1 and piece.strip().casefold() in said for piece in pieces)

    def _right(self, group: Group) -> list[int]:
        return [
            place
            for place, score in enumerate(group.scores)
            if score.status == "ok" and score.correct >= self.right_from
        ]


def _counts(tasks: int, unsolved: int, solved: int, told: Sequence[bool]) -> dict[str, float]:
    counts = {"star/right": 1 - unsolved / tasks, "star/rationalised": solved / tasks}
    return counts | ({"star/told": fmean(told)} if told else {})


def _whole(attempt: Trajectory) -> bool:
    """Whether an attempt is an answer: a single turn that says something and that no limit has cut."""
    return (
        attempt.error is None
        and attempt.stop not in CUT
        and len(attempt.turns) == 1
        and bool(attempt.turns[0].text.strip())
    )


def _unhinted(task: Task, attempts: Sequence[Trajectory], chat: Texts) -> tuple[Trajectory, ...]:
    """What was written with a hint, as written answers to the task's own prompt."""
    answers = tuple((Message(role="assistant", content=one.turns[0].text),) for one in attempts)
    return recorded(replace(task, recorded=answers, worth=()), chat).trajectories if answers else ()


def _only(group: Group, right: Sequence[int]) -> Group:
    return replace(
        group,
        trajectories=tuple(group.trajectories[place] for place in right),
        scores=tuple(replace(group.scores[place], note=NOTE) for place in right),
    )
