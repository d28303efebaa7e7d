"""What came of an experiment, as ability: whether an arm can do more than the model that its last stage began with, and
how its answers changed. It shows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from togi.evidence.after.diversity import Sizes, fair_sizes, measures
from togi.evidence.after.evaluation_file import EvaluationRecord, TaskRecord
from togi.evidence.experiment.answers_changed import (
    MAJORITY,
    SAID,
    SURPRISE,
    Change,
    abilities_changed,
    answers_changed,
)
from togi.evidence.experiment.sharper_or_abler import Ability, sharper_or_abler
from togi.experiment.held_out_numbers import Reading, majority_worth, scored, votes, worth_of
from togi.experiment.outcome import Cell, Outcome
from togi.rewards.verifiers import Verifier
from togi.run import BASE
from togi.statistics.intervals import Array

Sides = tuple[Sequence[EvaluationRecord], Sequence[EvaluationRecord]]


@dataclass(frozen=True, kw_only=True)
class Covered:
    """A task that only one of the two solved in some seeds: what is asked, right answers of all attempts of all seeds
    ``before`` and ``after``, and in how many seeds it was ``gained`` and ``lost``, and ``surely`` so."""

    asked: str
    before: tuple[int, int]
    after: tuple[int, int]
    gained: int
    lost: int
    surely: int


@dataclass(frozen=True, kw_only=True)
class Grown:
    """What an arm can do beside ``start``, the model that its last stage began with. Of the tasks that only one of them
    solved ``covered`` are those of most seeds."""

    start: str
    ability: Ability
    covered: tuple[Covered, ...]


def ability_of(outcome: Outcome) -> dict[str, Grown]:
    """Of each trained arm, and of each trained control, what it can do more than the model it was trained from. Nothing
    of arms that lost a seed or are one of many in a grid, and nothing where passing is not what is measured."""
    found: dict[str, Grown] = {}
    for name, arm in outcome.plan["arms"].items():
        cells = outcome.of_arm(name)
        if arm.get("levels") or not outcome.plan["measure"].startswith("pass@"):
            continue
        if not cells or not all(cell.tallies and cell.start_tallies for cell in cells):
            continue
        sides = [[cell.tallies for cell in cells], [cell.start_tallies for cell in cells]]
        tasks = [task for task in cells[0].tallies if all(each.get(task, (0, 0))[1] for side in sides for each in side)]
        if not tasks:
            continue
        right, tried, start_right, start_tried = (
            [[each[task][part] for task in tasks] for each in side] for side in sides for part in (0, 1)
        )
        made = sharper_or_abler(
            right, tried, start_right, start_tried, margin=outcome.plan["smallest_effect"], level=outcome.plan["level"]
        )
        if len(made.curve) > 1:
            found[name] = Grown(start=cells[0].start, ability=made, covered=tuple(_covered(cells, tasks, made)))
    return found


def _covered(cells: Sequence[Cell], tasks: Sequence[str], made: Ability) -> list[Covered]:
    """The tasks that only one of the two solved, those of most seeds first."""
    data = cells[0].data
    asked = {} if data is None else {task["id"]: task["prompt"] for task in data.evaluations[-1]["tasks"]}
    found = []
    for place, task in enumerate(tasks):
        gained, lost, surely = (
            sum(place in places for places in each)
            for each in (
                [seed.gained for seed in made.coverage],
                [seed.lost for seed in made.coverage],
                [(*seed.surely_gained, *seed.surely_lost) for seed in made.coverage],
            )
        )
        if gained or lost:
            before, after = (
                (sum(right for right, _ in side), sum(tried for _, tried in side))
                for side in ([cell.start_tallies[task] for cell in cells], [cell.tallies[task] for cell in cells])
            )
            found.append(
                Covered(
                    asked=asked.get(task, task), before=before, after=after, gained=gained, lost=lost, surely=surely
                )
            )
    return sorted(found, key=lambda one: (-one.surely, -one.gained - one.lost, -abs(one.after[0] - one.before[0])))


def changes_of(outcome: Outcome) -> dict[str, list[Change]]:
    """Of each trained arm that is no control how its answers changed, in what could be measured of all its seeds."""
    found: dict[str, list[Change]] = {}
    for name, arm in outcome.plan["arms"].items():
        sides = None if arm["control"] or arm.get("levels") else _sides(outcome.of_arm(name))
        if sides is not None and (made := answers_changed(_tables(outcome, name, sides), level=outcome.plan["level"])):
            found[name] = made
    return found


def forgotten(outcome: Outcome) -> dict[str, list[Change]]:
    """Of each arm that was measured on other held-out tasks with all its seeds, what became of its scores there; and
    how they compare with those of the arm that it is compared with."""
    found: dict[str, list[Change]] = {}
    plan = outcome.plan
    for name in plan["arms"]:
        before, rival = (
            {other: made for other in plan.get("others", {}) if (made := _other_tables(outcome, other, name, against))}
            for against in (BASE, plan["against"])
        )
        rivals = {} if plan["against"] in (BASE, name) else rival
        if before or rivals:
            margin, level = plan["smallest_effect"], plan["level"]
            found[name] = abilities_changed(before, rivals, rival=plan["against"], margin=margin, level=level)
    return found


def _other_tables(outcome: Outcome, other: str, arm: str, against: str) -> tuple[Array, Array] | None:
    sides = [
        [each.numbers for each in outcome.elsewhere if (each.other, each.arm) == (other, side)]
        for side in (arm, against)
    ]
    rows = [[numbers for numbers in side if numbers] for side in sides]
    seeds = len(outcome.plan["seeds"])
    tasks = [task for task in rows[0][0] if all(task in each for side in rows for each in side)] if rows[0] else []
    if not tasks or any(len(side) != seeds for side in rows):
        return None
    mine, before = (np.array([[each[task] for task in tasks] for each in side]) for side in rows)
    return mine, before


def _sides(cells: Sequence[Cell]) -> Sides | None:
    """Each seed's last evaluation and that of the model its last stage began with; None where a seed lacks them."""
    grown = [cell.data.grown[-1] for cell in cells if cell.data is not None and cell.data.grown]
    if not cells or len(grown) < len(cells):
        return None
    return [arm for _, arm in grown], [start for start, _ in grown]


