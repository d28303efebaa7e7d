"""Skills that were kept: by name and version, found by what they are for. It asks no model and runs nothing.

A name that is taken gets a new version, which is called from then on; earlier ones stay. A skill is found by how near
its description is to what is looked for, as vectors of meaning (wordllama, of the extra: a table of word vectors that
lies in its package, so that nothing is fetched).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from togi.agents.voyager.skill_code import code_from
from togi.extras import lacking

Embed = Callable[[Sequence[str]], Any]
"""Texts to an array [texts, width] of vectors of length 1."""


@dataclass(frozen=True, kw_only=True)
class Skill:
    """A function that did what it is for, once: ``goal`` is what it was written for, ``called`` the skills that it
    calls, ``number`` the prompt it was written at."""

    name: str
    version: int
    source: str
    description: str
    goal: str
    called: tuple[str, ...]
    number: int

    @property
    def label(self) -> str:
        return f"{self.name}.v{self.version}"


class Library:
    """The skills of one life, in the order they came."""

    def __init__(self, embed: Embed, skills: Sequence[Skill] = ()) -> None:
        self._embed = embed
        self.skills: list[Skill] = list(skills)

    def add(self, *, name: str, source: str, description: str, goal: str, called: Sequence[str], number: int) -> Skill:
        """Keep a skill, as the next version of its name. The same source is no new version."""
        same = next((each for each in self.skills if each.source == source and each.name == name), None)
        if same is not None:
            return same
        made = Skill(
            name=name,
            version=1 + max((each.version for each in self.skills if each.name == name), default=0),
            source=source,
            description=description,
            goal=goal,
            called=tuple(each for each in called if each in self.names),
            number=number,
        )
        self.skills.append(made)
        return made

    @property
    def names(self) -> set[str]:
        return {each.name for each in self.skills}

    @property
    def newest(self) -> list[Skill]:
        """One skill a name, the last version."""
        return list({each.name: each for each in self.skills}.values())

    @property
    def sources(self) -> list[str]:
        return [each.source for each in self.newest]

    def nearest(self, wanted: str, most: int) -> list[Skill]:
        """The skills whose descriptions are nearest to what is wanted, the nearest first; of equals the earlier one."""
        known = self.newest
        if not known:
            return []
        vectors = np.asarray(self._embed([wanted, *(f"{each.description} {each.goal}" for each in known)]), np.float64)
        order = np.argsort(-(vectors[1:] @ vectors[0]), kind="stable")
        return [known[index] for index in order[:most]]


def read_skills(paths: Iterable[Path]) -> list[Skill]:
    """The skills in some files, in the order they came. Raises ValueError for one that cannot be read."""
    found = []
    for path in paths:
        try:
            row = json.loads(path.read_bytes())
            found.append(Skill(**{**row, "called": tuple(row["called"])}))
            _check(found[-1])
        except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: no skill of a library ({type(error).__name__}: {error})") from error
    return sorted(found, key=lambda skill: (skill.number, skill.label))


def _check(skill: Skill) -> None:
    """Raises ValueError for a skill that no life could have kept: files can be written by anybody."""
    for name, kind in (("version", int), ("number", int), ("description", str), ("goal", str)):
        if type(getattr(skill, name)) is not kind:
            raise ValueError(f"{name} is no {kind.__name__}: {getattr(skill, name)!r:.80}")
    if code_from(skill.source, ()).name != skill.name:
        raise ValueError(f"its code does not define {skill.name!r:.80} alone")


def check_extra() -> None:
    """Raises ValueError where the vectors are not installed."""
    if find_spec("wordllama") is None:
        raise ValueError(lacking("a library of skills (wordllama)", "voyager"))


def meanings(texts: Sequence[str]) -> Any:
    """Vectors of what texts mean."""
    vectors = np.asarray(_words().embed(list(texts)), np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@cache
def _words() -> Any:
    import wordllama

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
