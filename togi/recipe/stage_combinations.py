"""Combinations within a stage that cannot work, each with its fix. It knows the nouns and no algorithm by name.

Keys are relative to the stage. What an algorithm reads of attempts is tried on some that are made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from togi.algorithms.policy_gradient.base import Regularised
from togi.protocols import Algorithm, Reward
from togi.recipe.algorithm_settings import attempts_of
from togi.recipe.combinations import Problem
from togi.recipe.errors import did_you_mean
from togi.recipe.schema import SamplingTable, StageTable, unused
from togi.rewards.algebra import leaves_of
from togi.samplers import Revised
from togi.types import Sample

MOST = 1_000_000  # completions of one step


def stage(table: StageTable, algorithm: Algorithm, sampling: SamplingTable, *, paid: bool) -> Iterator[Problem]:
    """What is wrong within a stage, before its tasks are loaded."""
    yield from _updates(table, algorithm)
    yield from _heads(table, algorithm)
    yield from _teacher(table, algorithm)
    yield from _beside(table, algorithm)
    yield from _order_and_replay(table, algorithm)
    if attempts_of(algorithm) is None:
        if table.sampling.model_fields_set:
            yield ("sampling",), f"{table.algorithm} learns from recorded answers and samples nothing: remove it"
        if table.reward is not None:
            yield ("reward",), f"{table.algorithm} learns from recorded answers and scores nothing: remove it"
    else:
        yield from _sampled(table, algorithm, sampling, paid=paid)


def _updates(table: StageTable, algorithm: Algorithm) -> Iterator[Problem]:
    """What is wrong with how much a step has, and into how many updates it is split."""
    attempts, updates = attempts_of(algorithm), table.minibatches * table.epochs
    if table.learning_rate is None and algorithm.trains != "nothing":
        yield ("learning_rate",), "is needed: how far each update goes (2e-5 for SFT, 1e-6 for reinforcement learning)"
    if algorithm.thinking is not None:
        for name in ("minibatches", "epochs"):
            if vars(table)[name] > 1:
                yield (name,), "thoughts are drawn once a step, by the weights that learn from them: set it to 1"
    if table.warmup_steps > table.steps * updates:
        yield ("warmup_steps",), f"the warm-up never ends: the stage has {table.steps * updates} updates"
    try:
        algorithm.check_updates(updates)
    except ValueError as error:
        yield ("minibatches",), f"{table.algorithm}: {error}"
    units = table.tasks_per_step * (1 if algorithm.unit == "group" or attempts is None else attempts)
    if table.minibatches > units:
        yield ("minibatches",), f"a step has {units} {algorithm.unit}s, which cannot be split in {table.minibatches}"
    if table.tasks_per_step * (attempts or 1) > MOST:
        yield (
            ("attempts",),
            f"{table.tasks_per_step:,} tasks with {attempts:,} attempts each: a step has at most {MOST:,} completions",
        )


def _heads(table: StageTable, algorithm: Algorithm) -> Iterator[Problem]:
    """What is wrong with a critic, a scorer's held-out tasks, and a reference."""
    if table.held_out and algorithm.trains not in ("scorer", "verifier") and algorithm.thinking is None:
        yield ("held_out",), f"{table.algorithm} is measured by [evaluation] on [data.test]: remove it"
    for name, heads in (("critic_start", ("own",)), ("critic_learning_rate", ("own", "implicit"))):
        beside = algorithm.heads in heads or (algorithm.thinking is not None and name == "critic_learning_rate")
        if vars(table)[name] is not None and not beside:
            yield (
                (name,),
                f'{table.algorithm} has no critic of its own here: settings = {{ critic = "own" }}, or remove it',
            )
    referred = "ref_logp" in algorithm.needs and attempts_of(algorithm) is not None
    if table.reference_every is not None and not referred:
        yield ("reference_every",), f"{table.algorithm} has no reference here that could change: set kl, or remove it"


