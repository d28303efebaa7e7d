"""Tasks that cannot go with what is to learn from them, told in words with the fix. It knows no recipe and no key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from togi.algorithms.preference.single_answers import Single
from togi.data.token_kinds import kinds_of
from togi.protocols import Algorithm, Reward
from togi.rewards.algebra import leaves_of
from togi.samplers import Order, Stepwise, task_order
from togi.types import Task


def recorded(tasks: Sequence[Task], algorithm: Algorithm, name: str) -> Iterator[str]:
    """What is wrong with tasks whose recorded answers are to be learned."""
    yield from complete(tasks, name)
    yield from judged(tasks, algorithm, name)
    yield from kinds(tasks, algorithm)


def complete(tasks: Sequence[Task], name: str) -> Iterator[str]:
    """Tasks without the answer that is to be learned."""
    bare = sum(not task.recorded for task in tasks)
    if bare:
        first = next(task.id for task in tasks if not task.recorded)
        yield (
            f"{name} learns from recorded answers, and {bare} of {len(tasks)} tasks have none (the first is {first}): "
            "add a completion to each row, or set demonstrate to a function that writes it"
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
