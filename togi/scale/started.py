"""Which processes a run has started for it, and what each needs of its machine. It starts none, and needs no torch."""

from __future__ import annotations

import os

from togi.launch.needs import Needs
from togi.run import Run
from togi.sandbox.tiers.choose_tier import cores


def learner(rank: int) -> str:
    """What a learner is called."""
    return f"learner {rank}"


def engine(number: int) -> str:
    """What an engine is called."""
    return f"engine {number}"


def started(run: Run) -> dict[str, Needs]:
    """What each process needs that a run has started, by its name."""
    names = [learner(rank) for rank in range(1, run.scale.learners)]
    names += [engine(number) for number in range(1, run.scale.engines + 1)]
    return dict.fromkeys(names, needs_of(run))


def needs_of(run: Run) -> Needs:
    """What any process of a run needs: one card where there are cards, unless the recipe says that none is used."""
    return Needs(cores=threads(), cards=int(run.model.device != "cpu"))


def threads() -> int:
    """Cores that a process computes on: those that OMP_NUM_THREADS says, or all."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else cores()
