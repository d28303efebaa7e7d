"""What a run's data says in sentences: the verdict, what is uncertain, what happened in training. It draws nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from togi.evidence.evaluation import EvaluationRecord
from togi.evidence.summary import Comparison, Summary, compare
from togi.report.read import Json, RunData, planned_stages
from togi.statistics import Interval

Tone = Literal["good", "bad", "unclear"]
ENOUGH_STEPS = 10  # below this, the ends of a curve are noise
FEW_TASKS = 20  # below this, bootstrap intervals over tasks are too narrow


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``headline`` answers the one question a reader has; ``sentences`` say how it came about."""

    tone: Tone
    headline: str
    sentences: tuple[str, ...]
    uncertain: tuple[str, ...]


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def percent(value: float | None) -> str:
    return "not recorded" if value is None else f"{100 * value:.1f}%"


def band(interval: Interval) -> str:
    """The interval in words, or that there is none."""
    if not math.isfinite(interval.low):
        return "no interval, since one task says nothing of the spread"
    return f"95% interval {points(interval.low)} to {points(interval.high)} points"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def try_compare(before: EvaluationRecord, after: EvaluationRecord, k: int = 1) -> Comparison | str:
    """The comparison, or why there can be none."""
    try:
        return compare(before, after, k=k)
    except ValueError as error:
        return str(error)


def verdict(data: RunData, summaries: Sequence[Summary]) -> Verdict:
    """What the evaluations prove; honest about having none."""
    uncertain = tuple(doubts(data, summaries))
    state = () if data.finished else (progress(data),)
    if len(data.evaluations) < 2:
        names = [one["model"] for one in data.evaluations]
        have = f"only {names[0]} was evaluated" if names else "no held-out evaluation was recorded"
        headline = f"Nothing is proven yet: {have}."
        return Verdict(tone="unclear", headline=headline, sentences=state, uncertain=uncertain)
    first, last = data.evaluations[0], data.evaluations[-1]
    result = try_compare(first, last)
    if isinstance(result, str):
        headline = "The models cannot be compared."
        return Verdict(tone="unclear", headline=headline, sentences=(*state, result), uncertain=uncertain)
    before, after = (one.pass_at[1].point for one in (summaries[0], summaries[-1]))
    tone, headline = _headline(result, before, after, "" if data.finished else " so far")
    sentences = [*state, _evidence(result)]
    steps = list(zip(data.evaluations, data.evaluations[1:], strict=False))
    if len(steps) > 1:
        sentences += [_step(try_compare(*pair)) for pair in steps]
    k = max(summaries[0].pass_at.keys() & summaries[-1].pass_at.keys(), default=1)
    sentences += sharper_or_abler(first, last, k)
    return Verdict(tone=tone, headline=headline, sentences=tuple(sentences), uncertain=uncertain)


def _headline(result: Comparison, before: float, after: float, when: str) -> tuple[Tone, str]:
    change = f"from {percent(before)} to {percent(after)} of attempts right on held-out tasks"
    if result.verdict == "improved":
        return "good", f"Training worked{when}: {change}."
    if result.verdict == "worsened":
        return "bad", f"Training made the model worse{when}: {change}."
    return "unclear", f"No evidence of improvement{when}: {change}."


def _evidence(result: Comparison) -> str:
    return (
        f"The difference between {result.after} and {result.before} is {points(result.difference.point)} points "
        f"({band(result.difference)}; paired over {result.tasks} tasks, permutation {p_value(result.p)}). "
        f"{result.better} tasks got better, {result.worse} got worse, {result.same} stayed the same."
    )


def _step(result: Comparison | str) -> str:
    if isinstance(result, str):
        return result
    words = {
        "improved": "improved on",
        "worsened": "is worse than",
        "unclear": "shows no evidence of a difference from",
    }
    return (
        f"{result.after} {words[result.verdict]} {result.before}: {points(result.difference.point)} points "
        f"({band(result.difference)})."
    )


