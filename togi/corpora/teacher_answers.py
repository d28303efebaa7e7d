"""A teacher's answers as demonstrations: those that the recipe's own reward calls right. It knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from togi.askers.asker import Asker, Reply, Request
from togi.corpora.dropped_rows import Left
from togi.corpora.pass_rates import RIGHT
from togi.corpora.recipe_rows import RowsBehind
from togi.corpora.written_rows import write_rows
from togi.data import DataError
from togi.data.asked_text import question_of
from togi.data.columns import OWN, under_our_names
from togi.data.lineage import Lineage, Source
from togi.data.row_values import Row
from togi.protocols import Reward
from togi.tokenization import Chat
from togi.types import Message, Sampling, Task, Trajectory

TOGETHER = 64  # questions that are asked at once
ASKED = ("prompt", "answer", "system", "tools", "chat_template_kwargs", "enable_thinking")
"""Columns that say what is asked; those that say what was answered give way to the teacher."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """``attempts`` at each task, of which up to ``keep`` different ones remain that score at least ``least``."""

    attempts: int
    keep: int
    least: float
    sampling: Sampling

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.attempts:
            raise DataError(f"of {self.attempts} attempts from 1 up to all are kept; got --keep {self.keep}")
        if self.attempts > 1 and self.sampling.temperature == 0:
            raise DataError("at temperature 0 all attempts are the same: ask once, or raise --temperature")


def teacher_answers(
    teacher: Asker,
    rows: RowsBehind,
    tasks: Sequence[Task],
    reward: Reward,
    chat: Chat,
    out: Path,
    *,
    asking: Asking,
    who: Source,
    settings: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> Lineage:
    """Ask the teacher every task, and write a row for each answer that is kept. ``chat`` is that of the model that will
    learn, whose tokens the reward counts. Raises DataError."""
    left, kept, solved = Left(), list[Row](), 0
    each = max(1, TOGETHER // asking.attempts)
    for start in range(0, len(tasks), each):
        part = tasks[start : start + each]
        requests = [_request(task, vote, asking.sampling) for task in part for vote in range(asking.attempts)]
        replies = iter(teacher.ask(requests))
        for task in part:
            own = [next(replies) for _ in range(asking.attempts)]
            passing = list(_passing(task, own, reward, chat, asking, left))
            kept += [_demonstration(rows.of(task), task, text) for text in passing]
            solved += bool(passing)
        if progress:
            progress(min(start + each, len(tasks)), len(tasks))
    return write_rows(
        out,
        kept,
        verb="answers",
        settings={
            "attempts": asking.attempts,
            "keep": asking.keep,
            "least": asking.least,
            "temperature": asking.sampling.temperature,
            "max_tokens": asking.sampling.max_tokens,
            "tasks": len(tasks),
            "solved": solved,
            **settings,
        },
        sources=rows.sources,
        consulted=[who],
        dropped=left.told(),
    )


def _request(task: Task, vote: int, sampling: Sampling) -> Request:
    return Request(
        messages=task.prompt,
        tokens=False,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        vote=vote,
    )


def _passing(
    task: Task, replies: Sequence[Reply], reward: Reward, chat: Chat, asking: Asking, left: Left
) -> Iterator[str]:
    """The answers to a task that are kept, in the order they were given; of the others is noted why they are not."""
    whole = [reply for reply in replies if _is_whole(task, reply, left)]
    texts = list(dict.fromkeys(reply.text.strip() for reply in whole))
    if repeated := len(whole) - len(texts):
        left.count("given before", repeated)
    if not texts:
        return
    answers = [(Message(role="assistant", content=text),) for text in texts]
    turns = [chat.of(task).recorded(task.prompt, answer) for answer in answers]
    scores = reward(task, [Trajectory(turns=turn, stop="eos") for turn in turns])
    kept = 0
    for text, score in zip(texts, scores, strict=True):
        if score.status != "ok":
            left.add("could not be scored", row=task.id, text=question_of(task), other=text, note=score.note)
        elif score.value < asking.least - (1 - RIGHT):
            left.add("scores too little", row=task.id, text=question_of(task), other=text, score=score.value)
        elif kept == asking.keep:
            left.count("one more right answer than was wanted", 1)
        else:
            kept += 1
            yield text


def _is_whole(task: Task, reply: Reply, left: Left) -> bool:
    if reply.status != "ok":
        left.add("not given", row=task.id, text=question_of(task), note=reply.note)
    elif reply.cut:
        left.add("cut at the longest length", row=task.id, text=question_of(task), other=reply.text)
    elif not reply.text.strip():
        left.count("empty", 1)
    else:
        return True
    return False


def _demonstration(row: Row, task: Task, text: str) -> Row:
    """The row with the teacher's answer instead of its own: under Togi's names, which come before a known format's."""
    row = under_our_names(row, {})
    asked = {name: row[name] for name in ASKED if row.get(name) is not None}
    if "prompt" not in asked:
        asked["prompt"] = [{"role": message.role, "content": message.content} for message in task.prompt]
    further = {name: value for name, value in row.items() if name not in OWN}
    return {**asked, "completion": text, **further}
