"""Reads the file of a reward design, finds what it names, and refuses what cannot be, before anything is asked or
trained. It asks nobody and trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from togi.find_function import absolute
from togi.recipe.toml_file import read_tables
from togi.reward_design.asked import FIELDS, PROMPTS
from togi.reward_design.design import Design
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
        raise DesignError(f"{path}: {error}") from error


def _found(file: DesignFile, path: Path) -> Design:
    """The design with everything that its file names. Raises ValueError."""
    base, writer, design = path.parent, file.writer, file.design
    env.check_extra()
    who(writer).check("writer")
    recorded = _file(base, "writer.recorded", writer.recorded)
    prompts = read_prompts(None if writer.prompts is None else base / writer.prompts, PROMPTS, FIELDS)
    human = _file(base, "compare.human", file.compare.human)
    program = None if human is None else human.read_text(encoding="utf-8")
    if program is not None and (fault := fault_of(program)):
        raise DesignError(f"{human}: {fault}. A person's reward goes the same way as a model's")
    environment = absolute(design.environment, base) if env.is_function(design.environment) else design.environment
    opened = env.open_environment(environment)
    try:
        if file.train.algorithm == "sac" and hasattr(opened.action_space, "n"):
            raise DesignError(f'{path}: SAC is for actions that are numbers, and {environment} has choices: use "ppo"')
        told = _file(base, "design.described", design.described)
        described = env.described(opened) if told is None else told.read_text(encoding="utf-8")
        if not described.strip():
            raise DesignError(
                f"{path}: the docstring of {environment} does not say what is observed: write it to a text file and "
                'name that as design.described = "FILE"'
            )
        return Design(
            name=design.name or path.stem,
            file=file,
            environment=environment,
            fitness=absolute(design.fitness, base),
            described=described.strip(),
            observation=env.observation_told(opened),
            action=env.action_told(opened),
            prompts=prompts,
            human=program,
            recorded=recorded,
        )
    finally:
        opened.close()


def _file(base: Path, key: str, name: str | None) -> Path | None:
    if name is None:
        return None
    path = (base / name).resolve()
    if not path.is_file():
        raise DesignError(f"{key}: there is no file {path}")
    return path