def sharper_or_abler(first: EvaluationRecord, last: EvaluationRecord, k: int) -> list[str]:
    """Whether the gain is also there with ``k`` attempts, or only in how often the first one is right."""
    single, many = try_compare(first, last), try_compare(first, last, k)
    if k == 1 or isinstance(single, str) or isinstance(many, str) or single.verdict != "improved":
        return []
    size = f"pass@{k} changed by {points(many.difference.point)} points, {band(many.difference)}"
    if many.verdict == "improved":
        return [f"Given {k} attempts, it also solves tasks that the base model does not: {size}."]
    return [f"Sharper, but not shown to be more able: with {k} attempts there is no evidence of a gain ({size})."]


def progress(data: RunData) -> str:
    """How far a run is that has no end yet."""
    done = sum(1 for _ in {(row["stage"], row["step"]) for row in data.metrics})
    planned = [stage.get("steps") for stage in planned_stages(data.recipe)]
    counts = [steps for steps in planned if isinstance(steps, int)]
    of = f" of {sum(counts)}" if counts and len(counts) == len(planned) else ""
    return f"This run has not finished: {done}{of} steps are logged, and what follows may change."


def doubts(data: RunData, summaries: Sequence[Summary]) -> list[str]:
    """What a careful reader should not conclude."""
    found = [
        "One training run with one seed: another seed may end elsewhere. The intervals cover the choice of tasks only."
    ]
    for one in summaries:
        found += _evaluation_doubts(one)
    if data.chain is not None:
        found.append(f"The event log was changed after it was written: entry {data.chain + 1} does not fit its chain.")
    found += [f"Left out because it could not be read: {problem}." for problem in data.problems]
    return found


def _evaluation_doubts(one: Summary) -> list[str]:
    found = []
    total = one.scored + sum(one.unscored.values())
    if one.tasks < FEW_TASKS:
        found.append(f"{one.model}: few tasks ({one.tasks}); below {FEW_TASKS} the intervals are too narrow.")
    if one.unscored:
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(one.unscored.items()))
        left = one.pass_tasks.get(1, 0)
        found.append(
            f"{one.model}: {sum(one.unscored.values())} of {total} attempts got no score ({kinds}); they count neither "
            f"way, and {left} of {one.tasks} tasks remain."
        )
    if one.truncated > 0.05:
        found.append(f"{one.model}: {percent(one.truncated)} of attempts were cut short, which may hide right answers.")
    return found


def observations(data: RunData, stage: str) -> list[str]:
    """What the log of a stage tells at its end, against its beginning."""
    rows = [row for row in data.metrics if row["stage"] == stage]
    found = []
    first, last = _ends(rows, "reward")
    if first is not None and last is not None and len(rows) >= ENOUGH_STEPS and sampled(data, stage):
        found.append(f"Mean training reward went from {first:.3g} to {last:.3g} (first and last fifth of the steps).")
    _, flat = _ends(rows, "frac_reward_zero_std")
    if flat is not None and flat > 0.5 and sampled(data, stage):
        found.append(f"At the end {percent(flat)} of groups carried no signal: all attempts scored the same.")
    _, cut = _ends(rows, "completions/clipped_ratio")
    if cut is not None and cut > 0.05:
        found.append(f"At the end {percent(cut)} of completions were cut at the token limit.")
    skipped = sum(row.get("skipped_steps") or 0 for row in rows)
    if skipped:
        found.append(f"{skipped:.0f} updates were skipped because a loss or gradient was not finite.")
    _, entropy = _ends(rows, "entropy")
    start, _ = _ends(rows, "entropy")
    if start and entropy is not None and entropy < 0.2 * start:
        found.append(f"Entropy fell from {start:.3g} to {entropy:.3g} nats: the model hardly explores any more.")
    return found


def sampled(data: RunData, stage: str) -> bool:
    """Whether the stage's completions were sampled; recorded ones have no log-probabilities."""
    rows = [row for (name, _), kept in data.rollouts.items() if name == stage for row in kept]
    return any(row.get("logp_mean") is not None for row in rows)


def _ends(rows: Sequence[Json], name: str) -> tuple[float | None, float | None]:
    """The mean of a metric over the first and over the last fifth of the steps that have it."""
    values = [float(row[name]) for row in rows if isinstance(row.get(name), int | float)]
    if not values:
        return None, None
    fifth = max(1, len(values) // 5)
    return float(np.mean(values[:fifth])), float(np.mean(values[-fifth:]))
