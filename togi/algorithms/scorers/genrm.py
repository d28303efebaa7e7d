"""GenRM: a verifier that answers Yes or No, trained by next-token prediction, together with writing solutions.

Generative verifiers (https://arxiv.org/abs/2408.15240, equations 3 to 5):
NLL(Yes | correct) + NLL(No | wrong) + λ · NLL(solution | task), λ = 1/3. Attempts that were found right or wrong become
questions in the very words that the reward ``genrm`` asks; of the right ones the solution itself is learned beside.

Each of the three is a mean over its own tokens of the step, so a policy that is mostly wrong does not teach No as a
habit; the paper draws as many right as wrong ones instead. Left out: chains written by a stronger model.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from togi import losses
from togi.advantages import token_mean
from togi.algorithms.policy_gradient.base import mean
from togi.askers.asker import MARK
from togi.batch import trajectories
from togi.protocols import Algorithm, Play, Sampler
from togi.rewards.judge.judge_prompts import VERIFY, verification_prompt
from togi.rewards.judge.verdict import YES_NO, read_text
from togi.samplers.group import ask, draw, recorded
from togi.types import (
    CUT,
    Batch,
    Group,
    Loss,
    Memory,
    Message,
    Outputs,
    Sample,
    Score,
    Task,
    Trains,
    Trajectory,
    Turn,
)
from togi.unicode_words import WORD

YES, NO = YES_NO
SOLUTION = "solution of "
"""How the ids of tasks begin whose recorded answer is a solution, and not a verdict."""

KEYS = (":", "Solution", "Thought process:", "Let's solve this step by step.")
"""Master keys (https://arxiv.org/abs/2507.08794): texts without an answer that fool verifiers. Others are known; these
are taught, so that what is measured of the others says whether more was learned than a list."""


@dataclass(frozen=True, kw_only=True)
class Labelled(Sampler):
    """Attempts that were found right (worth of ``correct_from`` or more) or wrong, as questions that are answered Yes
    or No, and the right ones as solutions. It takes ``most`` different right and as many wrong attempts of each task.

    ``master_keys`` are so many answers a task that say nothing (``KEYS``, and an attempt's first words) and are
    labelled No. ``template`` is the prompt, as for the reward.
    """

    most: int = 4
    master_keys: int = 0
    correct_from: float = 0.5
    template: str = VERIFY

    def __post_init__(self) -> None:
        if self.most < 1 or self.master_keys < 0:
            raise ValueError(f"most is at least 1 and master_keys at least 0, got {self.most} and {self.master_keys}")

    @property
    def writes(self) -> bool:
        return False

    @property
    @abstractmethod
    def reason(self) -> bool:
        """Whether the verifier writes a chain of thought before its verdict."""
        ...

    @abstractmethod
    def taught(self, asked: Sequence[Task], play: Play) -> list[Group]:
        """The questions, whose answer is the true verdict, with what is learned."""
        ...

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        """Raises ValueError for tasks whose answers nobody judged."""
        drawn = draw(tasks, want)
        asked = [question for task in drawn for question in self.questions(task)]
        return [
            *self.taught(asked, play),
            *(recorded(each, play.chat) for task in drawn for each in self.solutions(task)),
        ]

    def questions(self, task: Task) -> list[Task]:
        """What is asked about a task's attempts; the true verdict is the answer."""
        right, wrong = (self._found(task, correct=correct)[: self.most] for correct in (True, False))
        labelled = [(text, YES) for text in right] + [(text, NO) for text in wrong]
        labelled += [(text, NO) for text in _keys(task)[: self.master_keys]]
        return [
            Task(
                id=f"verification {number} of {task.id}",
                prompt=verification_prompt(task, _said(text), reason=self.reason, template=self.template),
                answer=verdict,
                recorded=((Message(role="assistant", content=verdict),),),
                worth=(1.0 if verdict == YES else 0.0,),
            )
            for number, (text, verdict) in enumerate(labelled, 1)
        ]

    def solutions(self, task: Task) -> list[Task]:
        return [
            replace(
                task, id=f"{SOLUTION}{task.id}", recorded=((Message(role="assistant", content=text),),), worth=(1.0,)
            )
            for text in self._found(task, correct=True)[: self.most]
        ]

    def _found(self, task: Task, *, correct: bool) -> list[str]:
        """The different attempts that are right, or those that are wrong."""
        if not task.worth:
            raise ValueError(
                f"task {task.id} has no answers that were found right or wrong: learn from scored rollouts"
            )
        pairs = zip(task.recorded, task.worth, strict=True)
        return list(dict.fromkeys(a[0].content for a, worth in pairs if (worth >= self.correct_from) == correct))


@dataclass(frozen=True, kw_only=True)
class Verdicts(Labelled):
    """The verdict follows the question at once."""

    @property
    def reason(self) -> bool:
        return False

    def taught(self, asked: Sequence[Task], play: Play) -> list[Group]:
        return [recorded(question, play.chat) for question in asked]


@dataclass(frozen=True, kw_only=True)
class Chains(Labelled):
    """``n`` chains of thought are sampled on each question, and those whose verdict is true are learned (GenRM-CoT).

    A chain that errs, or ends without a verdict, stays in its group with status ``abstain``. Left in ``play.counts``:
    ``verification/agreed`` and ``verification/unread``, shares of all chains.
    """

    n: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")

    @property
    def reason(self) -> bool:
        return True

    def taught(self, asked: Sequence[Task], play: Play) -> list[Group]:
        played = play.attempts(ask(asked, self.n))
        said = [verdict_of(chain) for chains in played for chain in chains]
        true = [question.answer for question in asked for _ in range(self.n)]
        play.counts.update(_counts(said, true))
        return [
            Group(task=question, trajectories=tuple(map(_unpaid, chains)), scores=tuple(_agrees(question, chains)))
            for question, chains in zip(asked, played, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class GenRM(Algorithm):
    """Verdicts on attempts, and ``solution`` (λ) times the right solutions. The stage's model is a verifier, asked by
    the reward ``genrm("STAGE")``."""

    sampler: Labelled = field(default=Verdicts())
    solution: float = 1 / 3

    def __post_init__(self) -> None:
        if not 0 <= self.solution < math.inf:
            raise ValueError(f"solution is the weight of solutions, 0 or more, got {self.solution}")

    @property
    def trains(self) -> Trains:
        return "verifier"

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights only: each kind (Yes, No, solution) is averaged over its own tokens."""
        weighted: dict[int, float] = {}
        for kind, factor in ((YES, 1.0), (NO, 1.0), (SOLUTION, self.solution)):
            rows = [row for row, sample in enumerate(samples) if kind_of(sample) == kind]
            attempts = trajectories([samples[row] for row in rows])
            weight_B = factor * token_mean(attempts.length_S)[attempts.index]
            weighted.update(zip(rows, map(float, weight_B), strict=True))
        return [replace(sample, weight=weighted[row]) for row, sample in enumerate(samples)]

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        import torch

        nll_BT = losses.nll(out.logp_BT, batch.mask_BT)
        written_B = torch.tensor([kind_of(sample) == SOLUTION for sample in batch.samples], device=nll_BT.device)
        metrics = {
            "nll/verdict": mean(nll_BT, batch.mask_BT & ~written_B[:, None]),
            "nll/solution": mean(nll_BT, batch.mask_BT & written_B[:, None]),
        }
        return Loss(value=losses.weighted_sum(nll_BT, batch.weight_B, batch.mask_BT), metrics=metrics)


def kind_of(sample: Sample) -> str:
    """What a sample teaches: a verdict, or a solution."""
    if sample.task.startswith(SOLUTION):
        return SOLUTION
    return YES if sample.reward else NO


def verdict_of(chain: Trajectory) -> str | None:
    """The verdict on the last line of a chain of thought; None for one that was cut off, or that gives none."""
    text = chain.turns[-1].text if chain.turns else ""
    if chain.error or chain.stop in CUT or f"\n{MARK}" not in text:
        return None
    return read_text(text, YES_NO)


def _counts(said: Sequence[str | None], true: Sequence[str]) -> dict[str, float]:
    agreed = sum(verdict == answer for verdict, answer in zip(said, true, strict=True))
    return {"verification/agreed": agreed / len(said), "verification/unread": said.count(None) / len(said)}


def _agrees(question: Task, chains: Sequence[Trajectory]) -> Iterator[Score]:
    for chain in chains:
        verdict = verdict_of(chain)
        if verdict == question.answer:
            yield Score(value=question.worth[0])
        else:
            note = "the chain ends without a verdict" if verdict is None else f"{verdict} is not the true verdict"
            yield Score(value=math.nan, status="abstain", note=note)


def _unpaid(chain: Trajectory) -> Trajectory:
    """Without log-probabilities, as all answers that are imitated: nobody was paid, and metrics say no reward."""
    return replace(chain, turns=tuple(replace(turn, logp=()) for turn in chain.turns))


def _keys(task: Task) -> list[str]:
    """Answers that say nothing, in an order that looks random and depends on the task alone."""
    openings = [opening for (first, *_) in task.recorded if (opening := _opening(first.content))]
    texts = dict.fromkeys([*KEYS, *openings])
    return sorted(texts, key=lambda text: hashlib.blake2b(f"{task.id}\x1f{text}".encode()).digest())


def _opening(text: str) -> str:
    """A quarter of an answer's words, from its start; nothing of a short one, which might be an answer still."""
    ends = [word.end() for word in WORD.finditer(text)]
    return text[: ends[len(ends) // 4 - 1]] if len(ends) >= 8 else ""


def _said(text: str) -> Trajectory:
    return Trajectory(turns=(Turn(prompt=(), completion=(), text=text, stop="eos"),), stop="eos")
