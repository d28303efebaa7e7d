"""The two plain samplers: recorded answers, and n attempts a task. They drop nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from togi.protocols import Play, Sampler, Texts
from togi.types import Group, Question, Score, Task, Trajectory


@dataclass(frozen=True)
class Recorded(Sampler):
    """The answers written before training: nothing is sampled."""

    @property
    def writes(self) -> bool:
        return False

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        return [recorded(task, play.chat) for task in draw(tasks, want)]


@dataclass(frozen=True)
class Groups(Sampler):
    """``n`` attempts at each task.

    With ``votes``, so many attempts are drawn and scored together, and the first ``n`` of them are learned from: a
    majority is surer of more votes than are worth learning from (TTRL votes with 64 and learns from 32). Attempts are
    alike before they are drawn, so that the first ones stand for all.

    With ``demonstrations``, so many of a task's recorded answers stand in its group beside the attempts, as far as it
    has any: they are scored along with them and compared with them (LUFFY, https://arxiv.org/abs/2504.14945).
    """

    n: int
    votes: int | None = None
    demonstrations: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")
        if self.votes is not None and self.votes < self.n:
            raise ValueError(f"votes counts all attempts, of which {self.n} are learned from; got {self.votes}")
        check_demonstrations(self.demonstrations)
        if self.demonstrations and self.votes is not None:
            raise ValueError(
                f"demonstrations would vote along with the attempts: leave out votes = {self.votes}, or demonstrations"
            )

    @property
    def apart(self) -> bool:
        return True

    @property
    def of_players(self) -> bool:
        return not self.demonstrations

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        drawn, n = draw(tasks, want), self.n
        if self.demonstrations:
            return beside_demonstrations(ask(drawn, n), self.demonstrations, play)
        groups = play(ask(drawn, self.votes or n))
        return [replace(group, trajectories=group.trajectories[:n], scores=group.scores[:n]) for group in groups]


def recorded(task: Task, chat: Texts) -> Group:
    """A task's recorded answers, scored by their ``Task.worth`` or 0. Raises ValueError for a task without any."""
    if not task.recorded:
        raise ValueError(f"task {task.id} has no recorded answer: give the row a completion, or sample instead")
    return Group(
        task=task,
        trajectories=written(task, chat),
        scores=tuple(Score(value=value) for value in task.worth or (0.0,) * len(task.recorded)),
    )


def written(task: Task, chat: Texts) -> tuple[Trajectory, ...]:
    """A task's recorded answers as attempts that nobody made."""
    return tuple(Trajectory(turns=chat.of(task).recorded(task.prompt, answer), stop="eos") for answer in task.recorded)


def beside_demonstrations(questions: Sequence[Question], count: int, play: Play) -> list[Group]:
    """The attempts at each question and behind them the first ``count`` recorded answers of its task, scored together;
    with none the attempts alone."""
    if not count:
        return play(questions)
    asked = [
        (question.task, (*attempts, *written(question.task, play.chat)[:count]))
        for question, attempts in zip(questions, play.attempts(questions), strict=True)
    ]
    return play.scored(asked)


def check_demonstrations(count: int) -> None:
    if count < 0:
        raise ValueError(f"demonstrations must be at least 0, got {count}")


def attempted(group: Group) -> list[tuple[Trajectory, Score]]:
    """What was sampled of a group, with its scores: all but the demonstrations beside it."""
    return [pair for pair in zip(group.trajectories, group.scores, strict=True) if not is_demonstration(pair[0])]


def is_demonstration(trajectory: Trajectory) -> bool:
    """Whether nobody sampled it: no token of it has a log-probability."""
    return bool(trajectory.turns) and not any(turn.logp for turn in trajectory.turns)


def ask(tasks: Sequence[Task], attempts: int) -> list[Question]:
    return [Question(task=task, attempts=attempts) for task in tasks]


def draw(tasks: Iterator[Task], count: int) -> list[Task]:
    """The next ``count`` tasks. Raises ValueError when the stream ends before."""
    drawn = list(islice(tasks, count))
    if len(drawn) < count:
        raise ValueError(
            f"wanted {count} tasks for a step, the stream held {len(drawn)}: give more tasks or repeat them"
        )
    return drawn
