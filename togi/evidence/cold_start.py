"""Can the base model do the task at all? From a sample of its attempts to findings; it plays nothing and loads nothing.

A group learns only from differences: when all attempts at a task score the same, its advantages are zero. So what
decides over the first steps is the share of groups whose scores differ, and what makes them equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from togi.evidence.evaluate import from_groups
from togi.evidence.finding import Finding, Level
from togi.evidence.summary import Summary, summary
from togi.evidence.visible import shortened
from togi.records import conversation, group_rewards, is_truncated
from togi.statistics import Interval
from togi.types import Group, Sampling, Trajectory

SAME = 1e-6  # scores closer than this give no advantage
FEW_SIGNALS, FEW_WELL_FORMED, MANY_CUT, MANY_UNSCORED = 0.25, 0.5, 0.2, 0.05

Wanted = Callable[[Trajectory, Mapping[str, float]], bool]


def cold_start(groups: Sequence[Group], sampling: Sampling, *, taught_before: str | None = None) -> list[Finding]:
    """What a sample of groups says of a stage's first steps.

    ``taught_before`` names a stage that trains the model before this one; what it may still mend is then a warning.
    """
    if not groups or not any(group.trajectories for group in groups):
        raise ValueError("a cold start is judged from attempts, got none")
    attempts = max(len(group.trajectories) for group in groups)
    one = summary(from_groups(groups, attempts, model="base", step=0, sampling=sampling))
    fatal: Level = "fail" if taught_before is None else "warn"
    if not one.scored:
        return [_unscored(groups, one, "fail")]
    found = [_passing(one), _signal(groups, fatal, taught_before)]
    if one.well_formed is not None:
        found.append(_form(groups, one.well_formed, taught_before))
    found.append(_cut(groups, one, sampling, taught_before))
    if one.unscored:
        found.append(_unscored(groups, one, "warn"))
    alike = _alike(groups)
    if alike is not None:
        found.append(alike)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if 0.1 <= share <= 0.9 or share in (0, 1) else f"{100 * share:.1f}%"


def _around(interval: Interval) -> str:
    if interval.low != interval.low:
        return _percent(interval.point)
    return f"{_percent(interval.point)} (95% interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _passing(one: Summary) -> Finding:
    most = max(one.pass_at)
    reward = "" if one.reward is None else f", mean reward {one.reward.point:.3f}"
    return Finding(
        level="ok",
        title=f"pass@1 is {_around(one.pass_at[1])}, pass@{most} is {_around(one.pass_at[most])}",
        detail=f"{one.tasks} tasks × {one.attempts} attempts, mean length {one.length_mean:.0f} tokens{reward}",
    )


def _signal(groups: Sequence[Group], fatal: Level, taught_before: str | None) -> Finding:
    scored = [rewards for rewards in map(group_rewards, groups) if rewards.size]
    differ = sum(float(np.ptp(rewards)) >= SAME for rewards in scored)
    everything = np.concatenate(scored)
    title = f"{differ} of {len(scored)} groups carry a signal"
    detail = "a group carries a signal when its attempts score differently"
    if float(np.ptp(everything)) < SAME:
        detail = f"the reward never differs: all {everything.size} scored attempts got {everything[0]:.3g}"
    if differ == 0:
        before = "" if taught_before is None else f"stage {taught_before} may mend this before; if it does not, "
        return Finding(level=fatal, title=title, detail=detail, advice=before + _remedy(scored))
    if differ / len(scored) < FEW_SIGNALS:
        return Finding(level="warn", title=title, detail=detail, advice=_remedy(scored))
    return Finding(level="ok", title=title, detail=detail)


def _remedy(scored: Sequence[NDArray[np.float64]]) -> str:
    """What to do about groups without a signal, by which end they are stuck at."""
    flat = [rewards for rewards in scored if float(np.ptp(rewards)) < SAME]
    full = sum(bool(rewards[0] >= 1 - SAME) for rewards in flat)
    if full > len(flat) / 2:
        return "most tasks are solved every time: make the task harder, or leave the easy ones out"
    return "train the form first, make the task easier, or sample more attempts a task"


def _form(groups: Sequence[Group], share: float, taught_before: str | None) -> Finding:
    title = f"{_percent(share)} of attempts are well-formed"
    if share >= FEW_WELL_FORMED:
        return Finding(level="ok", title=title)
    wrong = _example(groups, "is not well-formed", lambda _, parts: parts.get("form", 1.0) < 1)
    advice = "teach the form with an SFT stage first, or show an example of it in the prompt"
    if taught_before is not None:
        advice = f"stage {taught_before} should teach the form; look at it again after that stage"
    return Finding(level="warn", title=title, detail=wrong, advice=advice)


def _cut(groups: Sequence[Group], one: Summary, sampling: Sampling, taught_before: str | None) -> Finding:
    title = f"{_percent(one.truncated)} of completions were cut at max_tokens={sampling.max_tokens}"
    if one.truncated <= MANY_CUT:
        return Finding(level="ok", title=title)
    advice = "raise max_tokens, or ask for shorter answers"
    if one.truncated == 1:
        title = f"the model never ended its answer within max_tokens={sampling.max_tokens}"
        advice = "raise max_tokens, ask for shorter answers, or teach it to end with an SFT stage; check its end token"
    if taught_before is not None:
        advice = f"stage {taught_before} should teach it to end; if it does not, {advice}"
    detail = _example(groups, "was cut", lambda trajectory, _: is_truncated(trajectory))
    return Finding(level="warn", title=title, detail=detail, advice=advice)


def _unscored(groups: Sequence[Group], one: Summary, level: Level) -> Finding:
    lost = sum(one.unscored.values())
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(one.unscored.items()))
    notes = Counter(score.note for group in groups for score in group.scores if score.status != "ok" and score.note)
    most = notes.most_common(1)
    detail = f"most often: {shortened(most[0][0], 200)}" if most else ""
    if lost <= MANY_UNSCORED * (lost + one.scored):
        return Finding(
            level="ok", title=f"{lost} of {lost + one.scored} attempts got no score ({kinds})", detail=detail
        )
    return Finding(
        level=level,
        title=f"{lost} of {lost + one.scored} attempts got no score ({kinds})",
        detail=detail,
        advice="they are left out of training: make the reward answer for every completion, and within its time",
    )


def _alike(groups: Sequence[Group]) -> Finding | None:
    """Attempts that are copies of each other waste the sampling and carry no signal."""
    many = [group for group in groups if len(group.trajectories) > 1]
    texts = [{conversation(trajectory) for trajectory in group.trajectories} for group in many]
    same = sum(len(group) == 1 for group in texts)
    if not many or same <= len(many) / 2:
        return None
    return Finding(
        level="warn",
        title=f"in {same} of {len(many)} groups all attempts are word for word the same",
        advice="raise the temperature: equal attempts cannot be compared",
    )


def _example(groups: Sequence[Group], what: str, wanted: Wanted) -> str:
    for group in groups:
        for trajectory, score in zip(group.trajectories, group.scores, strict=True):
            if score.status == "ok" and wanted(trajectory, score.parts):
                text = " ".join(conversation(trajectory).split())
                return f"this one {what} (task {shortened(group.task.id, 60)}): {shortened(text, 240)}"
    return ""
