"""What came of an experiment, as ability: whether an arm can do more than the untrained model, and how its answers
changed. It shows nothing."""

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


def ability_of(outcome: Outcome) -> dict[str, Ability]:
    """Of each trained arm that is no control whether it can do more than the untrained model. Nothing of arms that lost
    a seed or are one of many in a grid, and nothing where passing is not what is measured."""
    found: dict[str, Ability] = {}
    for name, arm in outcome.plan["arms"].items():
        cells = outcome.of_arm(name)
        if (
            arm["control"]
            or arm.get("levels")
            or not outcome.plan["measure"].startswith("pass@")
            or not all(cell.tallies for cell in cells)
        ):
            continue
        sides = [[cell.tallies for cell in cells], [cell.base_tallies for cell in cells]]
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
            found[name] = made
    return found


def changes_of(outcome: Outcome) -> dict[str, list[Change]]:
    """Of each trained arm that is no control how its answers changed, in what could be measured of all its seeds."""
    found: dict[str, list[Change]] = {}
    for name, arm in outcome.plan["arms"].items():
        sides = None if arm["control"] or arm.get("levels") else _sides(outcome.of_arm(name))
        if sides is not None and (made := answers_changed(_tables(outcome, name, sides), level=outcome.plan["level"])):
            found[name] = made
    return found


def forgotten(outcome: Outcome) -> dict[str, list[Change]]:
    """Of each arm that was measured on other held-out tasks with all its seeds, what became of its scores there."""
    found: dict[str, list[Change]] = {}
    plan = outcome.plan
    for name in plan["arms"]:
        tables = {other: made for other in plan.get("others", {}) if (made := _other_tables(outcome, other, name))}
        if tables:
            found[name] = abilities_changed(tables, margin=plan["smallest_effect"], level=plan["level"])
    return found


def _other_tables(outcome: Outcome, other: str, arm: str) -> tuple[Array, Array] | None:
    sides = [
        [each.numbers for each in outcome.elsewhere if (each.other, each.arm) == (other, side)] for side in (arm, BASE)
    ]
    rows = [[numbers for numbers in side if numbers] for side in sides]
    seeds = len(outcome.plan["seeds"])
    tasks = [task for task in rows[0][0] if all(task in each for side in rows for each in side)] if rows[0] else []
    if not tasks or any(len(side) != seeds for side in rows):
        return None
    mine, before = (np.array([[each[task] for task in tasks] for each in side]) for side in rows)
    return mine, before


def _sides(cells: Sequence[Cell]) -> Sides | None:
    """Each seed's last evaluation and that of its untrained model; None where a seed lacks one of them."""
    runs = [cell.data.evaluations if cell.data is not None else () for cell in cells]
    arm = [own[-1] for own in runs if len(own) > 1]
    start = [one for own in runs for one in own if one["model"] == BASE]
    return (arm, start) if cells and len(arm) == len(start) == len(cells) else None


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
