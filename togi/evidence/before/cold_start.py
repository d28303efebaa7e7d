"""Can the base model do the task at all? From a sample of its attempts to findings; it plays nothing and loads nothing.

A group learns only from differences: when all attempts at a task score the same, its advantages are zero. So what
decides over the first steps is the share of groups whose scores differ, and what makes them equal. Whether attempts are
right is only known where the reward says so, in the part ``correct``; how much a value is, nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from togi.evidence.after.evaluation_summary import Summary, summary
from togi.evidence.after.play_evaluation import from_groups
from togi.evidence.findings import Finding, Level
from togi.harmless_text import shortened
from togi.records import conversation, group_rewards, is_truncated
from togi.statistics import Interval
from togi.types import Group, Sampling, Score, Trajectory

SAME = 1e-6  # scores closer than this give no advantage
FEW_SIGNALS, FEW_WELL_FORMED, MANY_CUT, MANY_UNSCORED = 0.25, 0.5, 0.2, 0.05

Wanted = Callable[[Trajectory, Mapping[str, float]], bool]
End = Literal["right", "wrong", "unknown"]


def cold_start(
    groups: Sequence[Group],
    sampling: Sampling,
    *,
    taught_before: str | None = None,
    alone: bool = False,
    drops_cut: bool = False,
) -> list[Finding]:
    """What a sample of groups says of a stage's first steps.

    ``taught_before`` names a stage that trains the model before this one; what it may still mend is then a warning.
    ``alone`` says that the stage makes one attempt at a task and compares it with those at other tasks, ``drops_cut``
    that it learns nothing from attempts that were cut at ``max_tokens``.
    """
    groups = [group for group in groups if group.trajectories]  # a player who never acted says nothing
    if not groups:
        raise ValueError("a cold start is judged from attempts, got none")
    attempts = max(len(group.trajectories) for group in groups)
    one = summary(from_groups(groups, attempts, model="base", step=0, sampling=sampling))
    fatal: Level = "fail" if taught_before is None else "warn"
    if not one.scored:
        return [_unscored(groups, one, "fail")]
    found = [_passing(groups, one), _signal(groups, fatal, taught_before, alone)]
    parts = _only_other_parts(groups)
    if parts:
        found.append(parts)
    if one.well_formed is not None:
        found.append(_form(groups, one.well_formed, taught_before))
    found.append(_cut(groups, sampling, taught_before, drops_cut))
    if one.unscored:
        found.append(_unscored(groups, one, "warn"))
    if one.own_faults:
        found.append(_own_faults(groups, one))
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


def _passing(groups: Sequence[Group], one: Summary) -> Finding:
    values = np.concatenate([group_rewards(group) for group in groups])
    size = f"{one.tasks} tasks × {one.attempts} attempts, mean length {one.length_mean:.0f} tokens"
    if not _says_what_is_right(groups) and not set(values) <= {0.0, 1.0}:
        title = f"the mean reward is {values.mean():.3g}, from {values.min():.3g} to {values.max():.3g}"
        return Finding(level="ok", title=title, detail=f"{size}; the reward does not say which attempts are right")
    most = max(one.pass_at)
    reward = "" if one.reward is None else f", mean reward {one.reward.point:.3f}"
    title = f"pass@1 is {_around(one.pass_at[1])}, pass@{most} is {_around(one.pass_at[most])}"
    return Finding(level="ok", title=title, detail=size + reward)


def _signal(groups: Sequence[Group], fatal: Level, taught_before: str | None, alone: bool) -> Finding:
    scored = [group for group in groups if group_rewards(group).size]
    everything = np.concatenate([group_rewards(group) for group in scored])
    flat = [group for group in scored if float(np.ptp(group_rewards(group))) < SAME]
    differ = len(scored) - len(flat)
    title = f"{differ} of {len(scored)} groups carry a signal"
    detail = "a group carries a signal when its attempts score differently"
    if float(np.ptp(everything)) < SAME:
        detail = f"the reward never differs: all {everything.size} scored attempts got {everything[0]:.3g}"
    elif alone:
        title = f"attempts are paid differently, from {everything.min():.3g} to {everything.max():.3g}"
        detail = "this stage makes one attempt at a task and compares it with those at other tasks"
        return Finding(level="ok", title=title, detail=detail)
    if differ == 0:
        before = "" if taught_before is None else f"stage {taught_before} may mend this before; if it does not, "
        return Finding(level=fatal, title=title, detail=detail, advice=before + _remedy(flat, everything))
    if differ / len(scored) < FEW_SIGNALS:
        return Finding(level="warn", title=title, detail=detail, advice=_remedy(flat, everything))
    return Finding(level="ok", title=title, detail=detail)


def _remedy(flat: Sequence[Group], everything: NDArray[np.float64]) -> str:
    """What to do about groups without a signal, by which end they are stuck at."""
    ends = Counter(_end(group, everything) for group in flat)
    if ends["right"] > len(flat) / 2:
        return "most tasks are solved every time: make the task harder, or leave the easy ones out"
    if ends["unknown"] > len(flat) / 2:
        return (
            "look with togi preview what good and bad answers are paid; make the reward tell apart what the model "
            "writes, raise the temperature, or sample more attempts a task"
        )
    return "train the form first, make the task easier, or sample more attempts a task"


def _end(group: Group, everything: NDArray[np.float64]) -> End:
    """Whether a group's attempts, all paid alike, are right or wrong; a value says so on the scale from 0 to 1 only."""
    correct = [score.parts["correct"] for score in group.scores if score.status == "ok" and "correct" in score.parts]
    if correct:
        return "right" if min(correct) >= 1.0 else "wrong"
    value = group_rewards(group)[0]
    if everything.min() >= 0.0 and everything.max() <= 1.0 + SAME and (value <= SAME or value >= 1.0 - SAME):
        return "right" if value >= 1.0 - SAME else "wrong"
    return "unknown"


