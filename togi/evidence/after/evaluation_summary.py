"""What evaluations say: pass@k and scores with intervals, paired comparisons, form, lengths. It plays nothing.

An attempt passes if its score is at least the evaluation's ``pass_mark`` (1.0 unless told otherwise), under the
evaluation's own reward. A score whose status is not ``ok`` is neither a pass nor a failure: it leaves the statistics
and is counted by status beside them; what they would be had all such attempts been wrong is said as a bound. Intervals
treat tasks as the unit of sampling, since attempts at one task are not independent (Miller 2024, arXiv 2411.00640).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, TaskRecord
from togi.statistics import Interval, bootstrap_mean, paired_difference, pass_at_k, wilson
from togi.types import CUT

TOLERANCE = 1e-9  # a score of 1 that arrived as 0.9 + 0.1 must still reach the pass mark


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What an evaluation says. Intervals are 95% bootstrap intervals over tasks
    (Wilson's where all tasks agree); None where nothing could be counted.

    ``pass_at`` maps k to the unbiased estimate (Chen et al. 2021, arXiv 2107.03374, eq. 1), averaged over the tasks
    that have at least k scored attempts; ``pass_tasks`` says how many those are. ``pass_as_wrong`` and
    ``reward_as_wrong`` count every attempt without a score as one that failed, and earned 0 or the least that any
    earned. ``own_faults`` counts, by kind, the attempts that earned nothing since they kept their grader from grading
    them; they are scored. ``counts`` are the means over attempts of what environments counted. ``well_formed`` is the
    share of scored attempts whose part ``form`` is 1, None when the reward has no such part. ``graded`` is true when a
    score is neither 0 nor 1, so that passing says little. ``kl`` is the mean divergence from the base model in nats an
    attempt, None where it was not measured. ``truncated`` is the share of all
    attempts that were cut. Lengths are in tokens, over all attempts.
    """

    model: str
    step: int
    tasks: int
    attempts: int
    pass_mark: float
    scored: int
    unscored: Mapping[str, int]
    pass_at: Mapping[int, Interval]
    pass_tasks: Mapping[int, int]
    pass_as_wrong: Mapping[int, float]
    reward: Interval | None
    reward_as_wrong: float | None
    own_faults: Mapping[str, int]
    graded: bool
    kl: Interval | None
    parts: Mapping[str, float]
    counts: Mapping[str, float]
    well_formed: float | None
    truncated: float
    length_mean: float
    lengths: tuple[int, ...]
    seconds: float
    tokens: int

    @property
    def pass_at_1(self) -> Interval | None:
        return self.pass_at.get(1)


def powers(attempts: int) -> list[int]:
    """1, 2, 4, ... up to ``attempts``."""
    return [2**power for power in range(attempts.bit_length()) if 2**power <= attempts]


def _scored(task: TaskRecord) -> list[AttemptRecord]:
    return [attempt for attempt in task["attempts"] if attempt["score"]["status"] == "ok"]


def value_of(attempt: AttemptRecord) -> float:
    """The score of an attempt that was scored."""
    value = attempt["score"]["value"]
    assert value is not None
    return value


def passes(attempt: AttemptRecord, pass_mark: float) -> bool:
    """Whether a scored attempt reaches the pass mark."""
    return value_of(attempt) >= pass_mark - TOLERANCE


def _tally(evaluation: EvaluationRecord) -> list[tuple[int, int]]:
    """(scored attempts, passed attempts) of each task."""
    mark = evaluation["pass_mark"]
    counted = [_scored(task) for task in evaluation["tasks"]]
    return [(len(scored), sum(passes(attempt, mark) for attempt in scored)) for scored in counted]


def _mean(per_task: Sequence[float], seed: int) -> Interval:
    return bootstrap_mean([[value] for value in per_task], seed=seed)


def _share(per_task: Sequence[float], seed: int) -> Interval:
    """As ``_mean``, but with width where every task failed or every task passed, which no resampling can give."""
    if set(per_task) in ({0.0}, {1.0}):
        return wilson(sum(per_task), len(per_task))
    return _mean(per_task, seed)


def _was_cut(attempt: AttemptRecord) -> bool:
    return attempt["stop"] in CUT or attempt.get("cut", False)


