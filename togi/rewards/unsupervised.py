"""Rewards without a label: whether attempts at one task agree with each other. They never read the task's answer.

What they pay for is not being right, it is being sure: they sharpen what a model already leans to, and go on doing so
where it leans the wrong way. Set a truth beside them (``[gold]``) or a bound on them (``[stage.until]``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from togi.rewards.algebra import Leaf
from togi.rewards.verify import Verifier, completion_text, form, number, scorer
from togi.types import Score, Task, Trajectory


@dataclass(frozen=True)
class majority(Leaf):
    """1 for the answer that most attempts at the task give, 0 for others (TTRL, arXiv:2504.16084).

    ``reading`` is the verifier that finds an answer in an attempt and says when two are the same; the task's own answer
    is never shown to it. An attempt without a readable answer has no vote and earns 0. Where k answers have equally
    many votes, each earns 1/k: what drawing the label among them would pay on average, whatever the order. Parts:
    the mark, and ``majority_share``, the votes of one such answer over all attempts, with or without a vote.
    """

    reading: Verifier = field(default_factory=number)
    name: str = "majority"

    def __post_init__(self) -> None:
        if isinstance(self.reading, scorer | form):
            raise ValueError(
                f"majority: {self.reading.name} does not compare two answers; read them with number(), choice(), "
                "exact() or math()"
            )

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        votes = same_answers(self.reading, task, trajectories)
        counts = {vote: votes.count(vote) for vote in votes if vote is not None}
        most = max(counts.values(), default=0)
        leaders = sum(count == most for count in counts.values())
        marks = [1.0 / leaders if vote is not None and counts[vote] == most else 0.0 for vote in votes]
        share = most / max(len(votes), 1)
        return [Score(value=mark, parts={self.name: mark, f"{self.name}_share": share}) for mark in marks]


def same_answers(reading: Verifier, task: Task, trajectories: Sequence[Trajectory]) -> list[int | None]:
    """A number for each attempt, equal where the verifier takes one attempt's answer for the other's; None where it
    reads no answer."""
    texts = [reading.read(completion_text(trajectory)) for trajectory in trajectories]
    left = {text: trajectory for text, trajectory in zip(texts, trajectories, strict=True) if text is not None}
    number_of: dict[str, int] = {}
    while left:
        # The first answer left stands in for the task's, and all that pass for it are the same answer.
        answer = next(iter(left))
        scores = reading(replace(task, answer=answer), list(left.values()))
        same = [text for text, score in zip(left, scores, strict=True) if score.status == "ok" and score.value == 1.0]
        if answer in same:
            number_of |= dict.fromkeys(same, len(number_of))
        left = {text: trajectory for text, trajectory in left.items() if text != answer and text not in same}
    return [None if text is None else number_of.get(text) for text in texts]
