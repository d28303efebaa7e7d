"""The claim that the scores of arms carry: better, worse, equivalent, or not decided. It reads and runs nothing.

The rule is the same for every experiment. An arm is compared with the reference over seeds and tasks. Where it surely
differs by less than the margin it is ``equivalent``, even if it surely differs; else it is ``better`` or ``worse``
where its p-value, Holm's over all arms, is at most 1 - level. A score that is missing is taken as the worst and as the
best it could have been, and a claim must hold both times. A gain is evidence for what the arm is about only if the arm
is also better than every control.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from togi.evidence.experiment.claim_sentences import SHARES, Evidence, Scale, claim_sentences, control_sentences
from togi.evidence.experiment.compare_arms import Compared, compare_arms, decide, differ_p, facts_of, sign_of
from togi.statistics import holm
from togi.statistics.intervals import Array


@dataclass(frozen=True, kw_only=True)
class ArmVerdict:
    """What is claimed of one arm. ``evidence`` says whether a gain is more than what the controls show."""

    compared: Compared
    controls: tuple[Compared, ...]
    evidence: Evidence
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One verdict an arm, in their order, and what each control did against the reference."""

    arms: tuple[ArmVerdict, ...]
    controls: tuple[Compared, ...]
    margin: float
    level: float


def verdict(
    scores: Mapping[str, ArrayLike],
    *,
    reference: str,
    margin: float,
    controls: Collection[str] = (),
    untrained: Collection[str] = (),
    level: float = 0.95,
    bounds: tuple[float, float] | None = SHARES,
) -> Verdict:
    """The claims of all arms that are neither ``reference`` nor control.

    ``scores`` are tables [seeds, tasks], nan where a score is missing, and a whole row of nan for a seed that failed;
    all have the same tasks, and their rows the same seeds. Arms named in ``untrained`` have a single row. ``margin`` is
    the smallest difference that matters. ``bounds`` are the least and the most that a score can be, None where
    there are none: then an arm with a missing score is never decided.
    """
    tables = {name: np.asarray(table, np.float64) for name, table in scores.items()}
    _check(tables, reference, controls, untrained, bounds)
    arms = [name for name in tables if name != reference and name not in controls]
    scale = Scale(bounds=bounds)
    compared = compare_arms(tables, arms, reference, margin, level, bounds)
    of_controls = compare_arms(tables, list(controls), reference, margin, level, bounds)
    beside = [[facts_of(tables, arm, control, margin, level, bounds) for control in controls] for arm in arms]
    # All controls must be beaten, so the weakest comparison is the test, and Holm's correction is over the arms.
    weakest = holm([float(np.max([differ_p(one) for one in each])) if each else nan for each in beside])
    told = []
    for one, each, p in zip(compared, beside, weakest, strict=True):
        against = tuple(decide(control, p=differ_p(control), level=level) for control in each)
        beaten = bool(p <= 1 - level) and all(sign_of(control) > 0 for control in each)
        evidence: Evidence = "no control" if not each else "for the arm" if beaten else "none"
        sentences = (
            *claim_sentences(one, margin, level, scale),
            *control_sentences(one, against, of_controls, evidence, scale),
        )
        told.append(ArmVerdict(compared=one, controls=against, evidence=evidence, sentences=sentences))
    return Verdict(arms=tuple(told), controls=tuple(of_controls), margin=margin, level=level)


def _check(
    tables: Mapping[str, Array],
    reference: str,
    controls: Collection[str],
    untrained: Collection[str],
    bounds: tuple[float, float] | None,
) -> None:
    unknown = sorted({reference, *controls, *untrained} - tables.keys())
    if unknown:
        raise ValueError(f"there are no scores of {', '.join(unknown)}; there are those of {', '.join(tables)}")
    if reference in controls:
        raise ValueError(f"{reference} is the reference, so it cannot be a control as well")
    shapes = {name: table.shape for name, table in tables.items()}
    if any(len(shape) != 2 or 0 in shape for shape in shapes.values()):
        raise ValueError(f"wanted scores of seeds by tasks for every arm, got {shapes}")
    if len({tasks for _, tasks in shapes.values()}) > 1:
        raise ValueError(f"arms can only be compared on the same tasks, got (seeds, tasks) {shapes}")
    if len({seeds for name, (seeds, _) in shapes.items() if name not in untrained}) > 1:
        raise ValueError(
            f"arms can only be compared over the same seeds, got (seeds, tasks) {shapes}; a seed that failed is a row "
            "of nan, and an arm that was not trained is named in untrained"
        )
    several = [name for name in untrained if len(tables[name]) != 1]
    if several:
        raise ValueError(f"an arm that was not trained has one row of scores; {several[0]} has {shapes[several[0]][0]}")
    if bounds is None:
        return
    least, most = bounds
    for name, table in tables.items():
        outside = table[(table < least) | (table > most)]
        if outside.size:
            raise ValueError(
                f"scores were said to lie from {least:g} to {most:g}, but {name} has {outside[0]:g}: give the true "
                "bounds, or None where there are none"
            )
