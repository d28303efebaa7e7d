"""What a run shows beside its evaluations: reward models on held-out pairs, truth under reward, diversity. In words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi.evidence.diversity import Change, compare_diversity, fair_sizes
from togi.evidence.evaluation import EvaluationRecord
from togi.report.optimised import StageFinding, findings, sentence
from togi.report.read import RunData

if TYPE_CHECKING:
    from togi.evidence.agreement import Agreement


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """``agreements`` are of the scorers in ``preferences/``; ``change`` is the last model's diversity against the
    first's, or why there is none."""

    agreements: tuple[Agreement, ...]
    stages: tuple[StageFinding, ...]
    change: Change | str


def preferences(data: RunData) -> Preferences:
    """Measure what the run folder holds of preferences."""
    return Preferences(agreements=_agreements(data), stages=tuple(findings(data)), change=_change(data.evaluations))


def _agreements(data: RunData) -> tuple[Agreement, ...]:
    if not data.pairs:
        return ()
    from togi.evidence.agreement import agreement  # it brings PyTorch, for which a page without pairs need not wait

    return tuple(agreement(record) for record in data.pairs)


def _change(evaluations: Sequence[EvaluationRecord]) -> Change | str:
    if len(evaluations) < 2:
        return "Diversity is compared when two models have been evaluated."
    try:
        return compare_diversity(evaluations[0], evaluations[-1], fair_sizes(evaluations))
    except ValueError as error:
        return str(error)


def told(found: Preferences) -> tuple[str, ...]:
    """What belongs on a first screen."""
    said = [f"{one.name}: {line[0].lower()}{line[1:]}" for one in found.agreements for line in _first(one)]
    said += [sentence(one) for one in found.stages]
    if not isinstance(found.change, str) and found.change.verdict != "unclear":
        said.append(more_alike(found.change))
    return tuple(said)


def _first(one: Agreement) -> tuple[str, ...]:
    """A scorer's verdict in one line: how often it is right, or why nobody knows."""
    from togi.evidence.agreement import verdict

    return verdict(one)[:1]


def more_alike(change: Change) -> str:
    """Whether answers to one question became more alike, in a sentence."""
    similarity = change.measures.get("similarity")
    if similarity is None:
        return "With one attempt a task, nothing can be said of how alike answers to one question are."
    words = {
        "alike": "Answers to one question became more alike",
        "varied": "Answers to one question became more varied",
        "unclear": "There is no evidence that answers to one question became more or less alike",
    }
    band = f"95% interval {similarity.low:+.3f} to {similarity.high:+.3f}"
    size = f"{change.after} against {change.before}: self-similarity {similarity.point:+.3f}, {band}"
    return f"{words[change.verdict]} ({size})."
