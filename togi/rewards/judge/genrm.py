"""``genrm``: the probability that a model calls an answer correct, with or without written reasons. It trains nothing.

Generative verifiers (arXiv 2408.15240): r = p("Yes" | task, answer, "Is the answer correct (Yes/No)?"). Any model can
be asked; one that the algorithm ``genrm`` has trained was taught with the very prompt it is asked with here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from togi.askers.asker import Asker, Request
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.base import Judge, Opened, critique
from togi.rewards.judge.verdict import YES_NO, Verdict
from togi.types import Message, Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.algebra import Surroundings


@dataclass(frozen=True, kw_only=True)
class genrm(Judge):
    """The probability of a Yes, 0 to 1, read where the verdict stands: the first token of the reply, or with ``reason``
    what follows "Verdict:" after a chain of thought.

    ``votes`` chains are sampled at ``temperature`` and their probabilities averaged (one alone is written greedily);
    the first is the score's note. The probability is the one among all tokens, as in the paper: a model that says
    something else than Yes or No pays little. ``renormalised`` sets Yes against No alone, for models never taught.
    """

    model: str = field(default="policy", kw_only=False)
    votes: int = 1
    temperature: float = 1.0
    renormalised: bool = False
    name: str = "genrm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.votes < 1 or not 0 < self.temperature < math.inf:
            raise ValueError(f"{self.name}: votes is at least 1, and temperature more than 0")
        if self.votes > 1 and not self.reason:
            raise ValueError(f"{self.name}: without reasons all {self.votes} votes are the same: add reason=true")

    def opened(self, at: Surroundings) -> OpenVerification:
        template = prompts.read_template(self.base / self.template, ("answer",)) if self.template else prompts.VERIFY
        return OpenVerification(self, self.asker(at), template)

    def question(self, messages: tuple[Message, ...], options: tuple[str, ...]) -> Request:
        asked = super().question(messages, options)
        return replace(asked, renormalised=self.renormalised, temperature=self.temperature if self.votes > 1 else 0.0)


class OpenVerification(Opened):
    """Every answer is asked about by itself, once a vote."""

    def __init__(self, spec: genrm, asker: Asker, template: str) -> None:
        super().__init__(spec, asker)
        self._votes, self._reason, self._template = spec.votes, spec.reason, template

    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Request]:
        for trajectory in trajectories:
            prompt = prompts.verification_prompt(task, trajectory, reason=self._reason, template=self._template)
            question = self._spec.question(prompt, YES_NO)
            yield from (replace(question, vote=vote) for vote in range(self._votes))

    def _scores(self, task: Task, trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]) -> list[Score]:
        each = self._votes
        return [self._score(verdicts[i * each : (i + 1) * each]) for i in range(len(trajectories))]

    def _score(self, verdicts: Sequence[Verdict]) -> Score:
        values = [verdict.probability["Yes"] for verdict in verdicts if verdict.status == "ok"]
        if not values:
            return self._missing(verdicts)
        value = math.fsum(values) / len(values)
        return Score(value=value, parts={self.name: value}, note=critique(verdicts))