def _beside(table: StageTable, algorithm: Algorithm) -> Iterator[Problem]:
    """Keys that mean something beside others, or to other algorithms only."""
    revises = isinstance(algorithm.sampler, Revised)
    if revises and table.constitution is None:
        yield ("constitution",), f'is needed with {table.algorithm}: constitution = "constitution.txt"'
    if table.constitution is not None and not revises:
        yield ("constitution",), f"{table.algorithm} learns no revisions: take sft_revised, or remove it"
    if table.answers == "shuffled" and not algorithm.sampler.rewarded:
        yield ("answers",), f"{table.algorithm} pays nothing by a task's answer: remove it"
    if "rounds" in table.model_fields_set and table.constitution is None:
        yield ("rounds",), "means nothing without constitution: remove it"
    if "mix_per_step" in table.model_fields_set and table.mix is None:
        yield ("mix_per_step",), "means nothing without mix: add mix = {...}, or remove it"
    if table.until is not None and (table.until.above is None) == (table.until.below is None):
        yield ("until",), "says where to end with one bound: above = 0.95, or below = 0.1"
    if table.data is not None and table.data.at_least is not None and algorithm.unit == "group":
        yield ("data", "at_least"), f"keeps attempts that are all alike, and {table.algorithm} compares: remove it"


def _sampled(table: StageTable, algorithm: Algorithm, sampling: SamplingTable, *, paid: bool) -> Iterator[Problem]:
    """What is wrong with how a stage samples, and with what it is paid."""
    if not algorithm.sampler.rewarded:
        if table.reward is not None:
            why = (
                "learns from its teacher, and pays nobody" if _taught(algorithm) else "judges what it samples by itself"
            )
            yield ("reward",), f"{table.algorithm} {why}: remove it"
        if "teacher_logp" not in algorithm.needs:
            return
    elif not paid:
        yield (), f'{table.algorithm} learns from a reward: add [reward] with score = "..."'
    if sampling.temperature == 0:
        yield ("sampling", "temperature"), "at 0 all attempts are the same and nothing is explored: try 1.0"
    for name, off in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
        if vars(sampling)[name] != off:
            yield (
                ("sampling", name),
                f"leaves out tokens, so that the probabilities sampled with are not the ones learnt with: set {name} = "
                f"{off} for training (an evaluation may set its own)",
            )
    if algorithm.sampler.last_fork >= sampling.max_tokens:
        yield (
            ("settings", "segment"),
            f"{table.algorithm} branches after {algorithm.sampler.last_fork} tokens of an answer, which has at most "
            f"{sampling.max_tokens}: take shorter segments, or a higher sampling.max_tokens",
        )
    if table.data is not None and table.data.rollouts is not None:
        yield ("data", "rollouts"), f"{table.algorithm} samples its own attempts: give it tasks"
    if algorithm.trains == "nothing" or not algorithm.sampler.rewarded:
        return
    attempts = attempts_of(algorithm)
    if attempts is not None and without_signal(algorithm, attempts):
        yield (
            ("attempts",),
            f"{table.algorithm} compares the attempts at one task; with {attempts} every advantage is 0: take 8",
        )


def _order_and_replay(table: StageTable, algorithm: Algorithm) -> Iterator[Problem]:
    """What is wrong with the order of tasks and with replay."""
    name, order, replay = table.algorithm, table.order, table.replay
    paid = algorithm.sampler.writes and algorithm.sampler.rewarded
    if order is not None:
        if not paid:
            yield ("order",), f"{name} samples nothing that a reward scores, so nothing tells what is hard: remove it"
        for key in sorted(order.model_fields_set & unused(order)):
            yield ("order", key), f'means nothing by {order.by}: remove it, or take by = "curriculum"'
    if replay is None:
        return
    if not isinstance(algorithm, Regularised) or algorithm.surrogate.on_policy:
        yield (
            ("replay",),
            f"{name} does not compare the policy with the one that sampled, so that old attempts would mislead it: "
            "take grpo or another policy gradient with a ratio",
        )
    again, updates = round(replay.share * table.tasks_per_step), table.minibatches * table.epochs
    if not 0 < again < table.tasks_per_step:
        what = "no group" if not again else "all groups, and none would be new"
        yield ("replay", "share"), f"of {table.tasks_per_step} tasks a step that is {what}: take another share"
    if replay.oldest < updates:
        yield (
            ("replay", "oldest"),
            f"a step makes {updates} updates, so that every group would be too old after one: take {updates} or more",
        )


