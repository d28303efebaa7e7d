"""Finds what a design with a recipe trains: the stage that programs pay, the evaluation that is the fitness, and what
the writer is told of the task. It runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from togi.recipe import RecipeError, load_recipe
from togi.recipe.toml_file import file_beside
from togi.reward_design.design import RecipeDesign
from togi.reward_design.programs.dialects import TEXTS
from togi.reward_design.schema import DesignFile
from togi.run import Evaluation, Run
from togi.run_folder.run_description import made_of
from togi.short_values import text
from togi.types import Task

OF_AGENTS = {
    "design": {"environment", "fitness", "described", "info"},
    "train": {"algorithm", "steps", "environments", "settings", "memory_mb"},
}
SHOWN, LONGEST = 3, 1000  # tasks that the writer is shown, and characters of each text


def recipe_design(
    file: DesignFile, path: Path, *, prompts: Mapping[str, str], human: str | None, recorded: Path | None
) -> RecipeDesign:
    """The design with everything that its recipe names. Raises ValueError."""
    design = file.design
    for table, keys in OF_AGENTS.items():
        if useless := sorted(getattr(file, table).model_fields_set & keys):
            raise ValueError(
                f"{path}: {table}.{useless[0]} is for an environment, and {design.recipe} says what is trained: leave "
                'it out, or change the recipe by design.changes = ["KEY=VALUE"]'
            )
    assert design.recipe is not None
    recipe = file_beside(path, "design.recipe", design.recipe)
    run = load_recipe(recipe, design.changes).run
    number = _paid_stage(run, design.stage, path)
    evaluation = _measure(run, path, file.search.episodes + file.final.episodes)
    stage = run.stages[number]
    return RecipeDesign(
        name=design.name or path.stem,
        file=file,
        dialect=TEXTS,
        told={"examples": _examples(run, number), "rows": _rows(stage.tasks[0])},
        about={
            "Recipe": design.recipe,
            "Paid by programs": f"{stage.name}, {stage.steps} steps",
            "Fitness": f"{_score(run)}, on {len(evaluation.tasks)} held-out tasks",
        },
        decided={"made": made_of(run)},
        prompts=prompts,
        human=human,
        recorded=recorded,
        recipe=recipe,
        run=run,
        number=number,
        sparse=_sparse(file, recipe, run, number),
    )


def _paid_stage(run: Run, named: str | None, path: Path) -> int:
    """The place of the stage that programs pay."""
    paid = {
        stage.name: place for place, stage in enumerate(run.stages) if stage.reward and stage.algorithm.sampler.writes
    }
    if named is not None and named not in paid:
        raise ValueError(f"{path}: design.stage: no stage {named} that learns from a reward; there are {list(paid)}")
    if not paid:
        raise ValueError(f"{path}: no stage of the recipe learns from a reward, as grpo does")
    return paid[named] if named is not None else max(paid.values())


def _measure(run: Run, path: Path, wanted: int) -> Evaluation:
    """The evaluation that is the fitness, with as many held-out tasks as are ``wanted``."""
    evaluation = run.evaluation
    if evaluation is None:
        raise ValueError(f"{path}: the recipe has no [evaluation], and that is what programs are chosen by: add it")
    if evaluation.best is not None or evaluation.choice is not None:
        raise ValueError(
            f"{path}: the recipe chooses its weights by held-out tasks, and they are to choose between programs alone: "
            "leave evaluation.best and evaluation.choice_tasks out"
        )
    if len(evaluation.tasks) < wanted:
        raise ValueError(
            f"{path}: search.episodes and final.episodes ask for {wanted} held-out tasks together, and the recipe has "
            f"{len(evaluation.tasks)}: take fewer, or raise data.test.size"
        )
    return evaluation


def _score(run: Run) -> str:
    """The evaluation's reward as the recipe writes it."""
    own = run.recipe["evaluation"].get("reward") or run.recipe["reward"]
    return str(own["score"])


def _sparse(file: DesignFile, recipe: Path, run: Run, number: int) -> str | None:
    """The evaluation's reward, where the stage's rows can be paid by it. Where the file asks for it, it must be so."""
    score = _score(run)
    own = run.recipe["stage"][number].get("reward") or run.recipe["reward"]
    if not file.compare.sparse or own["score"] == score:
        return None
    try:
        load_recipe(recipe, [*file.design.changes, paid_by(run.stages[number].name, score)])
    except RecipeError as error:
        if "sparse" not in file.compare.model_fields_set:
            return None
        raise ValueError(f"compare.sparse: the stage cannot be paid by the fitness: {error}") from error
    return score


def paid_by(stage: str, score: str) -> str:
    """The change to a recipe that pays a stage by another reward."""
    return f"stage.{stage}.reward.score={json.dumps(score)}"


def _examples(run: Run, number: int) -> str:
    """Some of what the model is asked, each with a recorded answer where a stage has one."""
    recorded = {task.prompt: task.recorded[0] for stage in run.stages for task in stage.tasks if task.recorded}
    told = []
    for task in run.stages[number].tasks[:SHOWN]:
        lines = [f"question: {_quoted(task.prompt[-1].content)}"]
        if answer := recorded.get(task.prompt):
            lines.append(f"a good answer: {_quoted(answer[-1].content)}")
        told.append("\n".join(lines))
    return "\n\n".join(told)


def _rows(task: Task) -> str:
    """What a program may read of a task besides its question."""
    found = [] if task.answer is None else [f"task.answer is the right answer, such as {_quoted(task.answer)}"]
    found += [f'task.info["{name}"] is such as {_quoted(value)}' for name, value in task.info.items()]
    return f"{'; '.join(found)}." if found else "The right answer is not known, so the function works it out itself."


def _quoted(value: object) -> str:
    return text(json.dumps(value, ensure_ascii=False, default=str)[:LONGEST])
