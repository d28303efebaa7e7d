"""What a run will cost, reckoned before it starts from its counts and the machine's rate; it measures nothing.

Arithmetic by the usual rule (Kaplan et al. 2020, arXiv 2001.08361, section 2.1): 2·N operations a token to sample or
to read, 6·N to learn, N being the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from togi.algorithms import QuietSTaR
from togi.evidence.after.run_cost import FORWARD, LEARN
from togi.run import Evaluation, Run, Stage
from togi.samplers import (
    Against,
    Budgeted,
    Dynamic,
    EntropyTree,
    Groups,
    LevelTree,
    Rationalised,
    Referenced,
    Rejection,
    Revised,
    SegmentTree,
    StepLabels,
    StudentsShare,
    ValuedSegments,
    ValuedSteps,
    WithGreedy,
)
from togi.types import Sampling, Task

if TYPE_CHECKING:
    from togi.tokenization import Chat

EVALUATION = ""  # what no stage is named
LOOKED_AT = 200  # tasks whose prompts and recorded answers are measured
# Shares of the matrix rate that were reached on two CPU cores in bfloat16, 64 sequences at a time. On an accelerator
# sampling is bound by memory instead, and the estimate is too low.
SAMPLING_SHARE, LEARNING_SHARE = 0.35, 0.5


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Tokens a second: to sample, to read (prompts, reference log-probabilities) and to learn from."""

    sample: float
    read: float
    learn: float


Range = tuple[float, float]
"""From (answers as long as the recorded ones, no group drawn again) to (every answer as long as allowed, and as many
groups drawn as a step may draw)."""
NONE = (0.0, 0.0)
Phase = Literal["sampling", "learning", "evaluating"]


@dataclass(frozen=True, kw_only=True)
class PhaseEstimate:
    """Completion tokens that are written or learned from once, the seconds that takes, and those that graders take."""

    tokens: Range = NONE
    seconds: Range = NONE
    grading: Range = NONE

    def __add__(self, other: PhaseEstimate) -> PhaseEstimate:
        return PhaseEstimate(
            tokens=added(self.tokens, other.tokens),
            seconds=added(self.seconds, other.seconds),
            grading=added(self.grading, other.grading),
        )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The phases of a run, and ``learned``: the tokens it learns from at most, prompts and epochs counted."""

    phases: Mapping[Phase, PhaseEstimate]
    learned: int

    @property
    def sampled(self) -> tuple[int, int]:
        low, high = added(self.phases["sampling"].tokens, self.phases["evaluating"].tokens)
        return round(low), round(high)

    @property
    def grading(self) -> Range:
        """The part of the seconds that graders take."""
        return added(*(phase.grading for phase in self.phases.values()))

    @property
    def seconds(self) -> Range:
        return added(self.grading, *(phase.seconds for phase in self.phases.values()))


def added(*ranges: Range) -> Range:
    return sum(low for low, _ in ranges), sum(high for _, high in ranges)


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Mean tokens of a prompt, of an expected answer, and of the longest answer allowed."""

    prompt: float
    answer: float
    most: float


def rates(parameters: int, flops_per_second: float) -> Rates:
    """Rates of a model of that size, from the machine's matrix rate in the type it computes in."""
    return Rates(
        sample=SAMPLING_SHARE * flops_per_second / (FORWARD * parameters),
        read=LEARNING_SHARE * flops_per_second / (FORWARD * parameters),
        learn=LEARNING_SHARE * flops_per_second / (LEARN * parameters),
    )


