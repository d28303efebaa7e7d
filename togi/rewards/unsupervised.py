"""Rewards without a verifier: whether attempts agree, how sure the policy is, and how likely it finds the answer.

All but ``likelihood`` never read the task's answer. They do not pay for being right but for being sure: they sharpen
what a model already leans to, and go on doing so where it leans the wrong way. Set a truth beside them (``[gold]``) or
a bound on them (``[stage.until]``). This file knows no model: it asks the engine of the stage.
"""

from __future__ import annotations

import math as mathematics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from togi.protocols import Asked, Engine
from togi.rewards.algebra import Leaf, Surroundings
from togi.rewards.verifiers import Verifier, completion_text, form, number, scorer
from togi.types import Reading, ReferenceAnswer, Score, Task, Trajectory

if TYPE_CHECKING:  # workers that grade import this module, and start without the libraries that texts need
    from togi.tokenization import Chat

T = TypeVar("T")


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

    @property
    def blind(self) -> bool:
        return True

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
    completions = [completion_text(trajectory) for trajectory in trajectories]
    answers = {each: reading.read(each) for each in dict.fromkeys(completions)}
    texts = [answers[each] for each in completions]
    left = {text: trajectory for text, trajectory in zip(texts, trajectories, strict=True) if text is not None}
    written = {text: reading.canonical(text) for text in left}
    number_of: dict[str, int] = {}
    while left:
        # The first answer left stands in for the task's, and all that pass for it are the same answer. The grader is
        # asked where ways of writing do not tell.
        answer = next(iter(left))
        told = {text for text in left if written[answer] is not None and written[text] == written[answer]}
        asked = [text for text in left if written[answer] is None or written[text] is None]
        scores = reading(replace(task, answer=answer), [left[text] for text in asked]) if asked else []
        passed = {
            text for text, score in zip(asked, scores, strict=True) if score.status == "ok" and score.value == 1.0
        }
        same = told | passed
        if answer in same:
            number_of |= dict.fromkeys(same, len(number_of))
        left = {text: trajectory for text, trajectory in left.items() if text != answer and text not in same}
    return [None if text is None else number_of.get(text) for text in texts]


@dataclass(frozen=True)
class Sure(Leaf):
    """How sure the policy is of what it wrote, over all tokens of all turns, at the temperature of sampling.

    ``form`` is "certainty" or one of the forms of ``entropy``. Every score also has the part ``entropy_nats``: the mean
    entropy of a token, which falls to 0 as a policy collapses. An attempt without a token abstains. ``engine`` is the
    policy's, and is None until ``opened``: what it says is of the weights as they are when it is asked.
    """

    form: str = "certainty"
    name: str = "self_certainty"
    engine: Engine | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.form not in SURE:
            raise ValueError(f"{self.name}: form is one of {', '.join(FORMS)}; got {self.form!r}")

    @property
    def blind(self) -> bool:
        return True

    @property
    def asks_here(self) -> bool:
        return True

    def opened(self, at: Surroundings) -> Sure:
        return replace(self, engine=at.engine)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """All attempts at all tasks are read at once."""
        engine = _opened(self.name, self.engine)
        said = iter(engine.read([turn for _, played in asked for one in played for turn in one.turns]))
        return [[self._score([next(said) for _ in one.turns]) for one in played] for _, played in asked]

    def _score(self, readings: Sequence[Reading]) -> Score:
        if not any(reading.logp for reading in readings):
            return Score(value=mathematics.nan, status="abstain", note=f"{self.name}: the model wrote nothing to read")
        value = SURE[self.form](readings)
        entropy = _mean(readings, lambda reading: reading.entropy)
        if not mathematics.isfinite(value + entropy):
            return Score(value=mathematics.nan, status="error", note=f"{self.name}: the model's reading is {value}")
        return Score(value=value, parts={self.name: value, "entropy_nats": entropy})


def _all(readings: Sequence[Reading], part: Callable[[Reading], tuple[float, ...]]) -> list[float]:
    return [number for reading in readings for number in part(reading)]


def _mean(readings: Sequence[Reading], part: Callable[[Reading], tuple[float, ...]]) -> float:
    return mathematics.fsum(_all(readings, part)) / max(len(_all(readings, part)), 1)


SURE: Mapping[str, Callable[[Sequence[Reading]], float]] = {
    "certainty": lambda readings: _mean(readings, lambda reading: reading.certainty),
    "mean": lambda readings: -_mean(readings, lambda reading: reading.entropy),
    "sum": lambda readings: -mathematics.fsum(_all(readings, lambda reading: reading.entropy)),
    "sequence": lambda readings: mathematics.fsum(_all(readings, lambda reading: reading.logp)),
}
FORMS = ("mean", "sum", "sequence")


