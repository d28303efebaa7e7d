"""The nouns of a reward design, in the order they come about. Frozen and without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from togi.reward_design.schema import DesignFile

Kind = Literal["written", "independent", "random", "own", "human", "sparse"]
"""Where a reward comes from: a model, a model without reflection, chance, the environment, a person, the fitness."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is decided before anything is asked: the file's tables, and what they name, found. ``environment`` and
    ``fitness`` are absolute; ``described``, ``observation`` and ``action`` are the environment in words."""

    name: str
    file: DesignFile
    environment: str
    fitness: str
    described: str
    observation: str
    action: str
    prompts: Mapping[str, str]
    human: str | None
    recorded: Path | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One reward: its program (None for the environment's own and the sparse one), or the fault for which there is none
    to train with. ``parent`` is the candidate that it was written from."""

    name: str
    kind: Kind
    generation: int
    program: str | None
    fault: str = ""
    parent: str = ""

    @property
    def trainable(self) -> bool:
        return not self.fault


@dataclass(frozen=True, kw_only=True)
class Check:
    """What an agent did when it was measured after ``steps`` steps of training: means over episodes.

    ``fitness`` has one number an episode. ``proxy`` is what an episode was paid by the agent's own reward, ``parts``
    what its parts summed up to.
    """

    steps: int
    fitness: tuple[float, ...]
    proxy: float
    parts: Mapping[str, float]
    length: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One agent: what its checks gave, or the fault that ended it. ``human`` is the correlation of its own reward with
    the human one over the steps of its last episodes, where there is one."""

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
