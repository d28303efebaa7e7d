"""What a few attempts in an environment of several turns show before training: turns, ends, and what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from togi.evidence.findings import Finding
from togi.types import Group, Stop, Trajectory

UNREADABLE = 0.3  # of the calls or actions: more is a model that has not been taught the form
LIMITS: Mapping[Stop, str] = {
    "context": "filled the model's context",
    "turns": "used up their turns",
    "tokens": "used up their tokens",
}
CALLS, FAILED, UNREAD = "calls", "calls_failed", "calls_unreadable"


def episode_findings(groups: Sequence[Group]) -> list[Finding]:
    """Nothing where no attempt was played."""
    played = [each for group in groups for each in group.trajectories if each.turns]
    if not played:
        return []
    turns = [len(each.turns) for each in played]
    tokens = fmean(len(turn.completion) for each in played for turn in each.turns)
    title = f"attempts take {min(turns)} to {max(turns)} turns, {fmean(turns):.1f} on average, of {tokens:.0f} tokens"
    found = [Finding(level="ok", title=title), *_ends(played)]
    if counted := _counted(played):
        told = ", ".join(f"{name} {mean:.2f}" for name, mean in counted.items())
        found.append(Finding(level="ok", title=f"counted an attempt: {told}"))
    return found + _calls(counted)


def _ends(played: Sequence[Trajectory]) -> list[Finding]:
    """Whether attempts end by themselves, or at which limits."""
    stops = Counter(each.stop for each in played if each.stop in LIMITS)
    if not stops:
        return []
    told = ", ".join(f"{count} {LIMITS[stop]}" for stop, count in stops.most_common())
    advice = "what comes after the limit is not learned: raise it, or let the environment end sooner"
    if stops.total() == len(played):
        advice = "does the environment ever end an attempt (done)? Every one of them ran until a limit cut it"
    return [Finding(level="warn", title=f"of {len(played)} attempts {told}", advice=advice)]


def _counted(played: Sequence[Trajectory]) -> dict[str, float]:
    names = dict.fromkeys(name for each in played for name in each.counts)
    return {name: fmean(each.counts.get(name, 0.0) for each in played) for name in names}


def _calls(counted: dict[str, float]) -> list[Finding]:
    """Whether the model uses its tools at all, and can."""
    if CALLS not in counted:
        return []
    teach = "show it some conversations with calls first, in a stage of sft (docs/tools.md)"
    if not counted[CALLS]:
        return [Finding(level="warn", title="the model called no tool in any attempt", advice=teach)]
    if counted[UNREAD] > UNREADABLE * counted[CALLS]:
        share = counted[UNREAD] / counted[CALLS]
        return [Finding(level="warn", title=f"{share:.0%} of its calls cannot be read", advice=teach)]
    if counted[FAILED] > UNREADABLE * counted[CALLS]:
        share = counted[FAILED] / counted[CALLS]
        advice = "look at some in the rollouts: are the tools described well enough?"
        return [Finding(level="warn", title=f"{share:.0%} of its calls fail", advice=advice)]
    return []
