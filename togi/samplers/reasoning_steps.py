"""Answers whose steps were judged: by those who wrote them down, or by what becomes of each when it is continued.

Knows tasks, scores and a Play; no model, and no way to cut a text other than asking the Play.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np

from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw, recorded
from togi.types import Ability, Group, Ids, Question, Score, Task

Labels = Literal["hard", "soft"]
_Begun = tuple[str, Ids]


@dataclass(frozen=True)
class Stepwise(Sampler):
    """Recorded answers with what each of their steps is worth; steps are cut at ``separator``."""

    separator: str = "\n"

    @property
    def writes(self) -> bool:
        return False

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        """Raises ValueError for a task whose steps nobody judged, and where worths and steps do not match."""
        return [self._judged(group, play) for group in (recorded(task, play.chat) for task in draw(tasks, want))]

    def _judged(self, group: Group, play: Play) -> Group:
        task, scores = group.task, []
        if len(task.step_worth) != len(group.trajectories):
            raise ValueError(
                f"task {task.id} says nothing of its answer's steps: give the row prompt, completions (a list of "
                "steps) and labels (true or false each), or learn from the rollouts of a step_labels stage"
            )
        for trajectory, score, steps in zip(group.trajectories, group.scores, task.step_worth, strict=True):
            ends = play.chat.step_ends(trajectory.turns[-1].completion, self.separator)
            # An answer that nobody judged step by step stands beside others of its group.
            if steps and len(ends) != len(steps):
                raise ValueError(
                    f"task {task.id}: an answer has {len(ends)} steps when it is cut at {self.separator!r}, and "
                    f"{len(steps)} labels: set separator to what stands between its steps"
                )
            scores.append(replace(score, steps=steps, step_ends=ends if steps else ()))
        return replace(group, scores=tuple(scores))


@dataclass(frozen=True)
class StepLabels(Sampler):
    """``n`` attempts at each task, whose steps are worth what becomes of them: every beginning of an attempt up to the
    end of a step is continued ``continuations`` times by the policy (Math-Shepherd, https://arxiv.org/abs/2312.08935,
    section 3.3). ``hard``: 1 if any continuation ends right, else 0; ``soft``: the share that does. The last step is
    worth what the attempt itself is.

    Right is what the reward finds ``right_from`` or more (its part ``correct``, where it has one). Continuations that
    could not be scored do not count; a step without any other is not labelled. Attempts of several turns are refused.
    Left in ``play.counts``: ``step_labels/steps`` (mean steps of a labelled attempt), ``step_labels/mean`` (mean label)
    and ``step_labels/unlabelled`` (share of steps).
    """

    n: int = 4
    continuations: int = 8
    labels: Labels = "hard"
    separator: str = "\n"
    right_from: float = 0.5

    def __post_init__(self) -> None:
        if self.n < 1 or self.continuations < 1:
            raise ValueError(
                f"attempts and continuations must be at least 1, got {self.n} and {self.continuations} of each step"
            )

    @property
    def asks(self) -> frozenset[Ability]:
        return frozenset({"begin"})

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        groups = play(ask(draw(tasks, want), self.n))
        # Attempts share beginnings, and what becomes of one depends on nothing else.
        begun = {(group.task.id, ids): group.task for group in groups for _, _, all_ids in self._cut(group, play)
                 for ids in all_ids}  # fmt: skip
        played = play([Question(task=t, attempts=self.continuations, beginning=ids) for (_, ids), t in begun.items()])
        worth = {key: self._worth(group.scores) for key, group in zip(begun, played, strict=True)}
        labelled = [self._labelled(group, play, worth) for group in groups]
        play.counts.update(_counts([score.steps for group in labelled for score in group.scores if score.steps]))
        return labelled

    def _cut(self, group: Group, play: Play) -> list[tuple[int, tuple[int, ...], list[Ids]]]:
        """The attempts that have steps: their number, the ends of steps, and what stands up to each but the last."""
        found = []
        for number, (trajectory, score) in enumerate(zip(group.trajectories, group.scores, strict=True)):
            if score.status != "ok":
                continue
            if len(trajectory.turns) != 1:
                raise ValueError(
                    f"task {group.task.id}: an attempt has {len(trajectory.turns)} turns, and steps are continued "
                    "within one: label answers of a single turn"
                )
            ends = play.chat.step_ends(trajectory.turns[-1].completion, self.separator)
            if ends:
                completion = trajectory.turns[0].completion
                found.append((number, ends, [completion[: end + 1] for end in ends[:-1]]))
        return found

    def _labelled(self, group: Group, play: Play, worth: Mapping[_Begun, float]) -> Group:
        scores = list(group.scores)
        for number, ends, begun in self._cut(group, play):
            own = self._worth([scores[number]])
            steps = (*(worth[group.task.id, ids] for ids in begun), own)
            scores[number] = replace(scores[number], steps=steps, step_ends=ends)
        return replace(group, scores=tuple(scores))

    def _worth(self, scores: Sequence[Score]) -> float:
        right = [score.correct >= self.right_from for score in scores if score.status == "ok"]
        if not right:
            return math.nan
        return float(any(right)) if self.labels == "hard" else sum(right) / len(right)


def _counts(steps: Sequence[Sequence[float]]) -> dict[str, float]:
    labels = np.array([label for each in steps for label in each])
    if not labels.size:
        return {}
    known = labels[~np.isnan(labels)]
    counts = {
        "step_labels/steps": len(labels) / len(steps),
        "step_labels/unlabelled": 1 - len(known) / len(labels),
    }
    if known.size:
        counts["step_labels/mean"] = fmean(known)
    return counts
