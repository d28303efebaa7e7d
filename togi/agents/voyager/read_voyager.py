"""Reads the file of a Voyager, finds what it names, and refuses what cannot be, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from togi.agents.voyager import library, play_skill
from togi.agents.voyager.asked import FIELDS, PROMPTS
from togi.agents.voyager.library import Skill, read_skills
from togi.agents.voyager.schema import ARMS, VoyagerFile
from togi.agents.voyager.world import Make, check_world
from togi.find_function import absolute, resolve
from togi.recipe.toml_file import read_tables
from togi.writer import read_prompts, who


@dataclass(frozen=True, kw_only=True)
class Voyage:
    """All that was decided. ``world`` is the reference of what ``make`` is, ``items`` are the world's with their
    tiers."""

    name: str
    file: VoyagerFile
    world: str
    make: Make
    items: Mapping[str, int]
    prompts: Mapping[str, str]
    skills: tuple[Skill, ...]
    recorded: Path | None


def read_voyager(path: Path, changes: Sequence[str] = ()) -> Voyage:
    """What a file decides, with ``KEY=VALUE`` changes. Raises ValueError."""
    file = read_tables(path, VoyagerFile, table="voyager", what="Voyager file", changes=changes)
    try:
        return _found(file, path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _found(file: VoyagerFile, path: Path) -> Voyage:
    base, table, writer = path.parent, file.voyager, file.writer
    play_skill.check_extra()
    library.check_extra()
    who(writer).check("writer")
    if not table.arms or len(set(table.arms)) < len(table.arms):
        raise ValueError(
            f"voyager.arms: wanted some of {', '.join(ARMS)}, each once; got {', '.join(table.arms) or 'none'}"
        )
    recorded = None if writer.recorded is None else (base / writer.recorded).resolve()
    if recorded is not None and not recorded.is_file():
        raise ValueError(f"writer.recorded: there is no file {recorded}")
    skills = None if table.skills is None else (base / table.skills).resolve()
    if skills is not None and not skills.is_dir():
        raise ValueError(f"voyager.skills: there is no folder {skills}; a run keeps such folders in skills/")
    reference = absolute(table.world, base)
    make: Make = resolve(reference, base)
    try:
        made = make(table.seed)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{table.world}: a world is made from a whole number, its seed, alone; {said}") from error
    world = check_world(made, table.world)
    if unknown := [goal for goal in file.transfer.goals if goal not in world.items]:
        raise ValueError(f"transfer.goals: there is no {unknown[0]!r} in this world; it has {', '.join(world.items)}")
    if len(set(file.transfer.goals)) < len(file.transfer.goals):
        raise ValueError("transfer.goals: each item once, please")
    return Voyage(
        name=table.name or path.stem,
        file=file,
        world=reference,
        make=make,
        items=dict(world.items),
        prompts=read_prompts(None if writer.prompts is None else base / writer.prompts, PROMPTS, FIELDS),
        skills=tuple(read_skills(skills.glob("*.json"))) if skills is not None else (),
        recorded=recorded,
    )


def plan_told(voyage: Voyage) -> list[str]:
    """What would be asked, in lines."""
    file = voyage.file
    table, life, goals = file.voyager, file.life, file.transfer.goals
    lives, asked = len(table.arms) * table.seeds, file.writer.recorded or file.writer.model
    newcomers = (len(set(table.arms) - {"no_library"}) + 1) * table.seeds if goals else 0
    lines = [
        f"world: {table.world}, {len(voyage.items)} items in {len(set(voyage.items.values()))} tiers",
        f"{lives} lives ({', '.join(table.arms)}; {table.seeds} seeds) of {life.prompts} prompts, {life.tries} tries "
        "at a goal",
        f"at most {lives * life.prompts + newcomers * len(goals) * file.transfer.tries} skills are asked for, of "
        f"{asked}, of at most {file.writer.max_tokens} tokens each; plans, verdicts and descriptions come on top",
    ]
    return lines + ([f"then {len(goals)} goals in new worlds: {', '.join(goals)}"] if goals else [])
