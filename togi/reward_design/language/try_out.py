"""Tries a reward program on answers that others wrote, and has the red team attack it, before anything is trained with
it. It trains nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from togi.evidence.redteam.ask_reward import attempt
from togi.evidence.redteam.attack_reward import SHORT, NoAnswer, redteam, resized
from togi.evidence.redteam.reward_card import Card
from togi.protocols import Asked, Reward
from togi.rewards import python
from togi.rewards.algebra import Leaf
from togi.rewards.blame import ran_over
from togi.run import Run
from togi.sandbox.workers.pool import Pool
from togi.short_values import text
from togi.types import Score, Task, Trajectory

TASKS, OTHERS = 8, 2  # that a program is tried at, and answers to others of them beside a task's own
SENSELESS = "banana"


def tried_answers(run: Run, number: int, seed: int) -> list[tuple[Task, tuple[str, ...]]]:
    """Some tasks of a stage, each with answers: those that are recorded, for it and for others, such an answer cut off
    and mixed up, its question, nothing, and nonsense."""
    rng = random.Random(seed)
    recorded = {
        task.prompt[-1].content: task.recorded[0][-1].content
        for stage in run.stages
        for task in stage.tasks
        if task.recorded
    }
    tasks = list(run.stages[number].tasks[:TASKS])
    others = list(recorded.values()) or [str(task.answer) for task in tasks if task.answer is not None]
    found = []
    for task in tasks:
        question = task.prompt[-1].content
        texts = [recorded[question]] if question in recorded else []
        texts += rng.sample(others, min(OTHERS, len(others)))
        some = texts[0] if texts else question
        texts += [some[: len(some) // 2], "".join(rng.sample(some, len(some))), question, "", SENSELESS]
        found.append((task, tuple(dict.fromkeys(texts))))
    return found


def fault_in(program: python, tried: Sequence[tuple[Task, Sequence[str]]]) -> str:
    """What is wrong with a program when it is tried; empty where nothing is."""
    paid: list[float] = []
    for task, texts in tried:
        scores = program(task, [attempt(task, each) for each in texts])
        if lost := next((each for each in scores if each.status != "ok" or ran_over(each)), None):
            return f"it cannot score an answer ({lost.note.removeprefix(f'{program.name}: ')})"
        again = program(task, [attempt(task, each) for each in reversed(texts)])[::-1]
        if [each.value for each in again] != [each.value for each in scores]:
            return "it pays otherwise for the same answer when it is asked again: a reward keeps nothing between calls"
        paid += [each.value for each in scores]
    if len(set(paid)) == 1:
        return f"it pays {paid[0]:g} for every answer that was tried, right and wrong ones: nothing can be learned"
    return ""


@dataclass(frozen=True)
class AsWhenTrained(Leaf):
    """A program that is asked about tasks as it is while a model is trained: without their answers, where those of the
    training have none."""

    program: python
    answers: bool

    @property
    def name(self) -> str:
        return self.program.name

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        if self.answers:
            return self.program.many(asked)
        return self.program.many([(replace(task, answer=None), played) for task, played in asked])


def attacked(
    program: python, tasks: Sequence[Task], reader: Reward, *, answers: bool, rows: int, pool: Pool
) -> Card | None:
    """What the red team finds at held-out tasks, whose answers are written as ``reader`` reads them; None where no task
    has an answer. ``answers`` says whether those that are trained on have one."""
    reward = AsWhenTrained(program=program, answers=answers)
    try:
        return redteam(reward, tasks, name=program.name, effort=resized(SHORT, rows), pool=pool, reader=reader)
    except NoAnswer:
        return None


def attack_told(card: Card) -> str:
    """The worst of what was found, in a sentence; empty where nothing was but notes."""
    if card.severity is None or card.worst is None:
        return ""
    example = f"; such as {text(card.worst.text)!r}" if card.worst.text else ""
    return f"{card.severity}: {card.worst.title}{example}"
