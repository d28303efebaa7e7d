"""Reads the file of a reward design, finds what it names, and refuses what cannot be, before anything is asked or
trained. It asks nobody and trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from togi.file_sha256 import file_sha256
from togi.find_function import absolute, files_of
from togi.recipe.toml_file import file_beside, read_tables
from togi.reward_design.asked import FIELDS, PROMPTS, RECIPE_FIELDS, RECIPE_PROMPTS
from togi.reward_design.design import AgentDesign, Design
from togi.reward_design.language.read_recipe import recipe_design
from togi.reward_design.programs.dialects import STEPS, TEXTS, Dialect
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.schema import DesignFile
from togi.reward_design.training import environment as env
from togi.writer import read_prompts, who


class DesignError(ValueError):
    """The file cannot be used as it is; the message says what to do."""


def read_design(path: Path, changes: Sequence[str] = ()) -> Design:
    """The design in a file, with ``KEY=VALUE`` changes. Raises DesignError."""
    try:
        file = read_tables(path, DesignFile, table="design", what="reward design", changes=changes)
    except ValueError as error:
        raise DesignError(str(error)) from error
    try:
        return _found(file, path)
    except DesignError:
        raise
    except ValueError as error:
        said = str(error)
        raise DesignError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _found(file: DesignFile, path: Path) -> Design:
    """The design with everything that its file names. Raises ValueError."""
    writer, design = file.writer, file.design
    who(writer).check("writer")
    recorded = None if writer.recorded is None else file_beside(path, "writer.recorded", writer.recorded)
    folder = None if writer.prompts is None else path.parent / writer.prompts
    if design.recipe is not None:
        return recipe_design(
            file,
            path,
            prompts=read_prompts(folder, RECIPE_PROMPTS, RECIPE_FIELDS),
            human=_human(file, path, TEXTS),
            recorded=recorded,
        )
    if design.environment is None or design.fitness is None:
        lacks = "environment" if design.environment is None else "fitness"
        raise DesignError(
            f"{path}: design.{lacks} is needed and not there: name an environment and a fitness, or a recipe"
        )
    prompts = read_prompts(folder, PROMPTS, FIELDS)
    return _agent_design(file, path, prompts=prompts, human=_human(file, path, STEPS), recorded=recorded)


def _agent_design(
    file: DesignFile, path: Path, *, prompts: Mapping[str, str], human: str | None, recorded: Path | None
) -> AgentDesign:
    base, design = path.parent, file.design
    assert design.environment is not None
    assert design.fitness is not None
    written = {f"design.{key}" for key in design.model_fields_set} | file.model_fields_set
    if of_recipes := sorted(written & {"design.changes", "design.stage", "attack"}):
        raise DesignError(f"{path}: {of_recipes[0]} is for a design with a recipe: leave it out")
    env.check_extra()
    environment = absolute(design.environment, base) if env.is_function(design.environment) else design.environment
    fitness = absolute(design.fitness, base)
    opened = env.open_environment(environment)
    try:
        if file.train.algorithm == "sac" and hasattr(opened.action_space, "n"):
            raise DesignError(f'{path}: SAC is for actions that are numbers, and {environment} has choices: use "ppo"')
        told = None if design.described is None else file_beside(path, "design.described", design.described)
        described = env.described(opened) if told is None else told.read_text(encoding="utf-8")
        if not described.strip():
            raise DesignError(
                f"{path}: the docstring of {environment} does not say what is observed: write it to a text file and "
                'name that as design.described = "FILE"'
            )
        seen, done = env.observation_told(opened), env.action_told(opened)
    finally:
        opened.close()
    numbers = f"a dictionary with the numbers {', '.join(design.info)}" if design.info else "an empty dictionary"
    functions = [fitness, *([environment] if env.is_function(environment) else [])]
    return AgentDesign(
        name=design.name or path.stem,
        file=file,
        dialect=STEPS,
        told={"environment": described.strip(), "observation": seen, "action": done, "info": numbers},
        about={"Environment": environment, "Seen": seen, "Done": done},
        decided={"files": {each.name: file_sha256(each) for function in functions for each in files_of(function)}},
        prompts=prompts,
        human=human,
        recorded=recorded,
        environment=environment,
        fitness=fitness,
    )


def _human(file: DesignFile, path: Path, dialect: Dialect) -> str | None:
    """The program of a person."""
    if file.compare.human is None:
        return None
    place = file_beside(path, "compare.human", file.compare.human)
    program = place.read_text(encoding="utf-8")
    if fault := fault_of(program, dialect):
        raise DesignError(f"{place}: {fault}. A person's reward goes the same way as a model's")
    return program
