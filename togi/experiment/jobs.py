"""What an experiment runs, in which order, and what of it is equal and therefore run once. It starts nothing.

A cell is an arm with a seed. Cells whose recipes begin with the same stages, of the same data, weights and seeds, share
them: such a beginning is a job of its own, and the cells take over what it made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from togi.experiment.design import Arm, Experiment, seeded
from togi.models.model_source import is_function
from togi.run import BASE, Run, seed_of
from togi.run_folder.files import digest
from togi.run_folder.run_description import made_of

CELLS, SHARED, OTHERS, ARMS, TRIALS = "cells", "shared", "others", "arms", "trials"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of its own, whose folder below the experiment's is ``name``: the first ``stages`` stages of an arm with a
    seed, which begin with the ``taken`` stages that the job ``after`` has made (None: with nothing). It learns as many
    tokens as the job ``tokens_of`` has learned, where it names one.

    With ``other`` it measures on those held-out tasks what the job ``model_of`` has trained, or the untrained model.
    """

    name: str
    arm: str
    seed: int
    stages: int = 0
    after: str | None = None
    taken: int = 0
    tokens_of: str | None = None
    other: str = ""
    model_of: str | None = None

    @property
    def recipe(self) -> str:
        """Where the experiment's folder has its recipe."""
        return f"{OTHERS}/{self.other}.toml" if self.other else f"{ARMS}/{self.arm}.toml"

    @property
    def waits_for(self) -> list[str]:
        """The jobs that must be done before it."""
        return [name for name in (self.after, self.tokens_of, self.model_of) if name is not None]

    @property
    def shared(self) -> bool:
        """Whether it is the beginning of several cells, and no cell."""
        return self.name.startswith(f"{SHARED}/")

    @property
    def cell(self) -> bool:
        return self.name.startswith(f"{CELLS}/")


def cell_name(arm: str, seed: int) -> str:
    return f"{CELLS}/{arm}-{seed}"


def counts(jobs: Sequence[Job]) -> str:
    """How many jobs there are of each kind."""
    cells, shared = sum(job.cell for job in jobs), sum(job.shared for job in jobs)
    told = f"{cells} cell{'s' if cells != 1 else ''}, {shared} shared beginning{'s' if shared != 1 else ''}"
    return told + (f", {others} measurements on other tasks" if (others := len(jobs) - cells - shared) else "")


def other_name(other: str, arm: str, seed: int) -> str:
    return f"{OTHERS}/{other}/{arm}-{seed}"


def jobs_of(experiment: Experiment) -> list[Job]:
    """All jobs, seed after seed, so that a budget which ends in between leaves whole seeds; each after what it
    takes."""
    cells = [(arm, seed) for seed in experiment.seeds for arm in experiment.arms]
    if experiment.function:
        return [Job(name=cell_name(arm.name, seed), arm=arm.name, seed=seed) for arm, seed in cells]
    paths = {(arm.name, seed): _path(experiment, arm, seed) for arm, seed in cells}
    made: dict[str, Job] = {}
    for arm, seed in cells:
        path = paths[arm.name, seed]
        after, taken = None, 0
        for stages, key in enumerate(path):
            if not _branches(key, stages, paths):
                continue
            if key not in made:
                name = f"{SHARED}/{_called(arm, stages)}-{seed}-{key[:6]}"
                made[key] = Job(name=name, arm=arm.name, seed=seed, stages=stages, after=after, taken=taken)
            after, taken = made[key].name, stages
        cell = Job(
            name=cell_name(arm.name, seed),
            arm=arm.name,
            seed=seed,
            stages=len(path) - 1,
            after=after,
            taken=taken,
            tokens_of=None if arm.tokens_of is None else cell_name(arm.tokens_of, seed),
        )
        made[cell.name] = cell
        for job in _on_others(experiment, arm, seed):
            made.setdefault(job.name, job)
    return list(made.values())


def _on_others(experiment: Experiment, arm: Arm, seed: int) -> Iterator[Job]:
    """What measures an arm on other held-out tasks, and the untrained model before the first arm."""
    if arm.control or arm.stages == 0:
        return
    for other in experiment.others:
        for name, model in ((BASE, None), (arm.name, cell_name(arm.name, seed))):
            yield Job(name=other_name(other, name, seed), arm=arm.name, seed=seed, other=other, model_of=model)


def _called(arm: Arm, stages: int) -> str:
    assert arm.run is not None
    return arm.run.stages[stages - 1].name if stages else BASE


def _path(experiment: Experiment, arm: Arm, seed: int) -> list[str]:
    assert arm.run is not None
    run = beginning(seeded(arm.run, seed, experiment.vary_of(arm.name)), arm.stages)
    return list(beginnings(run))


def beginning(run: Run, stages: int | None) -> Run:
    """The run with its first stages only; with all where ``stages`` is None."""
    if stages is None:
        return run
    return replace(run, stages=run.stages[:stages], recipe={**run.recipe, "stage": list(run.recipe["stage"][:stages])})


def beginnings(run: Run) -> Iterator[str]:
    """A digest of all that decides what a run has made: before its first stage, and after each."""
    made, recipe = made_of(run), run.recipe
    key = digest(
        {
            **{name: recipe.get(name) for name in ("model", "engine", "prompt", "grading", "env", "evaluation")},
            **{name: made[name].get("evaluation") for name in ("data", "files")},
            "sampling": seed_of(run, "sampling"),
            "made": [made["files"]["model"], seed_of(run, "init")] if is_function(run.model.source) else None,
        }
    )
    yield key
    for stage, table in zip(run.stages, recipe["stage"], strict=True):
        reward = table.get("reward") or (recipe.get("reward") if stage.algorithm.sampler.rewarded else None)
        seeds = [seed_of(run, chance) for chance in ("init", "order", "sampling")]
        own = {**table, "reward": reward, "gold": recipe.get("gold"), "seeds": seeds}
        key = digest([key, own, made["data"][stage.name], made["files"].get(stage.name), _mixed(run, stage.name)])
        yield key


def _mixed(run: Run, name: str) -> Any:
    mix = next(stage.mix for stage in run.stages if stage.name == name)
    return None if mix is None else mix.digest


def _branches(key: str, stages: int, paths: Mapping[tuple[str, int], Sequence[str]]) -> bool:
    """Whether a beginning is that of several cells which then part, or end there."""
    sharing = [path for path in paths.values() if len(path) > stages and path[stages] == key]
    if len(sharing) < 2:
        return False
    return len({path[stages + 1] if len(path) > stages + 1 else None for path in sharing}) > 1 or all(
        len(path) == stages + 1 for path in sharing
    )


def shared_cells(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """For each shared beginning, the jobs that take it over."""
    return {job.name: [each.name for each in jobs if each.after == job.name] for job in jobs if job.shared}
