"""What earlier stages of a run sampled, as tasks with recorded answers; it knows rollout files and no algorithm.

Any stage's rollouts can be learned from later: attempts that a judge compared are preference pairs, the right ones of
many attempts are demonstrations, revised answers are what a constitution asks for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from togi.data.equations import equations
from togi.data.errors import DataError
from togi.data.task_sets import Tasks
from togi.types import CUT, Message, Task

_Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The attempts of ``stages``, one after another; those without a score are not kept, nor groups left without one.

    ``best`` keeps the best attempt of each group. ``at_least`` keeps those of such a score or more that no limit has
    cut, and forgets by how much they differ: they are demonstrations. Of what is kept at a task in all stages,
    ``distinct`` takes each text, or each list of equations (RFT), once, and ``most`` so many: the first ones, since
    attempts are alike before they are drawn. With ``together`` all attempts at a task become answers to one task.
    """

    stages: tuple[str, ...]
    best: bool = False
    at_least: float | None = None
    distinct: Literal["texts", "equations"] | None = None
    most: int | None = None
    together: bool = False


def load_collected(collected: Collected, asked: Tasks, folder: Path) -> Tasks:
    """One task a group of attempts, in the order they were sampled, with ids such as "train:17@3" (of step 3), or
    "train:17@answers_2:3" where there are several stages. Where the truth was measured, ``info["truth"]`` is the index
    of the attempt that was truly the best.

    ``asked`` are the tasks that the stages sampled at, ``folder`` is the run's. Raises DataError when no attempt is
    left to learn from.
    """
    by_id = {task.id: task for task in asked}
    several = len(collected.stages) > 1
    groups = [
        (f"@{stage}:{step}" if several else f"@{step}", rows)
        for stage in collected.stages
        for step, rows in _groups(folder, stage)
    ]
    kept = [(place, [row for row in rows if _worthy(row, collected)]) for place, rows in groups]
    if collected.best:
        kept = [(place, [max(rows, key=_value)] if rows else []) for place, rows in kept]
    kept = _first_ones(kept, collected)
    if collected.together:
        joined: dict[str, list[_Row]] = {}
        for (_, rows), (_, all_rows) in zip(kept, groups, strict=True):
            joined.setdefault(str(all_rows[0]["task"]), []).extend(rows)
        kept = [("", rows) for rows in joined.values()]
    tasks = [_task(rows, by_id, place, collected) for place, rows in kept if rows]
    if not tasks:
        names = " and ".join(collected.stages)
        least = "" if collected.at_least is None else f" of {collected.at_least:g} or more, whole and not empty"
        raise DataError(f"stage {names} kept no attempt with a score{least}: look at its rollouts and its reward")
    return Tasks(tasks, dropped=len(kept) - len(tasks))


def rollout_files(folder: Path, stage: str) -> list[Path]:
    """What a run folder keeps of a stage's attempts, a file a step. Stages may be called "a" and "a-b"."""
    name = re.compile(re.escape(stage) + r"-\d+\.jsonl")
    return sorted(each for each in (folder / "rollouts").glob("*.jsonl") if name.fullmatch(each.name))


def _groups(folder: Path, stage: str) -> Iterator[tuple[object, list[_Row]]]:
    """The attempts of a stage by group, each with its step."""
    for file in rollout_files(folder, stage):
        groups: dict[int, list[_Row]] = {}
        with file.open(encoding="utf-8") as lines:  # str.splitlines would break a row at marks that a model may write
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    groups.setdefault(row["group"], []).append(row)
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{file}, line {number}: no rollout ({error}): the file was damaged") from error
        yield from ((rows[0]["step"], rows) for rows in groups.values())


def _worthy(row: _Row, collected: Collected) -> bool:
    """Whether an attempt is scored, says something, and is good and whole where demonstrations are wanted."""
    score = row["score"]
    if not isinstance(score, dict) or score["status"] != "ok" or not row["completion"]:
        return False
    return collected.at_least is None or (_value(row) >= collected.at_least and row.get("stop") not in CUT)


def _value(row: _Row) -> float:
    return float(row["score"]["value"])


def _first_ones(groups: Sequence[tuple[str, list[_Row]]], collected: Collected) -> list[tuple[str, list[_Row]]]:
    """What ``distinct`` and ``most`` keep of all attempts at a task."""
    seen: dict[str, set[Hashable]] = {}
    count: dict[str, int] = {}
    kept = []
    for place, rows in groups:
        left = []
        for row in rows:
            task = str(row["task"])
            known, told = seen.setdefault(task, set()), _told(row, collected)
            if told in known or count.get(task, 0) == collected.most:
                continue
            if told is not None:
                known.add(told)
            count[task] = count.get(task, 0) + 1
            left.append(row)
        kept.append((place, left))
    return kept


def _told(row: _Row, collected: Collected) -> Hashable:
    """What tells an attempt from others; None where none is left out for being told before."""
    if collected.distinct is None:
        return None
    text = str(row["completion"])
    # A solution without an equation is only itself.
    return (equations(text) if collected.distinct == "equations" else ()) or text.strip()


def _steps(score: dict[str, Any]) -> tuple[float, ...]:
    return tuple(math.nan if worth is None else float(worth) for worth in score.get("steps", ()))


def _task(rows: Sequence[_Row], asked: dict[str, Task], place: str, collected: Collected) -> Task:
    task = asked[str(rows[0]["task"])]
    gold = [row.get("gold") for row in rows]
    truth = [each for each in gold if isinstance(each, int | float)]
    known = len(truth) == len(rows) and truth.count(max(truth)) == 1
    steps = tuple(_steps(row["score"]) for row in rows)
    return replace(
        task,
        info={**task.info, "truth": truth.index(max(truth))} if known else task.info,
        id=f"{task.id}{place}",
        recorded=tuple((Message(role="assistant", content=str(row["completion"])),) for row in rows),
        worth=() if collected.at_least is not None else tuple(map(_value, rows)),
        step_worth=steps if any(steps) else (),
    )
