"""What a run's data says in sentences: the verdict, how far the run is, what is uncertain. It draws nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.evaluation_summary import Comparison, Summary, compare, compare_scores
from togi.evidence.after.win_rate import WinRate, win_rate
from togi.evidence.read_run import RunData, planned_stages
from togi.report.alarms_section import alarm_sentences, stopped
from togi.report.preference_sentences import Preferences, told
from togi.short_values import MISSING, mapping, p_value, percent, text
from togi.statistics import Interval

Tone = Literal["good", "bad", "unclear"]
FEW_TASKS = 20  # below this, bootstrap intervals over tasks are too narrow
MOST = 6  # findings and alarms that are told one by one
UNSAFE = ("process", "none")  # tiers that keep nothing in


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``headline`` answers the one question a reader has; ``sentences`` say how it came about."""

    tone: Tone
    headline: str
    sentences: tuple[str, ...]
    uncertain: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How differences are said: in points of a percentage, or in units of a score that is more than right or wrong."""

    graded: bool

    def size(self, value: float) -> str:
        return f"{value:+.3f}" if self.graded else f"{100 * value:+.1f} points"

    def band(self, interval: Interval) -> str:
        """The interval in words, or that there is none."""
        if not math.isfinite(interval.low):
            return "no interval: one task does not show how far tasks differ"
        if self.graded:
            return f"95% interval {interval.low:+.3f} to {interval.high:+.3f}"
        return f"95% interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f} points"

    def change(self, before: Summary, after: Summary) -> str:
        if self.graded:
            scores = [MISSING if one.reward is None else f"{one.reward.point:.3f}" for one in (before, after)]
            return f"mean score on held-out tasks from {scores[0]} to {scores[1]}"
        rates = [percent(one.pass_at[1].point) for one in (before, after)]
        return f"from {rates[0]} to {rates[1]} of attempts right on held-out tasks"


PASSES, SCORES = Scale(graded=False), Scale(graded=True)


def try_compare(before: EvaluationRecord, after: EvaluationRecord, k: int | None = 1) -> Comparison | str:
    """The comparison of pass@k, of mean scores where ``k`` is None, or why there can be none."""
    try:
        return compare_scores(before, after) if k is None else compare(before, after, k=k)
    except ValueError as error:
        return str(error)


def verdict(data: RunData, summaries: Sequence[Summary], found: Preferences) -> Verdict:
    """What the evaluations prove; honest about having none. ``found`` is what was measured beside them."""
    uncertain = tuple(doubts(data, summaries))
    state = () if data.finished else (progress(data), *stopped(data))
    beside = [*alarm_sentences(data), *told(found)]
    if len(data.evaluations) < 2:
        names = [one["model"] for one in data.evaluations]
        have = f"only {names[0]} was evaluated" if names else "no held-out evaluation was recorded"
        headline = f"Nothing is proven yet: {have}."
        return Verdict(tone="unclear", headline=headline, sentences=(*state, *beside), uncertain=uncertain)
    first, last = data.evaluations[0], data.evaluations[-1]
    graded = any(one.graded for one in summaries)
    how, k = (SCORES, None) if graded else (PASSES, 1)
    result = try_compare(first, last, k)
    if isinstance(result, str):
        headline = "The models cannot be compared."
        return Verdict(tone="unclear", headline=headline, sentences=(*state, result, *beside), uncertain=uncertain)
    tone, headline = _headline(result, how.change(summaries[0], summaries[-1]), "" if data.finished else " so far")
    way = data.way_to(last["model"]) or data.stages
    if any(one.finding.outcome == "over-optimised" and one.stage in way for one in found.stages):
        tone, headline = ("unclear" if tone == "good" else tone), f"{headline} But the reward was over-optimised."
    elif any(alarm["severity"] == "critical" and alarm["stage"] in way for alarm in data.alarms):
        tone, headline = ("unclear" if tone == "good" else tone), f"{headline} But an alarm was raised in training."
    if data.distrust:
        tone = "unclear" if tone == "good" else tone
        headline = f"{headline} But this folder is not as it was written."
    sentences = [*state, _evidence(result, how)]
    if graded:
        sentences.append(won(win_rate(last, first)))
    if len(data.evaluations) > 2:
        sentences += [_step(try_compare(*pair, k), how) for pair in data.grown]
    if not graded:
        many = max(summaries[0].pass_at.keys() & summaries[-1].pass_at.keys(), default=1)
        sentences += sharper_or_abler(first, last, many)
        before, _ = data.grown[-1]
        if before is not first:
            sentences += sharper_or_abler(before, last, many)
    sentences += beside
    return Verdict(tone=tone, headline=headline, sentences=tuple(sentences), uncertain=uncertain)


def _headline(result: Comparison, change: str, when: str) -> tuple[Tone, str]:
    if result.verdict == "improved":
        return "good", f"Training worked{when}: {change}."
    if result.verdict == "worsened":
        return "bad", f"Training made the model worse{when}: {change}."
    return "unclear", f"No evidence of improvement{when}: {change}."


def _evidence(result: Comparison, how: Scale) -> str:
    return (
        f"The difference between {result.after} and {result.before} is {how.size(result.difference.point)} "
        f"({how.band(result.difference)}; compared task by task over {result.tasks} tasks, permutation test: "
        f"{p_value(result.p)}). {result.better} tasks got better, {result.worse} got worse, {result.same} stayed the "
        "same."
    )


def _step(result: Comparison | str, how: Scale) -> str:
    if isinstance(result, str):
        return result
    words = {
        "improved": "improved on",
        "worsened": "is worse than",
        "unclear": "shows no evidence of a difference from",
    }
    return (
        f"{result.after} {words[result.verdict]} {result.before}: {how.size(result.difference.point)} "
        f"({how.band(result.difference)})."
    )


def won(result: WinRate) -> str:
    """A win rate as a sentence."""
    rate, ties = result.rate, f"ties count half: {percent(result.ties)} of pairs"
    low, high = (f"{100 * bound:.1f}" for bound in (rate.low, rate.high))
    known = f"95% interval {low} to {high}%" if math.isfinite(rate.low) else "no interval from one task"
    return (
        f"On the same task an answer of {result.winner} scores higher than one of {result.loser} in "
        f"{percent(rate.point)} of pairs ({known}; {ties})."
    )


def sharper_or_abler(first: EvaluationRecord, last: EvaluationRecord, k: int) -> list[str]:
    """Whether ``last`` gained over an earlier model also with ``k`` attempts, or only in how often one is right."""
    single, many = try_compare(first, last), try_compare(first, last, k)
    if k == 1 or isinstance(single, str) or isinstance(many, str) or single.verdict != "improved":
        return []
    size = f"pass@{k} {PASSES.size(many.difference.point)}, {PASSES.band(many.difference)}"
    if many.verdict == "improved":
        return [f"With {k} attempts at each task, {many.after} solves more tasks than {many.before}: {size}."]
    what = "solves fewer tasks" if many.verdict == "worsened" else "does not clearly solve more tasks"
    return [
        f"Against {many.before}, {many.after} is right more often at the first attempt, but with {k} attempts it "
        f"{what} ({size}): it answers more consistently, but is not shown to be able to do more."
    ]


def progress(data: RunData) -> str:
    """How far a run is that has no end yet."""
    done = sum(1 for _ in {(row["stage"], row["step"]) for row in data.metrics})
    planned = [stage.get("steps") for stage in planned_stages(data.recipe)]
    counts = [steps for steps in planned if isinstance(steps, int)]
    of = f" of {sum(counts)}" if counts and len(counts) == len(planned) else ""
    return f"This run has not finished: {done}{of} steps are logged. The results may still change."


def doubts(data: RunData, summaries: Sequence[Summary]) -> list[str]:
    """What a careful reader should not conclude."""
    found = [
        "One training run with one seed: another seed may give another result. The intervals cover the choice of tasks "
        "only."
    ]
    found += [*_checks(data), *_alarms(data)]
    few = [one for one in summaries if one.tasks < FEW_TASKS]
    if few:
        sizes = ", ".join(f"{one.model} {one.tasks}" for one in few)
        found.append(f"Few held-out tasks ({sizes}): below {FEW_TASKS} the intervals are too narrow.")
    cut = [f"{percent(one.truncated)} of {one.model}" for one in summaries if one.truncated > 0.05]
    if cut:
        found.append(f"Attempts that were cut at a limit: {', '.join(cut)}. Right answers may be missing there.")
    for one in summaries:
        found += _evaluation_doubts(one)
    found += [f"{path} is named by no event yet, and left out." for path in data.integrity.pending]
    found += [f"Left out because it could not be read: {problem}." for problem in data.problems]
    return found


def _checks(data: RunData) -> list[str]:
    """What was found before training: by the doctor, by attacks on the reward, and that nothing kept graders in."""
    found = []
    doctor = mapping(data.doctor)
    bad = [mapping(one) for one in doctor.get("findings", ()) if mapping(one).get("level") in ("warn", "fail")]
    titles = "; ".join(text(one.get("title")).rstrip(".") for one in bad[:MOST])
    if bad:
        more = f"; and {len(bad) - MOST} more" if len(bad) > MOST else ""
        found.append(f"The doctor, before training: {text(doctor.get('verdict'))} {titles}{more}.")
    for card in data.cards:
        leaks = [mapping(one) for one in card.get("weaknesses", ()) if mapping(one).get("severity") != "note"]
        if leaks:
            worst = text(card.get("severity"))
            found.append(
                f"Attacks on the reward of {text(card.get('name'))} found {_counted(len(leaks), 'weakness', 'es')}, at "
                f"worst {worst}: answers that are not right earn something."
            )
    tiers = mapping(mapping(data.manifest).get("sandbox"))
    open_ones = [name for name in ("graders", "programs") if tiers.get(name) in UNSAFE]
    if open_ones:
        found.append(
            f"No sandbox: {' and '.join(open_ones)} ran with all rights of the user. What a model writes could have "
            "changed files or scores."
        )
    return found


def _alarms(data: RunData) -> list[str]:
    """Each alarm of training, critical ones first. What those say in full stands with the verdict."""
    ranked = sorted(data.alarms, key=lambda alarm: alarm["severity"] != "critical")
    found = [
        f"Critical alarm at step {alarm['step']} of {text(alarm['stage'])} ({text(alarm['signal'])}), as told above."
        if alarm["severity"] == "critical"
        else f"Warning at step {alarm['step']} of {text(alarm['stage'])}: {text(alarm['text'], 600)}"
        for alarm in ranked[:MOST]
    ]
    more = len(ranked) - MOST
    return [*found, f"{_counted(more, 'more alarm', 's')}: see below."] if more > 0 else found


def _counted(count: int, noun: str, ending: str) -> str:
    return f"{count} {noun}{ending if count != 1 else ''}"


def _evaluation_doubts(one: Summary) -> list[str]:
    found = []
    total = one.scored + sum(one.unscored.values())
    if one.unscored:
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(one.unscored.items()))
        left = one.pass_tasks.get(1, 0)
        words = f"{one.model}: {sum(one.unscored.values())} of {total} attempts got no score ({kinds}); they count "
        words += f"neither way, and {left} of {one.tasks} tasks remain."
        found.append(words + _bounds(one))
    if one.own_faults:
        kinds = ", ".join(f"{count} by {fault}" for fault, count in sorted(one.own_faults.items()))
        found.append(
            f"{one.model}: {sum(one.own_faults.values())} of {total} attempts earned 0 since they broke their "
            f"environment or kept the grader from grading them ({kinds})."
        )
    return found


def _bounds(one: Summary) -> str:
    """What the numbers are with attempts without a score left out, and with all of them as wrong."""
    if one.reward is None or one.reward_as_wrong is None or one.pass_at_1 is None:
        return ""
    least, point = percent(one.pass_as_wrong[1]), percent(one.pass_at_1.point)
    return (
        f" If they all were wrong, pass@1 would be {least} and not {point}, and the mean score "
        f"{one.reward_as_wrong:.3f} and not {one.reward.point:.3f}."
    )
