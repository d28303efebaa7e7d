"""The folder of a Voyager: what was decided, every skill that was asked for, the skills that each life kept. It asks
and plays nothing.

Each file is written whole and vouched for by an event, so that a run which is killed anywhere goes on from what is
there: nobody is asked again, and no skill is run twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from togi.agents.voyager.attempt import Attempt, Lived
from togi.agents.voyager.library import Skill, read_skills
from togi.agents.voyager.read_voyager import Voyage
from togi.agents.voyager.world import Goal
from togi.file_sha256 import file_sha256
from togi.find_function import files_of
from togi.run_folder.decided import hold_to
from togi.run_folder.files import Json, RunFolder, dumps, read_object, write_text
from togi.run_folder.integrity import named_files

OF = "togi voyager"
PLAN, LIVES, SKILLS, REPLIES, TASKS = "voyager.json", "lives", "skills", "replies.jsonl", "tasks.jsonl"
MAY_CHANGE = ("writer.concurrency", "writer.seconds", "writer.most_", "writer.recorded")
"""What decides nothing of the result, and may be otherwise when a run goes on."""


class Archive:
    """One folder. Reading needs no lock; writing goes through ``held``, by one process."""

    def __init__(self, path: Path, held: RunFolder | None = None) -> None:
        self.path, self._held = path, held

    def decide(self, voyage: Voyage) -> None:
        """Write down what is decided, or make sure that it is what was decided. Raises FolderError."""
        assert self._held is not None
        hold_to(self.path, self._held, PLAN, plan_of(voyage), may_change=MAY_CHANGE)

    def plan(self) -> Json:
        """What was decided. Raises FolderError for a folder that holds nothing of the kind."""
        return read_object(self.path / PLAN, OF)

    def add(self, attempt: Attempt, skill: Skill | None) -> None:
        """Keep an attempt, and before it the skill that came of it."""
        if skill is not None:
            place = f"{SKILLS}/{attempt.life}/{skill.label}"
            self._write(f"{place}.py", f"# {skill.description}\n{skill.source}", "kept")
            self._write(f"{place}.json", dumps(asdict(skill)) + "\n", "kept")
        self._write(f"{LIVES}/{attempt.life}/{attempt.number:05d}.json", dumps(asdict(attempt)) + "\n", "tried")

    def attempts(self, life: str) -> list[Attempt]:
        """What was tried in a life, in order."""
        return [_attempt(read_object(path, OF)) for path in named_files(self.path, f"{LIVES}/{life}/*.json")]

    def skills(self, life: str) -> list[Skill]:
        return read_skills(named_files(self.path, f"{SKILLS}/{life}/*.json"))

    def add_tasks(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._write(TASKS, "".join(dumps(row) + "\n" for row in rows), "exported")

    def vouch_for_replies(self) -> None:
        """Note what was answered."""
        assert self._held is not None
        if told := self._held.seal(REPLIES):
            self._held.event("answered", logs=told)

    def _write(self, name: str, text: str, kind: str) -> None:
        assert self._held is not None
        self._held.event(kind, files={name: write_text(self.path / name, text)})


def lives(plan: Mapping[str, Any]) -> list[Lived]:
    """The lives of a plan, those in new worlds last: with the libraries of each arm that has some, and with none."""
    tables = plan["tables"]
    arms, seeds, goals = tables["voyager"]["arms"], range(tables["voyager"]["seeds"]), tables["transfer"]["goals"]
    found = [Lived(arm=arm, seed=seed, place=0) for arm in arms for seed in seeds]
    if goals:
        takers = [*(arm for arm in arms if arm != "no_library"), "no_library"]
        found += [Lived(arm=arm, seed=seed, place=0, goals=tuple(goals)) for arm in takers for seed in seeds]
    return [replace(each, place=place) for place, each in enumerate(found)]


def plan_of(voyage: Voyage) -> Json:
    """All that decides what comes out, with the digests of the user's files."""
    return {
        "name": voyage.name,
        "tables": voyage.file.model_dump(mode="json"),
        "items": dict(voyage.items),
        "prompts": dict(voyage.prompts),
        "skills": [asdict(skill) for skill in voyage.skills],
        "files": {path.name: file_sha256(path) for path in files_of(voyage.world)},
    }


def _attempt(row: Json) -> Attempt:
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    calls = tuple((name, tuple(given)) for name, given in row["calls"])
    return Attempt(**{**row, **lists, "calls": calls, "goal": Goal(**row["goal"])})
