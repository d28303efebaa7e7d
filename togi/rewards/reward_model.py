"""Reward models as rewards: one, or an ensemble that is careful where its members disagree; nothing is trained here.

A recipe names a reward model by text alone; its weights are loaded when a stage opens its rewards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from togi.protocols import Asked
from togi.rewards.algebra import Leaf, NotTrainedYet, Surroundings
from togi.types import Group, Sample, Score, Task, Trajectory

COMBINATIONS = ("mean", "min", "deviation")


class Scorer(Protocol):
    """A loaded reward model: one number a sample [S], after its last token."""

    def scores(self, samples: Sequence[Sample]) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class RewardModels(Leaf):
    """The score of each whole trajectory after its last token, combined over ``models``; see ``ensemble``.

    A trajectory is what the model saw at its last turn and what it wrote then, in the token ids of the engine. One
    without a completion token says nothing to score: it abstains. ``loaded`` is empty until ``opened``.
    """

    models: tuple[str, ...]
    combine: str = "mean"
    k: float = 1.0
    name: str = "reward_model"
    base: Path = field(default_factory=Path, compare=False, repr=False)
    loaded: tuple[Scorer, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.combine not in COMBINATIONS:
            raise ValueError(f"reward models are combined by one of {', '.join(COMBINATIONS)}; got {self.combine!r}")
        if not (math.isfinite(self.k) and self.k >= 0):
            raise ValueError(f"k is how many standard deviations are subtracted, 0 or more; got {self.k}")
        if self.combine != "deviation" and self.k != 1.0:
            raise ValueError(f'k means something with combine = "deviation" alone; got k={self.k:g}')
        if not all(self.models):
            raise ValueError("a reward model needs a name: a stage of this run, a run folder or a model folder")
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"an ensemble has different reward models; got {', '.join(self.models)}")

    @property
    def asks_here(self) -> bool:
        return True

    def opened(self, at: Surroundings) -> RewardModels:
        """With the weights of every model loaded, in the type the policy computes in.

        Raises NotTrainedYet for the name of a stage that has no model yet, and ValueError (ModelError) for a path
        that is not there, a model without a scalar head, and one that reads other token ids than the policy writes.
        """
        # The workers that grade import this package, and start without the libraries that models need.
        from togi.models.scalar_heads import load_scalar

        found = []
        for name in self.models:
            model = load_scalar(place(name, at.folder, self.base, self.name), dtype=at.dtype, device=at.device)
            model.check_tokenizer(at.chat.tokenizer)
            found.append(model)
        return replace(self, loaded=tuple(found))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """All trajectories of all tasks, in batches that share what they have in common."""
        from togi.batch import answers, samples as group_samples

        if not self.loaded:
            raise ValueError(f"{self.name} has no weights yet: call opened() before scoring")
        groups = [
            Group(task=task, trajectories=tuple(played), scores=(Score(value=0.0),) * len(played))
            for task, played in asked
        ]
        samples = answers(group_samples(groups))
        columns = [model.scores(samples) for model in self.loaded] if samples else []
        scores = {
            (sample.group, sample.trajectory): self._score(np.array(score_M))
            for sample, *score_M in zip(samples, *columns, strict=True)
        }
        silent = Score(value=math.nan, status="abstain", note=f"{self.name}: the model wrote nothing to score")
        return [
            [scores.get((number, attempt), silent) for attempt in range(len(group.trajectories))]
            for number, group in enumerate(groups)
        ]

    def _score(self, score_M: NDArray[np.float64]) -> Score:
        """One trajectory's score from those of the members; each of these stays a part of its own."""
        if not np.isfinite(score_M).all():
            return Score(value=math.nan, status="error", note=f"{self.name}: a reward model gave {score_M.tolist()}")
        deviation = float(score_M.std(ddof=1)) if len(score_M) > 1 else 0.0
        value = float(score_M.min() if self.combine == "min" else score_M.mean())
        if self.combine == "deviation":
            value -= self.k * deviation
        parts = {self.name: value}
        if len(score_M) > 1:
            parts |= {f"{self.name}/{label}": float(s) for label, s in zip(self._labels(), score_M, strict=True)}
            parts[f"{self.name}/deviation"] = deviation
        return Score(value=value, parts=parts)

    def _labels(self) -> tuple[str, ...]:
        short = tuple(Path(name).name for name in self.models)
        return short if len(set(short)) == len(short) else self.models


def place(model: str, folder: Path, base: Path, reward: str) -> Path:
    """Where ``model`` is: a stage of the run at ``folder``, else a run folder or a model folder relative to ``base``.
    ``reward`` is who asks, for messages. Raises NotTrainedYet, and ValueError for what cannot be a stage."""
    stage, path = folder / "models" / model, base / Path(model).expanduser()
    if _plain(model) and stage.is_dir():
        return stage
    if path.is_dir():
        return path
    if _plain(model):
        raise NotTrainedYet(f"{reward}: {folder} has no model of a stage {model} yet, and there is no folder {path}")
    raise ValueError(f"{reward}: there is no folder {path}; name a stage of this run, a run folder or a model")


def reward_model(model: str, name: str = "reward_model", base: Path = Path()) -> RewardModels:
    """The score of a reward model: ``model`` is a stage of the same run, else a run folder or model folder, relative
    to ``base``."""
    return RewardModels((model,), name=name, base=base)


def ensemble(
    *models: str, combine: str = "mean", k: float = 1.0, name: str = "ensemble", base: Path = Path()
) -> RewardModels:
    """Several reward models as one score, against over-optimisation (Coste et al. 2023, arXiv:2310.02743).

    Where a policy finds an answer that one member wrongly likes, the others mostly do not. ``combine`` is their
    "mean"; their "min" (the paper's worst case); or "deviation", the mean less ``k`` standard deviations (n - 1) of
    the members. The paper subtracts the variance instead, whose weight depends on the scale of the scores.
    """
    if len(models) < 2:
        raise ValueError(f"an ensemble has at least 2 reward models, got {len(models)}; one alone is reward_model(...)")
    return RewardModels(models, combine, k, name, base)


def _plain(name: str) -> bool:
    """Whether a text can be the name of a stage."""
    return name not in ("", ".", "..") and Path(name).name == name
