"""Whether the truth followed the reward: each stage's finding in a sentence, and its pictures. It reads no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from togi.evidence.after.evaluation_summary import powers
from togi.evidence.after.over_optimisation import (
    Bin,
    Course,
    Finding,
    Fit,
    best_of_n,
    bins,
    course,
    distance,
    fit_reinforcement,
    judge,
    kl_best_of_n,
    reinforcement_law,
)
from togi.evidence.after.sharpened_or_discovered import Leaning, sharpening
from togi.evidence.read_run import Json, RunData
from togi.report.plots import Line, line_chart, number, ticks
from togi.report.stage_sentences import sampled
from togi.short_values import p_value
from togi.statistics import Interval, bootstrap_mean

FEWEST_GROUPS = 4  # below this, an interval over groups says nothing
LEANS = {
    "right": "the leading answer was right",
    "wrong": "the leading answer was wrong",
    "torn": "no answer led",
}


@dataclass(frozen=True, kw_only=True)
class StageFinding:
    """``learned`` is false for a stage that only collects: nothing can be over-optimised there."""

    stage: str
    course: Course
    finding: Finding
    learned: bool


@dataclass(frozen=True, kw_only=True)
class CourseView:
    """Proxy and gold of one stage. ``by_distance`` and ``by_step`` are (caption, picture), proxy above gold;
    ``leanings`` are rows of a table, ``leant`` the sentence that sums it up."""

    stage: str
    sentence: str
    by_distance: tuple[tuple[str, Markup], ...]
    by_step: tuple[tuple[str, Markup], ...]
    law: str
    best: tuple[tuple[str, list[str]], ...]
    leanings: tuple[tuple[str, list[str]], ...]
    leant: str


def findings(data: RunData) -> list[StageFinding]:
    """Every stage whose answers were sampled and held against the truth."""
    found = []
    for stage in data.stages:
        rows = [row for row in data.metrics if row["stage"] == stage]
        told = course(rows)
        if len(told.step) and sampled(data, stage):
            learned = any("learning_rate" in row for row in rows)
            found.append(StageFinding(stage=stage, course=told, finding=judge(told), learned=learned))
    return found


def sentence(one: StageFinding) -> str:
    """What happened, in plain words; a stage is never cleared by too few steps."""
    it, name = one.finding, one.stage
    if not one.learned:
        return f"{name}: answers were collected here, and nothing was learned."
    if it.outcome == "not enough data":
        return f"{name}: {it.steps} steps with reward and truth are too few to say whether one followed the other."
    reward = f"the reward went from {it.proxy_start:.3g} to {it.proxy_end:.3g}"
    gold = f"from {it.gold_start:.3g} to {it.gold_end:.3g}"
    fall = f"from its best, {it.gold_peak:.3g} around step {it.peak_step:.0f}, to {it.gold_end:.3g} at the end"
    chance = f"by chance alone: {p_value(it.fall_p)}"
    if it.outcome == "over-optimised":
        return (
            f"{name} over-optimised its reward: {reward}, but the truth it stands for fell {fall} ({chance}). "
            f"Stop near step {it.peak_step:.0f}, or hold the policy closer to where it starts."
        )
    if it.outcome == "came apart":
        return f"{name}: the truth fell {fall} ({chance}), and the reward did not keep rising either: {reward}."
    if it.outcome == "rose together":
        return f"{name}: the truth rose with the reward, {gold}, while {reward}. No over-optimisation was seen."
    return (
        f"{name}: it is not clear whether the truth followed the reward. The truth went {gold} and {reward}; such "
        f"changes may be noise."
    )


def course_view(data: RunData, one: StageFinding) -> CourseView:
    told, parts = one.course, bins(one.course)
    moved = [part for part in parts if np.isfinite(part.distance)]
    by_distance = sorted(moved, key=lambda part: part.distance)
    known = np.isfinite(told.kl)
    fit = fit_reinforcement(distance(told.kl[known]), told.gold[known])
    leanings = leanings_of(data, one.stage) if one.learned else []
    return CourseView(
        stage=one.stage,
        sentence=sentence(one),
        by_distance=_distance_charts(by_distance, fit) if len(moved) > 1 else (),
        by_step=_step_charts(told, parts) if one.learned else (),
        law=_law(one.finding, fit, moved[-1].distance) if fit and moved else "",
        best=best_of_first_step(data, one.stage),
        leanings=tuple(_leaning_row(each) for each in leanings),
        leant=leant(leanings),
    )


def leanings_of(data: RunData, stage: str) -> list[Leaning]:
    """What the stage made of the tasks that its first and its last step both asked."""
    steps = sorted(step for name, step in data.rollouts if name == stage)
    return sharpening(data.rollouts[stage, steps[0]], data.rollouts[stage, steps[-1]]) if len(steps) > 1 else []


def _leaning_row(one: Leaning) -> tuple[str, list[str]]:
    truth, agreement = ((f"{a:.0%}", f"{b:.0%}") for a, b in (
        (one.truth_start, one.truth_end), (one.agreement_start, one.agreement_end)
    ))  # fmt: skip
    return LEANS[one.lean], [str(one.tasks), *truth, *agreement]


def leant(leanings: Sequence[Leaning]) -> str:
    """Whether the stage only sharpened what was there, in a sentence; empty where it cannot be said."""
    told = {one.lean: one for one in leanings}
    right, wrong = told.get("right"), told.get("wrong")
    if right is None or wrong is None:
        return ""
    gained, lost = right.truth_end - right.truth_start, wrong.truth_end - wrong.truth_start
    surer = wrong.agreement_end - wrong.agreement_start
    if gained > 0 and lost <= 0 and surer > 0:
        return (
            "The stage only made the model more certain: of the right answer where most attempts were right at the "
            "start, and of a wrong answer where most were wrong."
        )
    if gained > 0 and lost > 0:
        return "Attempts became right more often, also at tasks where most were wrong at the start."
    if gained <= 0:
        return "Attempts did not become right more often at the tasks where most were right at the start."
    return ""


def _distance_charts(parts: Sequence[Bin], fit: Fit | None) -> tuple[tuple[str, Markup], ...]:
    x = [part.distance for part in parts]
    curve = []
    if fit:
        at = np.linspace(x[0], x[-1], 60)
        gold = fit.start + reinforcement_law(at, fit.alpha, fit.beta)
        curve = [Line(name="fitted law", tint="s0", x=at.tolist(), y=gold.tolist(), hints=False, dash=1)]
    marks = [(value, number(value)) for value in ticks(x[0], x[-1], 5)] if x[-1] > x[0] else None
    charts = []
    for caption, lines in (
        ("Reward over √KL", [_binned("reward", "s1", x, [part.proxy for part in parts])]),
        ("Truth over √KL", [*curve, _binned("truth", "s2", x, [part.gold for part in parts])]),
    ):
        charts.append((caption, line_chart(caption, lines, x_ticks=marks, x_name="square root of KL")))
    return tuple(charts)


def _binned(name: str, tint: str, x: Sequence[float], y: Sequence[Interval]) -> Line:
    band = [(one.low, one.high) for one in y if np.isfinite(one.low)]
    points = [one.point for one in y]
    return Line(name=name, tint=tint, x=x, y=points, band=band if len(band) == len(x) else (), dots=True)


def _step_charts(told: Course, parts: Sequence[Bin]) -> tuple[tuple[str, Markup], ...]:
    charts = []
    for caption, name, tint, raw, means in (
        ("Reward over steps", "reward", "s1", told.proxy, [part.proxy for part in parts]),
        ("Truth over steps", "truth", "s2", told.gold, [part.gold for part in parts]),
    ):
        single = Line(name=name, tint=f"{tint} raw", x=told.step.tolist(), y=raw.tolist())
        lines = [single, _binned(f"{name}, mean of neighbouring steps", tint, [part.step for part in parts], means)]
        charts.append((caption, line_chart(caption, lines)))
    return tuple(charts)


def _law(finding: Finding, fit: Fit, reached: float) -> str:
    """Where the fitted law turns; said only when the truth moved at all, since the law of noise means nothing."""
    if finding.outcome not in ("over-optimised", "rose together"):
        return ""
    law = (
        "The broken grey line is d(α − β log d) with d = √KL, fitted to the steps: "
        f"α = {fit.alpha:.3g}, β = {fit.beta:.3g}."
    )
    if fit.peak is None:
        return f"{law} It does not turn."
    if fit.peak > reached:
        return f"{law} It would turn beyond the distance that was reached."
    return f"{law} It turns at √KL = {fit.peak:.2g}, that is {fit.peak**2:.2g} nats an answer."


def best_of_first_step(data: RunData, stage: str) -> tuple[tuple[str, list[str]], ...]:
    """What picking the best of n by the reward would have given before training: rows of n, KL, reward and truth."""
    first = min((step for name, step in data.rollouts if name == stage), default=0)
    groups: dict[int, list[Json]] = {}
    for row in data.rollouts.get((stage, first), []):
        if _number(row["score"].get("value")) and _number(row.get("gold")):
            groups.setdefault(row.get("group", 0), []).append(row)
    whole = max((len(rows) for rows in groups.values()), default=0)
    told = [
        ([row["score"]["value"] for row in rows], [row["gold"] for row in rows])
        for rows in groups.values()
        if len(rows) == whole
    ]
    if whole < 2 or len(told) < FEWEST_GROUPS:
        return ()
    table = []
    for n in powers(whole):
        reward = float(np.mean([best_of_n(proxy, proxy, n) for proxy, _ in told]))
        gold = bootstrap_mean([[best_of_n(proxy, gold, n)] for proxy, gold in told], seed=0)
        cells = [f"{kl_best_of_n(n):.2f}", f"{reward:.3f}", f"{gold.point:.3f} ({gold.low:.3f}–{gold.high:.3f})"]
        table.append((f"best of {n}" if n > 1 else "any answer", cells))
    return tuple(table)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