def _teacher(table: StageTable, algorithm: Algorithm) -> Iterator[Problem]:
    """A teacher where one is needed, and nowhere else."""
    taught = _taught(algorithm)
    if taught and table.teacher is None:
        yield ("teacher",), f'is needed with {table.algorithm}: the model to learn from, teacher = "runs/large"'
    if table.teacher is None or taught:
        return
    if algorithm.trains != "nothing" or not algorithm.sampler.writes:
        yield (
            ("teacher",),
            f"{table.algorithm} learns from no teacher: take gkd or on_policy_distillation, or let it answer in a "
            "collect stage and learn its rollouts",
        )
    elif table.start is not None:
        yield ("start",), "the teacher is who answers here, and no policy: remove one of the two"


def _taught(algorithm: Algorithm) -> bool:
    """Whether it learns what a teacher says of tokens."""
    return "teacher_logp" in algorithm.needs or "compared" in algorithm.outputs


def without_signal(algorithm: Algorithm, attempts: int) -> bool:
    """Whether the algorithm gives no token any weight although rewards differ within and between tasks."""
    credited = algorithm.credit(_attempts(algorithm, attempts), {})
    return not any(sample.weight and (sample.advantage is None or np.any(sample.advantage)) for sample in credited)


def credit(reward: Reward, algorithm: Algorithm) -> Iterator[str]:
    """Whether the algorithm can read the reward: one of several parts, or a part that pays single tokens only."""
    attempts, named = attempts_of(algorithm), {leaf.name for leaf in leaves_of(reward)}
    if algorithm.parts is not None and named:
        if len(named) == 1:
            yield "has one part, and this algorithm standardises each of several by itself: add another, or take grpo"
        for name in sorted(set(algorithm.parts) - named):
            yield f"has no part {name}, which the settings of this algorithm name; {did_you_mean(name, sorted(named))}"
    parts = [leaf.name for leaf in leaves_of(reward) if leaf.only_dense]
    if parts and attempts and algorithm.trains == "policy" and not reads_dense(algorithm, attempts):
        yield f"{parts[0]} pays single tokens, which this algorithm does not read: take ppo, reinforce_pp or remax"


def reads_dense(algorithm: Algorithm, attempts: int) -> bool:
    """Whether what single tokens earn changes the credit of any token."""
    plain = _attempts(algorithm, attempts)
    paid = [replace(sample, dense=np.array([0.0, float(n), 0.0], np.float32)) for n, sample in enumerate(plain)]
    credited = [[sample.advantage for sample in algorithm.credit(each, {})] for each in (plain, paid)]
    pairs = [(one, other) for one, other in zip(*credited, strict=True) if one is not None and other is not None]
    return any(not np.array_equal(one, other) for one, other in pairs)


def _attempts(algorithm: Algorithm, count: int) -> list[Sample]:
    """So many attempts at each of two tasks."""
    parts = ["one", "other", *(algorithm.parts or ())]
    return [_attempt(group, trajectory, parts) for group in range(2) for trajectory in range(count)]


def _attempt(group: int, trajectory: int, parts: Sequence[str]) -> Sample:
    """Three tokens, of which the policy wrote two, each with a chance of one half, others for each attempt; every
    other one of all is paid, and no two of a task alike."""
    zeros_T, reward = np.zeros(3, dtype=np.float32), (group + trajectory) % 2 / (1 + trajectory)
    return Sample(
        ids=np.array([1, 2 + group, 2 + trajectory]),
        mask=np.array([False, True, True]),
        logp=np.log([1.0, 0.5, 0.5], dtype=np.float32),
        old_logp=zeros_T,
        ref_logp=zeros_T,
        implicit_logp=zeros_T,
        entropy=zeros_T,
        value=zeros_T,
        baseline=0.5,
        reward=reward,
        shares=dict.fromkeys(parts, reward),
        group=group,
        trajectory=trajectory,
        task=str(group),
        stop="eos",
    )
