"""Combinations of values that cannot work, each with its fix. It knows the nouns and no algorithm by name.

Every function gives (key path, message) pairs; keys of a stage are relative to the stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from togi.algorithms.policy_gradient.base import Regularised
from togi.algorithms.preference.single_answers import Single
from togi.askers.openai_client import address
from togi.data.columns import OWN
from togi.data.token_kinds import kinds_of
from togi.protocols import Algorithm, Reward
from togi.recipe.algorithm_settings import attempts_of
from togi.recipe.errors import did_you_mean
from togi.recipe.key_lines import Key
from togi.recipe.schema import (
    SOURCES,
    OneSourceTable,
    Recipe,
    SamplingTable,
    SourceTable,
    StageSourceTable,
    StageTable,
    unused,
)
from togi.rewards.algebra import leaves_of
from togi.run import BASE
from togi.samplers import Order, Revised, Stepwise, task_order
from togi.types import Sample, Task

Problem = tuple[Key, str]
MOST = 1_000_000  # completions of one step


def recipe(recipe: Recipe, names: Sequence[str]) -> Iterator[Problem]:
    """What is wrong between tables, whatever the algorithms are."""
    for name, count in Counter(names).items():
        index = len(names) - 1 - list(reversed(names)).index(name)
        if count > 1:
            yield ("stage", index), f"{count} stages are called {name!r}: give each a name of its own"
        if name == BASE:
            yield ("stage", index, "name"), f"{name!r} is what the untrained model is called: take another name"
    data, evaluation = recipe.data, recipe.evaluation
    yield from source(data.train, ("data", "train"))
    if data.test is not None:
        yield from source(data.test, ("data", "test"))
        if _same(data.train, data.test):
            yield ("data", "test"), "the same tasks as [data.train]: give it another seed, or another file"
    for index, stage in enumerate(recipe.stage):
        if stage.reference_every is not None and recipe.model.lora is not None:
            why = "with adapters the reference is the model under them: remove it, or train without [model.lora]"
            yield ("stage", index, "reference_every"), why
        for name, table in (("data", stage.data), ("mix", stage.mix)):
            if table is not None:
                yield from source(table, ("stage", index, name))
                if data.test is not None and _same(table, data.test):
                    yield ("stage", index, name), "the same tasks as [data.test]: give it another seed, or another file"
    if evaluation is None:
        return
    if data.test is None:
        yield ("evaluation",), "there are no held-out tasks to measure on: add [data.test], or remove [evaluation]"
    if recipe.reward is None and evaluation.reward is None:
        yield ("evaluation",), 'nothing says what is right: add [reward] with score = "..."'
    if evaluation.best is not None and evaluation.every is None:
        yield ("evaluation", "best"), "is chosen from what is measured on the way: add every = 10, or remove it"
    greedy = recipe.sampling.model_copy(update=evaluation.sampling.model_dump(exclude_unset=True)).temperature == 0
    if greedy and evaluation.attempts > 1:
        yield (
            ("evaluation", "attempts"),
            f"at temperature 0 all {evaluation.attempts} attempts are the same: set attempts = 1, or a temperature",
        )


def order(recipe: Recipe, stages: Sequence[tuple[str, Algorithm]]) -> Iterator[Problem]:
    """What stages say of earlier ones: where they start, and whose rollouts they learn from."""
    if len(stages) < len(recipe.stage):
        return
    for index, table in enumerate(recipe.stage):
        writers = ("policy", "verifier")  # what answers with text can learn on
        starts = [BASE, *(name for name, algorithm in stages[:index] if algorithm.trains in writers)]
        if table.start is not None and table.start not in starts:
            yield ("stage", index, "start"), f"no earlier stage trains a policy of that name: {', '.join(starts)}"
        if table.teacher in [name for name, _ in stages] and table.teacher not in starts:
            yield ("stage", index, "teacher"), f"no earlier stage trains a policy of that name: {', '.join(starts[1:])}"
        scorers = [name for name, algorithm in stages[:index] if algorithm.trains == "scorer"]
        if table.critic_start is not None and table.critic_start not in scorers:
            known = ", ".join(scorers) or "there is none"
            yield ("stage", index, "critic_start"), f"no earlier stage of that name trains a reward model: {known}"
        sampled = [name for name, algorithm in stages[:index] if attempts_of(algorithm) is not None]
        named = table.data.rollouts or () if table.data else ()
        if missing := [name for name in named if name not in sampled]:
            known = ", ".join(sampled) or "there is none"
            yield ("stage", index, "data", "rollouts"), f"no earlier stage called {missing[0]} samples: {known}"


def engine(recipe: Recipe, algorithms: Sequence[Algorithm]) -> Iterator[Problem]:
    """What a server needs to know, and how what is learned can reach it."""
    table = recipe.engine
    if table.kind == "native":
        for name in sorted(table.model_fields_set & {"base_url", "model", "key_env", "seconds", "adapters"}):
            yield ("engine", name), 'is for a server: add kind = "server", or remove it'
        return
    for name, example in (("base_url", "http://127.0.0.1:8000/v1"), ("model", recipe.model.source)):
        if vars(table)[name] is None:
            yield ("engine",), f'{name} is needed with kind = "server": {name} = "{example}"'
    if table.base_url is not None:
        try:
            address(table.base_url, table.key_env or "")
        except ValueError as error:
            yield ("engine",), str(error)
    lora = recipe.model.lora
    if lora is None and any(algorithm.trains in ("policy", "verifier") for algorithm in algorithms):
        yield ("engine", "kind"), "a server gets what is learned as adapters: add [model.lora]"
    if lora is not None and lora.base != "full":
        yield ("model", "lora", "base"), 'a server draws from the base in at least 16 bits: set base = "full"'


def source(table: OneSourceTable, key: Key) -> Iterator[Problem]:
    """Exactly one source of tasks, and only keys that mean something for it."""
    known = [name for name in SOURCES if name in type(table).model_fields]
    given = [name for name in known if vars(table)[name] is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        path = ".".join(map(str, key))
        fix = f"; on the command line replace the whole table: '{path}={{file = \"...\"}}'" if given else ""
        yield key, f"got {got}, wanted one of {', '.join(known)}{fix}"
        return
    used = SOURCES[given[0]]
    if isinstance(table, SourceTable):
        for index, part in enumerate(table.sources or ()):
            yield from source(part, (*key, "sources", index))
            if key == ("data", "test") and "weight" in part.model_fields_set:
                yield (*key, "sources", index, "weight"), "each held-out task is measured as often: remove it"
            elif table.temperature is not None and "weight" in part.model_fields_set:
                yield (
                    (*key, "sources", index, "weight"),
                    "the temperature says how often each is drawn: remove one of them",
                )
        if key == ("data", "test") and table.temperature is not None:
            yield (*key, "temperature"), "each held-out task is measured as often: remove it"
    else:
        used = used | {"weight"}
    for name in sorted(table.model_fields_set - used):
        where = "outside of [[repeat]]" if name == "earlier_rounds" else f"with {given[0]}"
        yield (*key, name), f"means nothing {where}: remove it"
    for name in sorted(table.columns.keys() - set(OWN)):
        yield (*key, "columns", name), f"no column of Togi's has this name; {did_you_mean(name, OWN)}"
    if "size" in used and table.size is None:
        yield (*key, "size"), f"is needed with {given[0]}: how many tasks to make"


def stage(table: StageTable, algorithm: Algorithm, sampling: SamplingTable, *, paid: bool) -> Iterator[Problem]:
    """What is wrong within a stage, before its tasks are loaded."""
    attempts = attempts_of(algorithm)
    updates = table.steps * table.minibatches * table.epochs
    if table.learning_rate is None and algorithm.trains != "nothing":
        yield ("learning_rate",), "is needed: how far each update goes (2e-5 for SFT, 1e-6 for reinforcement learning)"
    if table.held_out and algorithm.trains not in ("scorer", "verifier") and algorithm.thinking is None:
        yield ("held_out",), f"{table.algorithm} is measured by [evaluation] on [data.test]: remove it"
    for name, heads in (("critic_start", ("own",)), ("critic_learning_rate", ("own", "implicit"))):
        beside = algorithm.heads in heads or (algorithm.thinking is not None and name == "critic_learning_rate")
        if vars(table)[name] is not None and not beside:
            yield (
                (name,),
                f'{table.algorithm} has no critic of its own here: settings = {{ critic = "own" }}, or remove it',
            )
    if algorithm.thinking is not None:
        for name in ("minibatches", "epochs"):
            if vars(table)[name] > 1:
                yield (name,), "thoughts are drawn once a step, by the weights that learn from them: set it to 1"
    yield from _teacher(table, algorithm)
    revises = isinstance(algorithm.sampler, Revised)
    if revises and table.constitution is None:
        yield ("constitution",), f'is needed with {table.algorithm}: constitution = "constitution.txt"'
    if table.answers == "shuffled" and not algorithm.sampler.rewarded:
        yield ("answers",), f"{table.algorithm} pays nothing by a task's answer: remove it"
    if table.constitution is not None and not revises:
        yield ("constitution",), f"{table.algorithm} learns no revisions: take sft_revised, or remove it"
    if "rounds" in table.model_fields_set and table.constitution is None:
        yield ("rounds",), "means nothing without constitution: remove it"
    if "mix_per_step" in table.model_fields_set and table.mix is None:
        yield ("mix_per_step",), "means nothing without mix: add mix = {...}, or remove it"
    if table.until is not None and (table.until.above is None) == (table.until.below is None):
        yield ("until",), "says where to end with one bound: above = 0.95, or below = 0.1"
    if table.reference_every is not None and ("ref_logp" not in algorithm.needs or attempts is None):
        yield ("reference_every",), f"{table.algorithm} has no reference here that could change: set kl, or remove it"
    if table.warmup_steps > updates:
        yield ("warmup_steps",), f"the warm-up never ends: the stage has {updates} updates"
    try:
        algorithm.check_updates(table.minibatches * table.epochs)
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
    yield from _beside_sampling(table, algorithm)
    if table.data is not None and table.data.at_least is not None and algorithm.unit == "group":
        yield ("data", "at_least"), f"keeps attempts that are all alike, and {table.algorithm} compares: remove it"
    if attempts is None:
        if table.sampling.model_fields_set:
            yield ("sampling",), f"{table.algorithm} learns from recorded answers and samples nothing: remove it"
        if table.reward is not None:
            yield ("reward",), f"{table.algorithm} learns from recorded answers and scores nothing: remove it"
        return
    if not algorithm.sampler.rewarded:
        if table.reward is not None:
            taught = "teacher_logp" in algorithm.needs or "compared" in algorithm.outputs
            why = "learns from its teacher, and pays nobody" if taught else "judges what it samples by itself"
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
    if without_signal(algorithm, attempts):
        yield (
            ("attempts",),
            f"{table.algorithm} compares the attempts at one task; with {attempts} every advantage is 0: take 8",
        )


def _beside_sampling(table: StageTable, algorithm: Algorithm) -> Iterator[Problem]:
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
    taught = "teacher_logp" in algorithm.needs or "compared" in algorithm.outputs
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


def judged(tasks: Sequence[Task], algorithm: Algorithm, name: str) -> Iterator[str]:
    """What is wrong between an algorithm that learns from judgements and recorded answers."""
    if isinstance(algorithm, Single):
        good = [worth >= algorithm.desirable_from for task in tasks for worth in task.worth]
        if not good:
            yield f"{name} learns from answers that were found good or bad: give rows a label, true or false"
        elif all(good) or not any(good):
            yield (
                f"{name} tells good answers from bad ones, and all {len(good)} are {'good' if good[0] else 'bad'} "
                f"(worth {algorithm.desirable_from:g} or more is good): add the others"
            )
    elif isinstance(algorithm.sampler, Stepwise) and not any(task.step_worth for task in tasks):
        yield (
            f"{name} learns from answers whose steps were labelled, and none of {len(tasks)} tasks has such: give rows "
            "prompt, completions (a list of steps) and labels, or rollouts of a step_labels stage"
        )
    elif algorithm.unit == "group" and not any(len(set(task.worth)) > 1 or 0.5 in task.worth for task in tasks):
        yield (
            f"{name} learns from answers that were compared, and none of {len(tasks)} tasks has two: give rows chosen "
            "and rejected, or several completions with scores"
        )


def answers(tasks: Sequence[Task], reward: Reward) -> Iterator[str]:
    """What is wrong with the tasks' own rows, above all with the answers that a verifier is to compare with."""
    for leaf in leaves_of(reward):
        if bad := [task for task in tasks if leaf.fault(task)]:
            yield (
                f"{leaf.name}: {len(bad)} of {len(tasks)} rows cannot be graded; the first is {bad[0].id}: "
                f"{leaf.fault(bad[0])}; mend these rows, or leave them out"
            )