def _tables(outcome: Outcome, arm: str, sides: Sides) -> dict[str, tuple[Array, Array]]:
    """By measure the tables [seeds, tasks] of arm and start, over the tasks that have a value everywhere."""
    every = [*sides[0], *sides[1]]
    sizes, vote = fair_sizes(every), _Vote.of(outcome, arm, every)
    values = [
        [{task["id"]: _values(task, record, sizes, vote) for task in record["tasks"]} for record in side]
        for side in sides
    ]
    flat = [each for side in values for each in side]
    tables = {}
    for name in SAID:
        tasks = [task for task in flat[0] if all(name in each.get(task, {}) for each in flat)]
        if tasks:
            mine, before = (np.array([[each[task][name] for task in tasks] for each in side]) for side in values)
            tables[name] = (mine, before)
    return tables


def _values_of_tasks(record: EvaluationRecord, sizes: Sizes, vote: _Vote | None) -> dict[str, dict[str, float]]:
    return {task["id"]: _values(task, record, sizes, vote) for task in record["tasks"]}


def _values(task: TaskRecord, record: EvaluationRecord, sizes: Sizes, vote: _Vote | None) -> dict[str, float]:
    found = measures(task, sizes)
    if vote is not None:
        found[MAJORITY] = vote.worth(task, record)
    read = [(logp, each["tokens"]) for each in task["attempts"] if (logp := each.get("base_logp")) is not None]
    if tokens := sum(count for _, count in read):
        found[SURPRISE] = -sum(logp for logp, _ in read) / tokens
    return found


@dataclass(frozen=True, kw_only=True)
class _Vote:
    """What the most frequent of ``k`` answers is worth, as many as every task has."""

    verifier: Verifier
    k: int

    @classmethod
    def of(cls, outcome: Outcome, arm: str, every: Sequence[EvaluationRecord]) -> _Vote | None:
        """None where passing is not what is measured, and where answers cannot be compared."""
        reading = Reading(folder=outcome.folder, measure=outcome.plan["measure"])
        k = min((len(scored(task)) for record in every for task in record["tasks"]), default=0)
        if reading.k is None or k < 2:
            return None
        try:
            return cls(verifier=reading.verifier(arm), k=k)
        except ValueError:
            return None

    def worth(self, task: TaskRecord, record: EvaluationRecord) -> float:
        attempts = scored(task)
        worth = [worth_of(each, record, True) for each in attempts]
        return majority_worth(votes(self.verifier, task, attempts), worth, self.k)