def _says_what_is_right(groups: Sequence[Group]) -> bool:
    return any("correct" in score.parts for group in groups for score in group.scores)


def _only_other_parts(groups: Sequence[Group]) -> Finding | None:
    """Whether attempts are paid differently although none is right."""
    scored = [[score for score in group.scores if score.status == "ok"] for group in groups]
    correct = [score.parts["correct"] for scores in scored for score in scores if "correct" in score.parts]
    names = sorted({name for scores in scored for score in scores for name in score.shares})
    differ = [name for name in names if any(_spread(scores, name) >= SAME for scores in scored if scores)]
    if not correct or max(correct) > 0.0 or not differ:
        return None
    return Finding(
        level="warn",
        title=f"no attempt is right, and attempts differ only in {' and '.join(differ)}",
        detail="so this is all that the first steps can teach",
        advice="if it is no step towards right answers, make the task easier, teach it with an SFT stage first, or "
        "gate by it instead of adding it",
    )


def _spread(scores: Sequence[Score], name: str) -> float:
    return float(np.ptp([score.shares.get(name, 0.0) for score in scores]))


def _form(groups: Sequence[Group], share: float, taught_before: str | None) -> Finding:
    title = f"{_percent(share)} of attempts are well-formed"
    if share >= FEW_WELL_FORMED:
        return Finding(level="ok", title=title)
    wrong = _example(groups, "is not well-formed", lambda _, parts: parts.get("form", 1.0) < 1)
    advice = "teach the form with an SFT stage first, or show an example of it in the prompt"
    if taught_before is not None:
        advice = f"stage {taught_before} should teach the form; look at it again after that stage"
    return Finding(level="warn", title=title, detail=wrong, advice=advice)


def _cut(groups: Sequence[Group], sampling: Sampling, taught_before: str | None, drops_cut: bool) -> Finding:
    """Attempts whose turns or tokens were used up are told with their episodes."""
    played = [each for group in groups for each in group.trajectories]
    cut = sum(is_truncated(each) and each.stop not in ("turns", "tokens") for each in played) / len(played)
    title = f"{_percent(cut)} of completions were cut at max_tokens={sampling.max_tokens}"
    if cut <= MANY_CUT:
        return Finding(level="ok", title=title)
    advice = "raise max_tokens, or ask for shorter answers"
    level: Level = "warn"
    if drops_cut:
        title += ", and drop_truncated learns nothing from these"
    if cut == 1:
        title = f"the model never ended its answer within max_tokens={sampling.max_tokens}"
        advice = "raise max_tokens, ask for shorter answers, or teach it to end with an SFT stage; check its end token"
        if drops_cut:
            title += ", and drop_truncated learns nothing from attempts that are cut"
            level = "fail" if taught_before is None else "warn"
    if taught_before is not None:
        advice = f"stage {taught_before} should teach it to end; if it does not, {advice}"
    detail = _example(groups, "was cut", lambda trajectory, _: is_truncated(trajectory))
    return Finding(level=level, title=title, detail=detail, advice=advice)


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


def _own_faults(groups: Sequence[Group], one: Summary) -> Finding:
    lost, total = sum(one.own_faults.values()), one.scored + sum(one.unscored.values())
    kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(one.own_faults.items()))
    note = next(score.note for group in groups for score in group.scores if score.own_fault)
    return Finding(
        level="warn" if lost > MANY_UNSCORED * total else "ok",
        title=f"{lost} of {total} attempts broke the environment or the grader and earned 0 ({kinds})",
        detail=f"the first: {shortened(note, 200)}",
        advice="look whether right answers are among them; if so, raise the limits, or mend the environment or grader"
        if lost > MANY_UNSCORED * total
        else "",
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
