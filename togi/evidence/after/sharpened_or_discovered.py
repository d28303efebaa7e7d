"""What a stage made of its tasks, by whether the answer the model leant to at first was right. It reads rollout rows.

A reward that pays for being sure can only sharpen: tasks whose leading answer is right at the start become surely
right, the others surely wrong. That helps as long as more tasks are of the first kind than attempts are right.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from togi.graders.marks import answer_text

Lean = Literal["right", "wrong", "torn"]
FEWEST = 4
"""Tasks asked in both steps below which nothing is said, and attempts below which a task has no leading answer."""


@dataclass(frozen=True, kw_only=True)
class Leaning:
    """Tasks that started with the same kind of leading answer: how many, and means over them at start and end.

    ``truth`` is the share of attempts that are right, ``agreement`` the share that give the answer then leading.
    """

    lean: Lean
    tasks: int
    truth_start: float
    truth_end: float
    agreement_start: float
    agreement_end: float


@dataclass(frozen=True, kw_only=True)
class _Asked:
    truth: float
    agreement: float
    lean: Lean


def sharpening(first: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]]) -> list[Leaning]:
    """The tasks that both steps asked, by what the model leant to in the first: right, wrong, or torn between two.

    An attempt's answer is what stands in its answer tag, as text. Rows without a finite ``gold`` are left out, and
    tasks with fewer than four; nothing is said of fewer than four tasks.
    """
    start, end = _asked(first), _asked(last)
    both = [task for task in start if task in end]
    if len(both) < FEWEST:
        return []
    found = []
    leans: tuple[Lean, ...] = ("right", "wrong", "torn")
    for lean in leans:
        tasks = [task for task in both if start[task].lean == lean]
        if tasks:
            found.append(
                Leaning(
                    lean=lean,
                    tasks=len(tasks),
                    truth_start=float(np.mean([start[task].truth for task in tasks])),
                    truth_end=float(np.mean([end[task].truth for task in tasks])),
                    agreement_start=float(np.mean([start[task].agreement for task in tasks])),
                    agreement_end=float(np.mean([end[task].agreement for task in tasks])),
                )
            )
    return found


def _asked(rows: Sequence[Mapping[str, Any]]) -> dict[str, _Asked]:
    """Each task's attempts in one step, told together."""
    attempts: dict[str, list[tuple[str | None, float]]] = defaultdict(list)
    for row in rows:
        gold = row.get("gold")
        if isinstance(gold, int | float) and math.isfinite(gold):
            attempts[str(row["task"])].append((answer_text(str(row["completion"])), float(gold)))
    return {task: _told(each) for task, each in attempts.items() if len(each) >= FEWEST}


def _told(attempts: Sequence[tuple[str | None, float]]) -> _Asked:
    votes = Counter(answer for answer, _ in attempts if answer is not None)
    most = max(votes.values(), default=0)
    right = {gold >= 0.5 for answer, gold in attempts if answer is not None and votes[answer] == most}
    lean: Lean = "torn" if len(right) != 1 else "right" if True in right else "wrong"
    return _Asked(truth=float(np.mean([gold for _, gold in attempts])), agreement=most / len(attempts), lean=lean)
