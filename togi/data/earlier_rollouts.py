"""What an earlier stage of a run sampled, as tasks with recorded answers; it knows rollout files and no algorithm.

Any stage's rollouts can be learned from later: attempts that a judge compared are preference pairs, the best of many
attempts are demonstrations, revised answers are what a constitution asks for.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from togi.data.errors import DataError
from togi.data.task_sets import Tasks
from togi.types import Message, Task


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The attempts of the stage named ``stage``; with ``best`` only the best of each group. Attempts without a score,
    and groups that are left without one, are not kept."""

    stage: str
    best: bool = False


def load_collected(collected: Collected, asked: Tasks, folder: Path) -> Tasks:
    """One task a group of attempts, in the order they were sampled, with ids such as "train:17@3" (of step 3). Where
    the truth was measured, ``info["truth"]`` is the index of the attempt that was truly the best.

    ``asked`` are the tasks that the stage sampled at, ``folder`` is the run's. Raises DataError when the stage kept no
    attempt that was scored.
    """
    by_id = {task.id: task for task in asked}
    tasks: list[Task] = []
    dropped = 0
    for file in sorted((folder / "rollouts").glob(f"{collected.stage}-*.jsonl")):
        groups: dict[int, list[dict[str, object]]] = {}
        with file.open(encoding="utf-8") as lines:  # str.splitlines would break a row at marks that a model may write
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    groups.setdefault(row["group"], []).append(row)
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{file}, line {number}: no rollout ({error}): the file was damaged") from error
        for rows in groups.values():
            task = _task(rows, by_id, best=collected.best)
            dropped += task is None
            tasks += [task] if task else []
    if not tasks:
        raise DataError(f"stage {collected.stage} kept no attempt with a score: look at its rollouts and its reward")
    return Tasks(tasks, dropped=dropped)


def _steps(score: dict[str, Any]) -> tuple[float, ...]:
    return tuple(math.nan if worth is None else float(worth) for worth in score.get("steps", ()))


def _task(rows: list[dict[str, object]], asked: dict[str, Task], *, best: bool) -> Task | None:
    scored = [(row, score) for row in rows if isinstance(score := row["score"], dict) and score["status"] == "ok"]
    scored = [(row, score) for row, score in scored if row["completion"]]
    if best and scored:
        scored = [max(scored, key=lambda pair: float(pair[1]["value"]))]
    if not scored:
        return None
    task = asked[str(rows[0]["task"])]
    gold = [row.get("gold") for row, _ in scored]
    truth = [each for each in gold if isinstance(each, int | float)]
    known = len(truth) == len(scored) and truth.count(max(truth)) == 1
    steps = tuple(_steps(score) for _, score in scored)
    return replace(
        task,
        info={**task.info, "truth": truth.index(max(truth))} if known else task.info,
        id=f"{task.id}@{rows[0]['step']}",
        recorded=tuple((Message(role="assistant", content=str(row["completion"])),) for row, _ in scored),
        worth=tuple(float(score["value"]) for _, score in scored),
        step_worth=steps if any(steps) else (),
    )
