"""What has to be at hand before a run can begin: keys of servers, a vLLM that can be used, a folder
that can be written, the named device.

It knows the surroundings of a run and not its recipe's text; a recipe can be read and shown without any of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from togi.askers.openai_client import key_of
from togi.engines.vllm_program import check_vllm
from togi.models.model_source import check_source
from togi.recipe.errors import RecipeError
from togi.rewards.algebra import leaves_of
from togi.rewards.judge import Judge
from togi.run import Run, other_tokens, seed_of, teacher_source


def check_start(run: Run) -> None:
    """Raises RecipeError for what is missing around a run."""
    if problems := dict.fromkeys((*_keys(run), *_vllm(run), *_folder(run.folder), *_device(run.model.device))):
        raise RecipeError(problems)
    if problems := dict.fromkeys(_teachers(run)):  # models are only looked at where nothing else is wrong
        raise RecipeError(problems)


def _keys(run: Run) -> Iterator[str]:
    elsewhere = run.engine.server or run.engine.cluster
    if elsewhere is not None:
        try:
            key_of(elsewhere.key_env)
        except ValueError as error:
            yield f"engine: {error}"
    rewards = [reward for stage in run.stages for reward in (stage.reward, stage.gold) if reward is not None]
    rewards += [run.evaluation.reward] if run.evaluation else []
    for leaf in (leaf for reward in rewards for leaf in leaves_of(reward)):
        if isinstance(leaf, Judge):
            try:
                key_of(leaf.key_env)
            except ValueError as error:
                yield f"{leaf.name}: {error}"


def _vllm(run: Run) -> Iterator[str]:
    if run.engine.vllm is not None:
        try:
            check_vllm(run.engine.vllm.python)
        except ValueError as error:
            yield str(error)


def _device(name: str) -> Iterator[str]:
    if name in ("auto", "cpu"):
        return  # these are always there, and whoever wants nothing else does not wait for torch
    from togi.models.device import find_device

    try:
        find_device(name)
    except ValueError as error:
        yield f"model.device: {error}"


def _teachers(run: Run) -> Iterator[str]:
    """Teachers that are not there, and those that read other tokens than the run's model: they would be found out when
    their stage begins."""
    stages = {stage.name for stage in run.stages}
    taught = [stage for stage in run.stages if stage.teacher is not None and stage.teacher not in stages]
    for stage in taught:
        try:
            check_source(teacher_source(run, stage))
        except ValueError as error:
            yield f"stage.{stage.name}.teacher: {error}"
            return
    compared = [stage for stage in taught if not stage.answered_by_teacher]
    if not compared:
        return
    from togi.models.load_model import load_tokenizer
    from togi.models.scalar_heads import tokenizer_digest

    own, _ = load_tokenizer(run.model.source, run.model.template, seed_of(run, "init"))
    for stage in compared:
        theirs, _ = load_tokenizer(teacher_source(run, stage), seed=seed_of(run, "init"))
        if tokenizer_digest(theirs) != tokenizer_digest(own):
            yield f"stage.{stage.name}.teacher: {other_tokens(stage)}"


def _folder(path: Path) -> Iterator[str]:
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists() or place.is_symlink())
    except OSError as error:
        yield f"{path}: cannot be a run's folder: {error.strerror}"
        return
    if not there.is_dir():
        yield f"{path}: cannot be a run's folder, since {there} is no folder: name another one with --folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        yield f"{path}: cannot be a run's folder, since {there} cannot be written: name another one with --folder"
