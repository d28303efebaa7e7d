"""What a run shows beside its evaluations: reward models on held-out pairs, truth under reward, diversity. In words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.after.diversity import Change, compare_diversity, fair_sizes
from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.evaluation_summary import compare_scores, summary
from togi.evidence.after.pair_agreement import Agreement, agreement, verdict
from togi.evidence.read_run import RunData
from togi.report.over_optimisation_section import StageFinding, findings, sentence


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """``agreements`` are of the scorers in ``preferences/``; ``change`` is the last model's diversity against the
    first's, or why there is none; ``moved`` says whether policies lost again what they had won, where no stage does."""

    agreements: tuple[Agreement, ...]
    stages: tuple[StageFinding, ...]
    change: Change | str
    moved: str


def preferences(data: RunData) -> Preferences:
    """Measure what the run folder holds of preferences."""
    stages = tuple(findings(data))
    told_by_stages = any(one.learned for one in stages)
    return Preferences(
        agreements=_agreements(data),
        stages=stages,
        change=_change(data.evaluations),
        moved="" if told_by_stages else moved(data.evaluations),
    )


def _agreements(data: RunData) -> tuple[Agreement, ...]:
    if not data.pairs:
        return ()
    return tuple(agreement(record) for record in data.pairs)


def _change(evaluations: Sequence[EvaluationRecord]) -> Change | str:
    if len(evaluations) < 2:
        return "Diversity is compared when two models have been evaluated."
    try:
        return compare_diversity(evaluations[0], evaluations[-1], fair_sizes(evaluations))
    except ValueError as error:
        return str(error)


def moved(evaluations: Sequence[EvaluationRecord]) -> str:
    """Whether the score fell again as policies moved further from the base; empty where nobody measured how far, and
    where the last is no further than the first."""
    known = [(record, said) for record in evaluations if (said := summary(record)).kl and said.reward]
    if len(known) < 2:
        return ""
    (_, first), (last_record, last) = known[0], known[-1]
    best_record, best = max(known, key=lambda pair: pair[1].reward.point if pair[1].reward else 0.0)
    assert first.kl is not None
    assert last.kl is not None
    if last.kl.point <= first.kl.point:
        return ""
    way = f"from {first.model} to {last.model} the policy moved from {first.kl.point:.1f} to {last.kl.point:.1f} nats"
    try:
        fell = best.model != last.model and compare_scores(best_record, last_record).verdict == "worsened"
    except ValueError:
        return ""
    if fell:
        return f"Over-optimised: {way} an answer away from the base, and the score fell again after {best.model}."
    return f"No over-optimisation was seen: {way} an answer away from the base, and the score did not fall again."


def told(found: Preferences) -> tuple[str, ...]:
    """What belongs on a first screen."""
    said = [f"{one.name}: {line[0].lower()}{line[1:]}" for one in found.agreements for line in _first(one)]
    said += [sentence(one) for one in found.stages if one.learned]
    said += [found.moved] if found.moved else []
    if not isinstance(found.change, str) and found.change.verdict != "unclear":
        said.append(more_alike(found.change))
    return tuple(said)


def _first(one: Agreement) -> tuple[str, ...]:
    """A scorer's verdict in one line: how often it is right, or why nobody knows."""
    return verdict(one)[:1]


def more_alike(change: Change) -> str:
    """Whether answers to one question became more alike, in a sentence."""
    similarity = change.measures.get("similarity")
    if similarity is None:
        return "With one attempt a task, nobody can say how alike answers to one question are."
    words = {
        "alike": "Answers to one question became more alike",
        "varied": "Answers to one question became more varied",
        "unclear": "There is no evidence that answers to one question became more or less alike",
    }
    band = f"95% interval {similarity.low:+.3f} to {similarity.high:+.3f}"
    size = f"{change.after} against {change.before}: likeness {similarity.point:+.3f}, {band}"
    return f"{words[change.verdict]} ({size})."