def self_certainty(name: str = "self_certainty") -> Sure:
    """The mean over tokens of KL(U || p), the divergence of the token's distribution from the uniform one over the
    vocabulary, in nats (Intuitor, arXiv:2505.19590). The official code leaves out its constant, -log V."""
    return Sure("certainty", name)


def entropy(form: str = "mean", name: str = "entropy") -> Sure:
    """How little entropy the policy's tokens have, in nats: minus their ``mean`` (RENT, arXiv:2505.22660), minus their
    ``sum`` (EM-RL-token), or the log-probability of the ``sequence`` (EM-RL-sequence, arXiv:2505.15134)."""
    if form not in FORMS:
        raise ValueError(f"{name}: form is one of {', '.join(FORMS)}; got {form!r}")
    return Sure(form, name)


@dataclass(frozen=True)
class Likelihood(Leaf):
    """How likely the task's own answer is in place of the one an attempt gave; see ``likelihood``.

    An attempt that never opens ``<tag>`` has no place for it and earns 0. Parts: the reward, and for ``debias`` the
    likelihood without a thought, ``NAME_unthought``. ``at`` is None until ``opened``.
    """

    tag: str = "answer"
    form: str = "mean"
    debias: bool = True
    name: str = "likelihood"
    at: Surroundings | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.form not in ("mean", "product"):
            raise ValueError(f"{self.name}: form is mean or product; got {self.form!r}")
        if not self.tag:
            raise ValueError(f'{self.name}: tag is the name of the tag that answers stand in, as "answer"; got none')

    @property
    def asks_here(self) -> bool:
        return True

    def opened(self, at: Surroundings) -> Likelihood:
        return replace(self, at=at)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """All attempts at all tasks are read at once."""
        at = _opened(self.name, self.at)
        places = [[self._place(at.chat, task, one) for one in played] for task, played in asked]
        bare = [
            at.chat.referenced(played[0].turns[-1], gold, self.tag, thought=False)
            if self.debias and (gold := at.chat.reference(task)) and played and played[0].turns
            else None
            for task, played in asked
        ]
        wanted = [place for place in (*(one for row in places for one in row), *bare) if place is not None]
        said = iter(
            [self._likelihood(p, r) for p, r in zip(wanted, at.engine.read([p.turn for p in wanted]), strict=True)]
        )
        likely = [[None if place is None else next(said) for place in row] for row in places]
        unthought = [None if place is None else next(said) for place in bare]
        return [
            [self._score(at.chat.reference(task), value, without) for value in row]
            for (task, _), row, without in zip(asked, likely, unthought, strict=True)
        ]

    def _place(self, chat: Chat, task: Task, trajectory: Trajectory) -> ReferenceAnswer | None:
        gold = chat.reference(task)
        return chat.referenced(trajectory.turns[-1], gold, self.tag) if gold and trajectory.turns else None

    def _likelihood(self, place: ReferenceAnswer, reading: Reading) -> float:
        if self.form == "product":
            return mathematics.exp(mathematics.fsum(reading.logp))
        return mathematics.fsum(map(mathematics.exp, reading.logp[: place.tokens])) / place.tokens

    def _score(self, gold: str | None, likely: float | None, unthought: float | None) -> Score:
        if gold is None:
            note = f"{self.name}: the task has no answer to put in place of the model's"
            return Score(value=mathematics.nan, status="unparseable", note=note)
        value = 0.0 if likely is None else likely - (unthought or 0.0)
        value = min(max(value, 0.0), 1.0)
        parts = {self.name: value, "parsed": float(likely is not None)}
        return Score(value=value, parts=parts if unthought is None else {**parts, f"{self.name}_unthought": unthought})


def likelihood(tag: str = "answer", form: str = "mean", debias: bool = True, name: str = "likelihood") -> Likelihood:
    """The probability the policy gives to the task's own answer after the attempt's thought, where the attempt's answer
    stood: no verifier is needed, only an answer to compare with.

    ``form`` "mean" is the mean of the answer's token probabilities, and ``debias`` subtracts what it is without any
    thought and cuts the rest to 0 ... 1 (RLPR, arXiv:2506.18254); "product" is the probability of all of them and of
    the closing tag (VeriFree, arXiv:2505.21493: with ``debias=false``). RLPR adds ``0.1 * form()``.
    """
    return Likelihood(tag, form, debias, name)


def _opened(name: str, given: T | None) -> T:
    if given is None:
        raise ValueError(f"{name} asks the policy and was given none: call opened() before scoring")
    return given