def summary(evaluation: EvaluationRecord, *, seed: int = 0) -> Summary:
    """Count an evaluation. ``seed`` is that of the bootstrap alone: the same evaluation gives the same numbers."""
    tally = _tally(evaluation)
    pass_at: dict[int, Interval] = {}
    pass_tasks: dict[int, int] = {}
    for k in powers(evaluation["attempts"]):
        estimates = [float(pass_at_k(n, c, k)) for n, c in tally if n >= k]
        if estimates:
            pass_at[k], pass_tasks[k] = _share(estimates, seed), len(estimates)
    everything = [attempt for task in evaluation["tasks"] for attempt in task["attempts"]]
    scored = [attempt for attempt in everything if attempt["score"]["status"] == "ok"]
    rewards = [[value_of(attempt) for attempt in _scored(task)] for task in evaluation["tasks"]]
    means = [float(np.mean(values)) for values in rewards if values]
    faults = [a["score"].get("own_fault") for a in scored]
    names = sorted({name for attempt in scored for name in attempt["score"]["parts"]})
    columns = {name: [a["score"]["parts"][name] for a in scored if name in a["score"]["parts"]] for name in names}
    forms = columns.get("form")
    lengths = tuple(attempt["tokens"] for attempt in everything)
    return Summary(
        model=evaluation["model"],
        step=evaluation["step"],
        tasks=len(evaluation["tasks"]),
        attempts=evaluation["attempts"],
        pass_mark=evaluation["pass_mark"],
        scored=len(scored),
        unscored=dict(Counter(a["score"]["status"] for a in everything if a["score"]["status"] != "ok")),
        pass_at=pass_at,
        pass_tasks=pass_tasks,
        pass_as_wrong=_pass_as_wrong(evaluation),
        reward=_mean(means, seed) if means else None,
        reward_as_wrong=reward_as_wrong(evaluation["tasks"]),
        own_faults=dict(Counter(fault for fault in faults if fault)),
        graded=any(min(abs(value), abs(value - 1)) > TOLERANCE for values in rewards for value in values),
        kl=_kl(evaluation, seed),
        parts={name: float(np.mean(values)) for name, values in columns.items()},
        counts=_counts(everything),
        well_formed=float(np.mean([form >= 1 - TOLERANCE for form in forms])) if forms else None,
        truncated=float(np.mean([_was_cut(attempt) for attempt in everything])) if everything else 0.0,
        length_mean=float(np.mean(lengths)) if lengths else 0.0,
        lengths=lengths,
        seconds=evaluation["seconds"],
        tokens=evaluation["tokens"],
    )


def _counts(attempts: Sequence[AttemptRecord]) -> dict[str, float]:
    """The mean over attempts of each thing that environments counted."""
    names = sorted({name for attempt in attempts for name in attempt.get("counts", {})})
    return {name: float(np.mean([each.get("counts", {}).get(name, 0.0) for each in attempts])) for name in names}


def headline(evaluation: EvaluationRecord) -> dict[str, float]:
    """The two numbers that a course of evaluations is drawn by, each where it could be counted."""
    rates = [passed / scored for scored, passed in _tally(evaluation) if scored]
    means = [
        float(np.mean([value_of(one) for one in scored])) for task in evaluation["tasks"] if (scored := _scored(task))
    ]
    return {"pass@1": float(np.mean(rates)), "mean_score": float(np.mean(means))} if rates else {}


def reward_as_wrong(tasks: Sequence[TaskRecord]) -> float | None:
    """The mean score over tasks with every attempt that has none counted as 0, or as the least of all scores where that
    is lower; None where nothing was scored."""
    scores = [[attempt["score"]["value"] for attempt in task["attempts"]] for task in tasks if task["attempts"]]
    given = [value for values in scores for value in values if value is not None]
    if not given:
        return None
    least = min([0.0, *given])
    return float(np.mean([np.mean([least if value is None else value for value in values]) for values in scores]))


def _pass_as_wrong(evaluation: EvaluationRecord) -> dict[int, float]:
    counted = [
        (len(task["attempts"]), passed)
        for task, (_, passed) in zip(evaluation["tasks"], _tally(evaluation), strict=True)
    ]
    found = {k: [float(pass_at_k(n, c, k)) for n, c in counted if n >= k] for k in powers(evaluation["attempts"])}
    return {k: float(np.mean(estimates)) for k, estimates in found.items() if estimates}


