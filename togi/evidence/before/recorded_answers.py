"""Answers that were written before training, each with what it is to its task and what a reward pays for it.

Of a pair both sides are shown. It samples nothing, and knows no algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.findings import Finding
from togi.harmless_text import shortened
from togi.protocols import Reward
from togi.records import conversation
from togi.tokenization import Chat
from togi.types import Message, Score, Task, Trajectory


@dataclass(frozen=True, kw_only=True)
class Written:
    """A recorded answer. ``kind`` says what it is to its task in a word or two; ``score`` is None without a reward."""

    task: str
    kind: str
    text: str
    score: Score | None = None


def recorded_of(tasks: Sequence[Task], reward: Reward | None, chat: Chat) -> list[tuple[Written, ...]]:
    """The recorded answers of each task, better ones first. A reward scores those that were compared."""
    return [_written(task, reward if len(set(task.worth)) > 1 else None, chat) for task in tasks]


def disagreements(recorded: Sequence[Sequence[Written]]) -> list[Finding]:
    """Whether a reward prefers the rejected sides of pairs."""
    pairs = [each for each in recorded if [one.kind for one in each] == ["chosen", "rejected"]]
    scored = [(one, other) for one, other in pairs if _is_scored(one) and _is_scored(other)]
    against = [one for one, other in scored if one.score and other.score and other.score.value > one.score.value]
    if not against:
        return []
    title = f"the reward pays the rejected answer more than the chosen one in {len(against)} of {len(scored)} pairs"
    names = ", ".join(shortened(one.task, 60) for one in against[:5])
    advice = "see which of the two is right: what the pairs teach, the reward will measure as a loss"
    return [Finding(level="warn", title=title, detail=f"for example {names}", advice=advice)]


def _conversation(task: Task, messages: Sequence[Message], chat: Chat) -> str:
    return conversation(Trajectory(turns=chat.of(task).recorded(task.prompt, messages), stop="eos"))


def _written(task: Task, reward: Reward | None, chat: Chat) -> tuple[Written, ...]:
    turns = [chat.of(task).recorded(task.prompt, messages) for messages in task.recorded] if reward else []
    scores = reward(task, [Trajectory(turns=turn, stop="eos") for turn in turns]) if reward else ()
    written = [
        Written(
            task=task.id,
            kind=_kind(task, index),
            text=messages[-1].content if len(messages) == 1 else _conversation(task, messages, chat),
            score=scores[index] if scores else None,
        )
        for index, messages in enumerate(task.recorded)
    ]
    order = sorted(range(len(written)), key=lambda index: -task.worth[index] if task.worth else 0.0)
    return tuple(written[index] for index in order)


def _kind(task: Task, index: int) -> str:
    if len(set(task.worth)) < 2:
        return "the recorded answer it learns from" if len(task.recorded) == 1 else "a recorded answer"
    if len(task.worth) == 2:
        return "chosen" if task.worth[index] == max(task.worth) else "rejected"
    return f"an answer of worth {task.worth[index]:g}"


def _is_scored(one: Written) -> bool:
    return one.score is not None and one.score.status == "ok"
