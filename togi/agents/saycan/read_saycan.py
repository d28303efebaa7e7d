"""Reads the command's file, finds what it names, and refuses what cannot be, before anything is trained or asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from togi.agents.saycan.schema import SayCanFile
from togi.agents.saycan.scores import check_template
from togi.agents.saycan.skills import Training, check_extra
from togi.agents.saycan.world import Instruction, World, check_world
from togi.find_function import absolute, resolve
from togi.recipe.toml_file import file_beside, read_tables


@dataclass(frozen=True, kw_only=True)
class SayCan:
    """All that was decided. ``world`` is the reference of the class that ``make`` is."""

    name: str
    file: SayCanFile
    world: str
    make: Callable[[], World]
    skills: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    template: str

    def training(self, seed: int) -> Training:
        table = self.file.skills
        return Training(steps=table.steps, worlds=table.worlds, horizon=table.horizon, seed=seed)


def read_saycan(path: Path, changes: Sequence[str] = ()) -> SayCan:
    """What a file decides, with ``KEY=VALUE`` changes. Raises ValueError."""
    file = read_tables(path, SayCanFile, table="saycan", what="SayCan file", changes=changes)
    table = file.saycan
    if not table.arms:
        raise ValueError(f"{path}: saycan.arms: wanted one arm or more, got none")
    check_extra()
    prompt = file_beside(path, "saycan.prompt", table.prompt)
    template = prompt.read_text(encoding="utf-8").removesuffix("\n")
    try:
        check_template(template, str(prompt))
        reference = absolute(table.world, path.parent)
        make: Callable[[], World] = resolve(reference, path.parent)
        world = check_world(_made(make, table.world), table.world)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return SayCan(
        name=table.name or path.stem,
        file=file,
        world=reference,
        make=make,
        skills=tuple(world.skills),
        instructions=tuple(world.instructions),
        template=template,
    )


def _made(make: Callable[[], World], named: str) -> World:
    try:
        return make()
    except Exception as error:  # the boundary to a user's code
        raise ValueError(f"{named}: cannot be made: {type(error).__name__}: {error}") from error


def plan_told(saycan: SayCan) -> list[str]:
    """What would be trained and asked, at most."""
    table, skills = saycan.file.saycan, saycan.file.skills
    families = {each.family for each in saycan.instructions}
    episodes = table.seeds * len(saycan.instructions) * len(table.arms)
    return [
        f"world: {saycan.world}, with {len(saycan.skills)} skills and {len(saycan.instructions)} instructions in "
        f"{len(families)} families",
        f"skills: PPO, {table.seeds} times {skills.steps:,} actions; chances measured on {skills.states:,} states each",
        f"model: {table.model}, which scores {len(saycan.skills) + 1} texts a choice (score: {table.score})",
        f"episodes: {episodes}, of at most {table.longest} choices ({', '.join(table.arms)})",
    ]