def _kl(evaluation: EvaluationRecord, seed: int) -> Interval | None:
    measured = [[attempt.get("kl") for attempt in task["attempts"]] for task in evaluation["tasks"]]
    known = [[value for value in values if value is not None] for values in measured]
    return bootstrap_mean([values for values in known if values], seed=seed) if any(known) else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """After minus before, task by task: of pass@k, or of the mean score where ``k`` is None.

    ``left_out`` counts tasks with fewer than k scores on one side (with none, where ``k`` is None). ``better``,
    ``worse`` and ``same`` count tasks by the sign of their difference.
    """

    before: str
    after: str
    k: int | None
    difference: Interval
    p: float
    tasks: int
    left_out: int
    better: int
    worse: int
    same: int

    @property
    def verdict(self) -> str:
        """``improved``, ``worsened`` or ``unclear`` (the interval includes zero)."""
        if self.difference.low > 0:
            return "improved"
        return "worsened" if self.difference.high < 0 else "unclear"


def compare(before: EvaluationRecord, after: EvaluationRecord, *, k: int = 1, seed: int = 0) -> Comparison:
    """Paired difference of pass@k by task id, with a 95% paired interval and a permutation p-value.

    Refuses evaluations of different tasks, sampling or pass marks: such a difference would not be the model's.
    """
    aligned = same_tasks(before, after)
    tallies = zip(_tally(before), _tally(aligned), strict=True)
    rates = [(float(pass_at_k(*a, k)), float(pass_at_k(*b, k))) for a, b in tallies if a[0] >= k and b[0] >= k]
    if not rates:
        raise ValueError(
            f"no task has {k} scored attempt{'s' if k > 1 else ''} in both {before['model']} and {after['model']}"
        )
    return _paired(before, after, rates, k, seed)


def compare_scores(before: EvaluationRecord, after: EvaluationRecord, *, seed: int = 0) -> Comparison:
    """Paired difference of each task's mean score, as ``compare``; for scores that are more than right or wrong."""
    both = scores_by_task(before, after)
    return _paired(before, after, [(float(np.mean(a)), float(np.mean(b))) for a, b in both], None, seed)


def scores_by_task(before: EvaluationRecord, after: EvaluationRecord) -> list[tuple[list[float], list[float]]]:
    """The scores of both at each task that was scored in both. Refuses what ``compare`` refuses."""
    both = zip(before["tasks"], same_tasks(before, after)["tasks"], strict=True)
    scores = [tuple([value_of(attempt) for attempt in _scored(task)] for task in pair) for pair in both]
    found = [(old, new) for old, new in scores if old and new]
    if not found:
        raise ValueError(f"no task has a scored attempt in both {before['model']} and {after['model']}")
    return found


def same_tasks(before: EvaluationRecord, after: EvaluationRecord) -> EvaluationRecord:
    """``after`` with its tasks in the order of ``before``; ``ValueError`` when the two cannot be compared."""
    old = {task["id"]: task for task in before["tasks"]}
    new = {task["id"]: task for task in after["tasks"]}
    if old.keys() != new.keys():
        odd = sorted(old.keys() ^ new.keys())
        raise ValueError(
            f"{before['model']} and {after['model']} were evaluated on different tasks ({len(odd)} ids are in only one "
            f"of them, such as {odd[0]!r}); evaluate both on the same tasks"
        )
    changed = [
        name for name in old if (old[name]["prompt"], old[name]["answer"]) != (new[name]["prompt"], new[name]["answer"])
    ]
    if changed:
        raise ValueError(
            f"task {changed[0]!r} has another prompt or answer in {after['model']} than in {before['model']}"
        )
    if before["sampling"] != after["sampling"] or before["pass_mark"] != after["pass_mark"]:
        raise ValueError(
            f"{before['model']} and {after['model']} were evaluated with different sampling or pass marks; "
            "evaluate both in the same way"
        )
    return EvaluationRecord(**{**after, "tasks": [new[name] for name in old]})


def _paired(
    before: EvaluationRecord,
    after: EvaluationRecord,
    rates: Sequence[tuple[float, float]],
    k: int | None,
    seed: int,
) -> Comparison:
    paired = paired_difference([[b] for _, b in rates], [[a] for a, _ in rates], seed=seed)
    assert paired.p is not None
    return Comparison(
        before=before["model"],
        after=after["model"],
        k=k,
        difference=paired,
        p=paired.p,
        tasks=len(rates),
        left_out=len(before["tasks"]) - len(rates),
        better=sum(b > a for a, b in rates),
        worse=sum(b < a for a, b in rates),
        same=sum(b == a for a, b in rates),
    )
