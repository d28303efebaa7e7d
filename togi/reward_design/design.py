"""The nouns of a reward design, in the order they come about. Frozen and without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from togi.reward_design.programs.dialects import Dialect
from togi.reward_design.schema import DesignFile
from togi.run import Run, Stage

Kind = Literal["written", "independent", "random", "own", "human", "sparse", "before"]
"""Where a reward comes from: a model, a model without reflection, chance, the environment or recipe, a person, the
fitness. What was there before it was paid by any is compared as well."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is decided before anything is asked: the file's tables, and what they name, found. ``told`` fills the first
    question, ``about`` is what is trained, in words by heading, and ``decided`` what else decides of the result."""

    name: str
    file: DesignFile
    dialect: Dialect
    told: Mapping[str, str]
    about: Mapping[str, str]
    decided: Mapping[str, Any]
    prompts: Mapping[str, str]
    human: str | None
    recorded: Path | None


@dataclass(frozen=True, kw_only=True)
class AgentDesign(Design):
    """Rewards for agents in an environment. ``environment`` and ``fitness`` are absolute."""

    environment: str
    fitness: str


@dataclass(frozen=True, kw_only=True)
class RecipeDesign(Design):
    """Rewards for a language model that the first stages of ``run``, of the file ``recipe``, train: programs pay the
    stage of that ``number``, and the evaluation is the fitness. ``sparse`` is the evaluation's own reward, where the
    stage can be paid by it and is not."""

    recipe: Path
    run: Run
    number: int
    sparse: str | None

    @property
    def stage(self) -> Stage:
        return self.run.stages[self.number]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One reward: its program (None for the own one and the sparse one), or the fault for which there is none to train
    with. ``parent`` is the candidate that it was written from, ``attack`` the worst that the red team found, and
    ``same`` an earlier candidate with the same program: what that one showed counts for both."""

    name: str
    kind: Kind
    generation: int
    program: str | None
    fault: str = ""
    parent: str = ""
    attack: str = ""
    same: str = ""

    @property
    def original(self) -> str:
        """The candidate that is trained with this program."""
        return self.same or self.name

    @property
    def trainable(self) -> bool:
        return not self.fault


@dataclass(frozen=True, kw_only=True)
class Check:
    """What an agent, or a model, did when it was measured after ``steps`` steps of training: means over episodes, or
    over answers.

    ``fitness`` has one number an episode, or a held-out task. ``proxy`` is what one was paid by the reward that is
    learned from, ``parts`` what its parts summed up to.
    """

    steps: int
    fitness: tuple[float, ...]
    proxy: float
    parts: Mapping[str, float]
    length: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One agent or model: what its checks gave, or the fault that ended it. ``human`` is the correlation of its own
    reward with the human one over what it did last, where there is one."""

    candidate: str
    seed: int
    checks: tuple[Check, ...] = ()
    human: float | None = None
    seconds: float = 0.0
    fault: str = ""

    @property
    def fitness(self) -> float:
        """That of the trained agent; 0 for one that could not be trained."""
        return sum(self.checks[-1].fitness) / len(self.checks[-1].fitness) if self.checks else 0.0
