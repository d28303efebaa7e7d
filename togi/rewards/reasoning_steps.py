"""Rewards of parts of an attempt: a process reward model's word on its steps, and what an environment paid its turns.

Nothing is trained here. ``dense`` moves what is paid to where it was earned and sums to 0: the whole attempt is paid
its value, whoever reads the dense part and whoever does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from togi.protocols import Asked
from togi.rewards.algebra import Leaf, Surroundings
from togi.rewards.blame import own_fault
from togi.rewards.reward_model import place
from togi.types import Group, Sample, Score, Task, Trajectory

if TYPE_CHECKING:  # workers that grade import this package, and start without the libraries that texts need
    from togi.tokenization import Chat

Array = NDArray[np.float64]

# The chances that steps 1 to K are right -> what the first 1, 2, ... K steps are worth together. Steps that are added
# to an answer cannot raise its minimum or its product.
COMBINATIONS: Mapping[str, Callable[[Array], Array]] = {
    "min": np.minimum.accumulate,
    "product": np.multiply.accumulate,
    "last": lambda p_K: p_K,
    "mean": lambda p_K: np.add.accumulate(p_K) / np.arange(1, len(p_K) + 1),
}


class StepScorer(Protocol):
    """A loaded process reward model: one number after each token of a sample [T]."""

    def after(self, samples: Sequence[Sample]) -> list[Array]: ...


@dataclass(frozen=True)
class ProcessModel(Leaf):
    """What a process reward model says of each step of the last turn, combined to one number between 0 and 1.

    The value is that of all steps; ``Score.steps`` keeps the chance that each is right. ``dense`` pays at the end of
    each step by how much it moved the value of the steps so far, and takes the sum back at the last token, where the
    value itself is paid: potential-based shaping with the potential 0 before the first step (Ng et al. 1999), which
    leaves every policy's expected reward as it is. An answer without a step is worth 0. ``loaded`` is None until
    ``opened``.
    """

    model: str
    combine: str = "min"
    separator: str = "\n"
    name: str = "process"
    base: Path = field(default_factory=Path, compare=False, repr=False)
    loaded: StepScorer | None = field(default=None, compare=False, repr=False)
    chat: Chat | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.combine == "sum":
            raise ValueError(
                "a sum over steps pays for adding steps, which is what a policy then learns: "
                'combine them by "min" or "product"'
            )
        if self.combine not in COMBINATIONS:
            raise ValueError(f"steps are combined by one of {', '.join(COMBINATIONS)}; got {self.combine!r}")
        if not self.model:
            raise ValueError("a process reward model needs a name: a stage of this run, a run folder or a model folder")
        if not self.separator:
            raise ValueError(r'steps are cut at a separator that is not empty, such as "\n"')

    @property
    def asks_here(self) -> bool:
        return True

    def opened(self, at: Surroundings) -> ProcessModel:
        """With its weights loaded. Raises NotTrainedYet and ValueError (ModelError) as ``RewardModels.opened``."""
        from togi.models.scalar_heads import load_scalar

        model = load_scalar(place(self.model, at.folder, self.base, self.name), dtype=at.dtype, device=at.device)
        model.check_tokenizer(at.chat.tokenizer)
        return replace(self, loaded=model, chat=at.chat)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """All trajectories of all tasks, in batches that share what they have in common."""
        from togi.batch import answers, samples as group_samples

        if self.loaded is None or self.chat is None:
            raise ValueError(f"{self.name} has no weights yet: call opened() before scoring")
        groups = [
            Group(task=task, trajectories=tuple(played), scores=(Score(value=0.0),) * len(played))
            for task, played in asked
        ]
        samples = answers(group_samples(groups))
        said = self.loaded.after(samples) if samples else []
        after = {(each.group, each.trajectory): x_T for each, x_T in zip(samples, said, strict=True)}
        return [
            [self._score(trajectory, after.get((number, attempt))) for attempt, trajectory in enumerate(played)]
            for number, (_, played) in enumerate(asked)
        ]

    def _score(self, trajectory: Trajectory, after_T: Array | None) -> Score:
        assert self.chat is not None
        last = trajectory.turns[-1]
        ends = self.chat.step_ends(last.completion, self.separator)
        if after_T is None or not ends:
            return own_fault(self.name, "empty", "the model wrote no step to score")
        x_K = after_T[len(last.prompt) + np.array(ends)]
        if not np.isfinite(x_K).all():
            return Score(value=math.nan, status="error", note=f"{self.name}: the model gave {x_K.tolist()}")
        p_K = 0.5 * (1 + np.tanh(x_K / 2))  # the sigmoid, without overflow
        worth_K = COMBINATIONS[self.combine](p_K)
        before = sum(len(turn.completion) for turn in trajectory.turns[:-1])
        return Score(
            value=float(worth_K[-1]),
            parts={self.name: float(worth_K[-1]), f"{self.name}/steps": float(len(ends))},
            dense=moved(trajectory, before + np.array(ends), np.diff(worth_K, prepend=0.0)),
            steps=tuple(p_K.tolist()),
            step_ends=ends,
        )


@dataclass(frozen=True)
class turns(Leaf):
    """The sum of what the environment paid the turns of an attempt; ``dense`` has each where it was earned, at the last
    token of its turn."""

    name: str = "turns"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [self._score(trajectory) for trajectory in trajectories]

    def _score(self, trajectory: Trajectory) -> Score:
        paid = np.array([turn.reward for turn in trajectory.turns])
        # A turn in which the model wrote nothing is paid at the last token before it.
        ends = np.maximum(np.cumsum([len(turn.completion) for turn in trajectory.turns]) - 1, 0)
        return Score(value=float(paid.sum()), parts={self.name: float(paid.sum())}, dense=moved(trajectory, ends, paid))


def moved(trajectory: Trajectory, ends: NDArray[np.int64], paid: Array) -> tuple[float, ...]:
    """A reward for each completion token of all turns: ``paid`` at the tokens ``ends``, its sum taken off the last."""
    dense = np.zeros(sum(len(turn.completion) for turn in trajectory.turns))
    if not len(dense):
        return ()
    np.add.at(dense, ends, paid)
    dense[-1] -= paid.sum()
    return tuple(dense.tolist())


def process(
    model: str, combine: str = "min", separator: str = "\n", name: str = "process", base: Path = Path()
) -> ProcessModel:
    """A process reward model's word on the steps of an answer: ``model`` is a stage of the same run, else a run folder
    or model folder, relative to ``base``.

    ``combine`` is the "min" of the chances that each step is right (as PURE, arXiv:2504.15275), their "product"
    (arXiv:2305.20050), the "last" one, or their "mean". A policy can raise the last and the mean by adding steps that
    say nothing wrong; a sum is refused.
    """
    return ProcessModel(model, combine, separator, name, base)
