"""What the episodes show: each arm with its intervals, the first one against the others, and all of it in sentences. It
plays nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from togi.agents.saycan.archive import Archive
from togi.agents.saycan.arms import ARMS, Arm
from togi.agents.saycan.chances import Chances
from togi.agents.saycan.episodes import Episode
from togi.short_values import p_value
from togi.statistics import Difference, Interval, difference_over_seeds, holm, over_seeds

SMALLEST = 0.05
"""The smallest difference of success that is spoken of."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An arm: ``solved`` by its policies and ``planned`` rightly, over seeds and instructions; how many skills it
    chose, how many of these could not be done, how many could and failed; how many plans ended.

    ``difference`` is what the first arm solves more, ``p`` its p-value with those of all arms (Holm)."""

    arm: Arm
    solved: Interval
    planned: Interval
    chosen: int
    impossible: int
    failed: int
    ended: int
    episodes: int
    by_family: Mapping[str, tuple[float, float]]
    difference: Difference | None = None
    p: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Outcome:
    name: str
    plan: Mapping[str, Any]
    standings: tuple[Standing, ...]
    chances: tuple[Chances, ...]
    episodes: Mapping[Arm, tuple[tuple[Episode, ...], ...]]
    """By arm and seed."""


def read_outcome(archive: Archive) -> Outcome:
    """What is known so far: arms that have played with every seed. Raises FolderError."""
    plan = archive.plan()
    table = plan["tables"]["saycan"]
    played = {}
    for arm in table["arms"]:
        found = [archive.episodes(arm, seed) for seed in range(table["seeds"])]
        if all(each is not None for each in found):
            played[arm] = tuple(tuple(each) for each in found if each is not None)
    known = [archive.chances(seed) for seed in range(table["seeds"])]
    families = [each["family"] for each in plan["instructions"]]
    return Outcome(
        name=str(plan["name"]),
        plan=plan,
        standings=tuple(_standings(played, families)),
        chances=tuple(each for each in known if each is not None),
        episodes=played,
    )


def _standings(played: Mapping[Arm, Sequence[Sequence[Episode]]], families: Sequence[str]) -> list[Standing]:
    tables = {arm: _table(seeds, "solved") for arm, seeds in played.items()}
    first = next(iter(tables), None)
    differences = {
        arm: difference_over_seeds(tables[first], table, margin=SMALLEST)
        for arm, table in tables.items()
        if first is not None and arm != first
    }
    adjusted = dict(zip(differences, holm([each.p for each in differences.values()]), strict=True))
    return [
        _standing(arm, seeds, families, differences.get(arm), float(adjusted.get(arm, math.nan)))
        for arm, seeds in played.items()
    ]


def _standing(
    arm: Arm, seeds: Sequence[Sequence[Episode]], families: Sequence[str], difference: Difference | None, p: float
) -> Standing:
    solved, planned = _table(seeds, "solved"), _table(seeds, "planned")
    episodes = [each for seed in seeds for each in seed]
    skills = [one for each in episodes for one in each.decisions if one.chosen < len(one.possible) - 1]
    of = {family: [at for at, each in enumerate(families) if each == family] for family in dict.fromkeys(families)}
    return Standing(
        arm=arm,
        solved=over_seeds(solved),
        planned=over_seeds(planned),
        chosen=len(skills),
        impossible=sum(not one.possible[one.chosen] for one in skills),
        failed=sum(one.possible[one.chosen] and not one.succeeded for one in skills),
        ended=sum(each.ended for each in episodes),
        episodes=len(episodes),
        by_family={name: (float(planned[:, at].mean()), float(solved[:, at].mean())) for name, at in of.items()},
        difference=difference,
        p=p,
    )


def _table(seeds: Sequence[Sequence[Episode]], name: str) -> Any:
    """Successes [seeds, instructions]."""
    return np.array([[float(getattr(each, name)) for each in seed] for seed in seeds])


def answer(outcome: Outcome) -> str:
    """The result in a sentence or two."""
    if not outcome.standings:
        return "No arm has played with all seeds yet."
    first, *others = outcome.standings
    said = (
        f"{told(first.arm).capitalize()}: {share(first.solved)} of instructions are carried out, "
        f"{share(first.planned)} of plans are right."
    )
    sure = [(each, each.difference.point) for each in others if each.difference is not None and each.p <= 0.05]
    for verb, sign in (("more", 1), ("less", -1)):
        names = [told(each.arm) for each, point in sure if sign * point > 0]
        said += f" That is {verb} than with: {'; '.join(names)}." if names else ""
    unsure = [told(each.arm) for each in others if each not in [one for one, _ in sure]]
    return said + (f" No difference is shown from: {'; '.join(unsure)}." if unsure else "")


def claim(each: Standing) -> str:
    """What the difference of the first arm from this one says."""
    if each.difference is None:
        return ""
    if math.isnan(each.p):
        return "one seed shows no spread"
    if each.p > 0.05:
        return f"no difference shown ({p_value(each.p)})"
    return f"{'more' if each.difference.point > 0 else 'less'} ({p_value(each.p)})"


def counted(outcome: Outcome) -> list[str]:
    """What else was counted, a sentence each."""
    said = [
        f"{told(each.arm).capitalize()}: {each.impossible} of {each.chosen} chosen skills could not be done, "
        f"{each.failed} could and failed, {each.ended} of {each.episodes} plans came to their end."
        for each in outcome.standings
    ]
    if outcome.chances:
        brier = float(np.mean([each.fitted.brier for each in outcome.chances]))
        base = float(np.mean([each.base for each in outcome.chances]))
        error = float(np.mean([each.fitted.error for each in outcome.chances]))
        said.append(
            f"Chances have a Brier score of {brier:.3f} on states of their own (saying the mean: {base:.3f}) and a "
            f"calibration error of {error:.3f}."
        )
    return said


def told(arm: Arm) -> str:
    return ARMS[arm]


def share(one: Interval) -> str:
    """A share with its interval, cut off where no share can be."""
    if math.isnan(one.low):
        return f"{100 * one.point:.0f}%"
    return f"{100 * one.point:.0f}% ({100 * max(0.0, one.low):.0f} to {100 * min(1.0, one.high):.0f})"


def results(outcome: Outcome) -> dict[str, Any]:
    """The same as plain values, for a file."""
    return {
        "arms": [
            {
                "arm": each.arm,
                **{f"solved_{name}": getattr(each.solved, name) for name in ("point", "low", "high")},
                **{f"planned_{name}": getattr(each.planned, name) for name in ("point", "low", "high")},
                "chosen": each.chosen,
                "impossible": each.impossible,
                "failed": each.failed,
                "ended": each.ended,
                "episodes": each.episodes,
                "planned_and_solved_by_family": dict(each.by_family),
                "difference": None if each.difference is None else each.difference.point,
                "p": each.p,
            }
            for each in outcome.standings
        ],
        "answer": answer(outcome),
    }