def demonstrations(tasks: Sequence[Task], algorithm: Algorithm) -> Iterator[str]:
    """What is wrong with tasks whose recorded answers are to stand beside attempts."""
    if algorithm.sampler.demonstrations and not any(task.recorded for task in tasks):
        yield (
            f"demonstrations are recorded answers, and none of {len(tasks)} tasks has one: add a completion to rows, "
            "or set demonstrate to a function that writes it"
        )


def levels(tasks: Sequence[Task], order: Order) -> Iterator[str]:
    """What is wrong with tasks that a curriculum is to choose from by level."""
    if order.by == "curriculum":
        try:
            task_order.levels(tasks, order.level)
        except ValueError as error:
            yield str(error)


def kinds(tasks: Sequence[Task], algorithm: Algorithm) -> Iterator[str]:
    """What is wrong with the kinds that tasks say pieces of their texts are of, where they will be asked."""
    for task in tasks if algorithm.thinking is not None else ():
        try:
            kinds_of(task)
        except ValueError as error:
            yield str(error)
            return


def tasks(tasks: Sequence[Task], name: str) -> Iterator[str]:
    """What is wrong with tasks whose recorded answers are to be learned."""
    bare = sum(not task.recorded for task in tasks)
    if bare:
        first = next(task.id for task in tasks if not task.recorded)
        yield (
            f"{name} learns from recorded answers, and {bare} of {len(tasks)} tasks have none (the first is {first}): "
            "add a completion to each row, or set demonstrate to a function that writes it"
        )


def _same(left: SourceTable, right: SourceTable) -> bool:
    """Whether tasks to learn from, left, are those that are measured on."""
    if isinstance(left, StageSourceTable) and left.rollouts is not None:
        return False
    if left.sources is not None or right.sources is not None:
        return any(_same_source(one, other) for one in _parts(left) for other in _parts(right))
    return _same_source(left, right)


def _parts(table: SourceTable) -> Sequence[OneSourceTable]:
    return table.sources or (table,)


def _same_source(left: OneSourceTable, right: OneSourceTable) -> bool:
    keys = ("generate", "reasoning_gym", "file", "hub", "subset", "revision", "config", "seed")
    splits = (left.split or "train") == (right.split or "test") or left.hub is None
    return splits and all(vars(left)[key] == vars(right)[key] for key in keys)