def looks(evaluation: Evaluation, steps: int) -> int:
    """How often a policy is measured on the way in a stage of so many steps; its last one where the best is kept."""
    if not evaluation.every:
        return 0
    return -(-steps // evaluation.every) if evaluation.best else (steps - 1) // evaluation.every


def estimate(run: Run, chat: Chat, speed: Rates, grading: Mapping[str, float] | None = None) -> Estimate:
    """Add up all stages and all evaluations (one of the base model, one after every stage that trains a policy,
    and those on the way).

    ``grading`` has the seconds that one attempt's score takes, by the name of a stage, and of the evaluation under
    ``EVALUATION``; what is not there takes none.
    """
    of = grading or {}
    phases: dict[Phase, PhaseEstimate] = dict.fromkeys(("sampling", "learning", "evaluating"), PhaseEstimate())
    learned = 0.0
    for stage in run.stages:
        size = _lengths(stage.tasks, stage.sampling if stage.algorithm.sampler.writes else None, chat)
        phases["sampling"] += _sampling(stage, size, speed, of.get(stage.name, 0.0))
        phases["learning"] += _learning(stage, size, speed)
        learned += _learned(stage, size, size.most)
    if run.evaluation is not None:
        phases["evaluating"] = _evaluating(run, run.evaluation, chat, speed, of.get(EVALUATION, 0.0))
    return Estimate(phases=phases, learned=round(learned))


def _sampling(stage: Stage, size: Lengths, speed: Rates, graded: float) -> PhaseEstimate:
    groups, attempts = stage.steps * stage.tasks_per_step, attempts_of(stage)
    drawn = (groups * attempts.fewest, groups * attempts.most)
    written = (drawn[0] * size.answer, drawn[1] * size.most)
    read = groups * size.prompt / speed.read
    return PhaseEstimate(
        tokens=written,
        seconds=(written[0] / speed.sample + read, written[1] / speed.sample + read),
        grading=(drawn[0] * graded, drawn[1] * graded),
    )


def _learning(stage: Stage, size: Lengths, speed: Rates) -> PhaseEstimate:
    groups, attempts = stage.steps * stage.tasks_per_step, attempts_of(stage)
    needs, outputs = stage.algorithm.needs, stage.algorithm.outputs
    # A teacher is taken to be as large as the student, which it rarely is.
    taught = ("teacher_logp" in needs) + ("compared" in outputs)
    reads = ("ref_logp" in needs) + bool(needs & {"old_logp", "old_entropy"}) + taught

    def takes(answer: float) -> float:
        read = reads * groups * (size.prompt + attempts.kept * answer)
        return _computed(stage) * _learned(stage, size, answer) / speed.learn + read / speed.read

    once = groups * (attempts.kept or 1)
    return PhaseEstimate(tokens=(once * size.answer, once * size.most), seconds=(takes(size.answer), takes(size.most)))


def _computed(stage: Stage) -> int:
    """Tokens that are computed for each that is learned from."""
    return stage.algorithm.computed if isinstance(stage.algorithm, QuietSTaR) else 1


def _learned(stage: Stage, size: Lengths, answer: float) -> float:
    """Tokens that the stage learns from, with answers so long."""
    learns = stage.epochs if stage.algorithm.trains != "nothing" else 0
    return learns * stage.steps * stage.tasks_per_step * ((attempts_of(stage).kept or 1) * answer + size.prompt)


def _evaluating(run: Run, evaluation: Evaluation, chat: Chat, speed: Rates, graded: float) -> PhaseEstimate:
    size = _lengths(evaluation.tasks, evaluation.sampling, chat)
    measured = [stage for stage in run.stages if stage.measured and stage.algorithm.trains == "policy"]
    played = (1 + len(measured)) * len(evaluation.tasks)
    asked = sum(looks(evaluation, stage.steps) for stage in measured) * len(evaluation.tasks_on_the_way)
    made = played * evaluation.attempts + asked * evaluation.every_attempts
    written = (made * size.answer, made * size.most)
    read = (played + asked) * size.prompt / speed.read
    return PhaseEstimate(
        tokens=written,
        seconds=(written[0] / speed.sample + read, written[1] / speed.sample + read),
        grading=(made * graded, made * graded),
    )


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Completions of each task: how many are drawn at least and at most, and how many are learned from."""

    fewest: float
    most: float
    kept: float


def attempts_of(stage: Stage) -> Attempts:
    """Steps are continued, and answers fork, after half an answer on average; there are as many steps as a recorded
    answer has, else one."""
    kept: float
    drawn: float
    rounds = 1
    match stage.algorithm.sampler:
        case Dynamic(n=kept, max_rounds=rounds):  # nobody knows before how many groups will differ
            drawn = kept
        case Groups(n=kept, votes=votes):
            drawn = float(votes or kept)
        case Budgeted(n=kept):
            drawn = kept
        case Rejection(n=drawn, keep=kept):
            pass
        case WithGreedy(n=kept):
            drawn = kept + 1
        case Against(n=pairs):
            drawn = kept = 2 * pairs
        case Referenced(n=kept) | Revised(n=kept):
            drawn = kept
        case Rationalised(n=kept, rationalise=again):  # nobody knows before how many tasks will need a hint
            return Attempts(fewest=kept, most=kept * (1 + again), kept=kept)
        case StudentsShare(n=kept, student_share=share):
            drawn = kept * share
        case StepLabels(n=kept, continuations=further, separator=separator):
            drawn = kept * (1 + further * (_steps(stage.tasks, separator) - 1) / 2)
        case ValuedSteps(n=kept, continuations=further, separator=separator):
            drawn = kept * (1 + further * (_steps(stage.tasks, separator) - 1) / 2) + further
        case ValuedSegments(n=kept, continuations=further, cutpoints=cutpoints):  # nobody knows before how sure it is
            segments = stage.sampling.max_tokens / cutpoints
            return Attempts(fewest=kept + further, most=kept * (1 + further * segments / 2) + further, kept=kept)
        case EntropyTree(n=chains, forks=forks, arms=arms, rounds=often):
            kept = chains * (1 + forks * arms * often)
            drawn = chains + (kept - chains) / 2
        case SegmentTree(n=kept):
            return Attempts(fewest=kept / 2, most=kept, kept=kept)
        case LevelTree(n=arms, levels=levels):  # answers that end within a segment do not branch
            return Attempts(fewest=arms, most=arms**levels, kept=arms**levels)
        case _:
            drawn, kept = 0, len(stage.tasks[0].recorded)
    # Nor how many groups of earlier steps will be fit to be learned again.
    new = 1 - stage.replay.share if stage.replay else 1
    kept += stage.algorithm.sampler.demonstrations
    return Attempts(fewest=drawn * new, most=drawn * rounds, kept=kept)


def _steps(tasks: Sequence[Task], separator: str) -> float:
    """How many steps a recorded answer has on average."""
    written = [task.recorded[0][-1].content for task in islice(tasks, LOOKED_AT) if task.recorded]
    return fmean([sum(bool(step.strip()) for step in text.split(separator)) for text in written] or [1])


def _lengths(tasks: Sequence[Task], sampling: Sampling | None, chat: Chat) -> Lengths:
    some = list(islice(tasks, LOOKED_AT))
    prompt = fmean(len(chat.of(task).prompt(task.prompt)) for task in some)
    recorded = [len(chat.of(task).completion(task.recorded[0][-1].content)) for task in some if task.recorded]
    if sampling is None:
        answer = fmean(recorded) if recorded else 0.0
        return Lengths(prompt=prompt, answer=answer, most=answer)
    most = float(sampling.max_tokens)
    return Lengths(prompt=prompt, answer=min(fmean(recorded), most) if recorded else most, most=most)
