"""How often a model solves each task: from the attempts that a run kept, or from new ones. It drops no row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from togi.data import DataError
from togi.data.earlier_rollouts import rollout_files
from togi.run import BASE, Run, Stage, open_model, play_of, ready, seed_of
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import refuse_changed
from togi.run_folder.manifest import MANIFEST, choose_dtype, read_manifest
from togi.types import Score

RIGHT = 1.0 - 1e-9
TASKS = 32  # asked together


@dataclass(frozen=True, kw_only=True)
class PassRate:
    """Of ``attempts`` that could be scored, the share that was right."""

    right: float
    attempts: int


def stage_asked(run: Run, name: str) -> Stage:
    """The stage named, or the first one that samples and is paid. Raises DataError."""
    asking = [stage for stage in run.stages if stage.algorithm.sampler.writes and stage.reward is not None]
    found = next((stage for stage in asking if name in ("", stage.name)), None)
    if found is None:
        there = ", ".join(stage.name for stage in asking) or "none does"
        raise DataError(f"no stage{f' {name}' if name else ''} samples attempts that a reward scores: {there}")
    return found


def kept_rates(run: Run, stage: Stage) -> dict[str, PassRate]:
    """The pass rates of a stage's own attempts, by task, over all its steps. Raises DataError when there are none, or
    when the tasks are no longer those that were attempted."""
    refuse_changed(run.folder, MANIFEST)
    then = read_manifest(run.folder)["data"].get(stage.name, {})
    if then.get("digest") != stage.tasks.digest:
        raise DataError(
            f"the tasks of stage {stage.name} are not those that {run.folder} was trained on: bring its data back, or "
            "sample anew with its recipe file"
        )
    marks: dict[str, list[float]] = {}
    for row in (row for file in rollout_files(run.folder, stage.name) for row in read_lines(file)):
        if (mark := _mark(row.get("score"))) is not None:
            marks.setdefault(str(row.get("task")), []).append(mark)
    if not marks:
        raise DataError(f"{run.folder} keeps no attempt of stage {stage.name} that was scored")
    return {task: PassRate(right=sum(own) / len(own), attempts=len(own)) for task, own in marks.items()}


def sampled_rates(
    run: Run, stage: Stage, attempts: int, policy: str = BASE, progress: Callable[[int, int], None] | None = None
) -> dict[str, PassRate]:
    """The pass rates of ``attempts`` new ones at each task, by the base or a finished stage's policy. Raises DataError
    when none could be scored."""
    from togi.engines.open_engine import open_engine
    from togi.evidence.during.stuck_stage import why_unscored
    from togi.samplers.group import ask
    from togi.tokenization import Chat

    loaded = open_model(run, policy, choose_dtype(run))
    engine, chat = open_engine(loaded, run.engine), Chat(loaded.tokenizer, loaded.eos_ids)
    reward = ready(stage.reward, run, engine, chat, loaded.model.dtype)
    play = play_of(stage, engine, chat, reward, seed_of(run, "sampling"))
    rates: dict[str, PassRate] = {}
    scores: list[Score] = []
    for start in range(0, len(stage.tasks), TASKS):
        for group in play(ask(stage.tasks[start : start + TASKS], attempts)):
            scores += group.scores
            marks = [_right(score.value, score.parts) for score in group.scores if score.status == "ok"]
            if marks:
                rates[group.task.id] = PassRate(right=sum(marks) / len(marks), attempts=len(marks))
        if progress:
            progress(min(start + TASKS, len(stage.tasks)), len(stage.tasks))
    if not rates:
        raise DataError(f"no attempt could be scored ({why_unscored(scores)}): mend reward or rows, with togi preview")
    return rates


def _mark(score: Any) -> float | None:
    """Whether a kept score is that of a right attempt; None for one that was not given."""
    if not isinstance(score, dict) or score.get("status") != "ok" or not isinstance(score.get("value"), int | float):
        return None
    parts = score.get("parts")
    return _right(score["value"], parts if isinstance(parts, dict) else {})


def _right(value: float, parts: Mapping[str, Any]) -> float:
    """1 for a right attempt: by the reward's own word, else for full marks."""
    return float(float(parts.get("correct", value)) >= RIGHT)
