"""What lives show, in words for a terminal and a page. It computes nothing."""

from __future__ import annotations

import math

from togi.agents.voyager.attempt import Attempt
from togi.agents.voyager.findings import SMALLEST, SMALLEST_SHARE, Arms, Outcome, Told
from togi.agents.voyager.schema import ARMS, Arm
from togi.transcript import asked_told


def answer(outcome: Outcome) -> str:
    """The result in a sentence or two."""
    if not outcome.whole or not outcome.arms:
        return "Not all lives are over: nothing is compared yet."
    first, *others = outcome.arms
    said = f"A life with {ARMS[first.arm]} has found {number(first)} different items in {outcome.prompts} prompts."
    if not others:
        return said
    return said + _sentence([(ARMS[each.arm], each) for each in others], "more", "fewer", "lives")


def moved_told(outcome: Outcome) -> str:
    """What a library is worth in a new world."""
    if not outcome.moved or not outcome.whole:
        return ""
    first, *others = outcome.moved
    said = (
        f"In new worlds, with what a life with {ARMS[first.arm]} had kept, {shares(first)} of the goals were reached."
    )
    return said + _sentence([(ARMS[each.arm], each) for each in others], "more", "fewer", "what was kept by a life")


def _sentence(others: list[tuple[str, Arms]], more: str, fewer: str, what: str) -> str:
    better = [name for name, each in others if surely(each) and each.difference and each.difference.point > 0]
    worse = [name for name, each in others if surely(each) and each.difference and each.difference.point < 0]
    open_ = [name for name, each in others if not surely(each)]
    said = f" That is {more} than these: {'; '.join(better)}." if better else ""
    said += f" It is {fewer} than these: {'; '.join(worse)}." if worse else ""
    return said + (f" No difference is shown from: {'; '.join(open_)}." if open_ else "")


def surely(arm: Arms) -> bool:
    return arm.p <= 0.05


def claim(arm: Arms, *, share: bool = False) -> str:
    """What the difference of the first arm from another one says."""
    if arm.difference is None or math.isnan(arm.p):
        return "all lives alike" if arm.difference and arm.difference.seeds > 1 else "one life shows no spread"
    if surely(arm):
        return f"the first is {'better' if arm.difference.point > 0 else 'worse'} (p = {arm.p:.2g})"
    smallest = f"{100 * SMALLEST_SHARE:g} points" if share else f"{SMALLEST:g} item"
    within = arm.difference.p_within <= 0.05
    return f"equal within {smallest}" if within else f"no difference shown (p = {arm.p:.2g})"


def number(arm: Arms) -> str:
    low, high = arm.mean.low, arm.mean.high
    return f"{arm.mean.point:.1f}" + ("" if math.isnan(low) else f" ({max(0.0, low):.1f} to {high:.1f})")


def shares(arm: Arms) -> str:
    low, high = 100 * max(0.0, arm.mean.low), 100 * min(1.0, arm.mean.high)
    return f"{100 * arm.mean.point:.0f}%" + ("" if math.isnan(arm.mean.low) else f" ({low:.0f}% to {high:.0f}%)")


def counted(outcome: Outcome) -> list[str]:
    """What was found of all attempts, in sentences."""
    attempts = [one for each in outcome.told for one in each.attempts]
    if not attempts:
        return []
    ran = [one for one in attempts if not one.fault]
    ends = {end: sum(one.end == end for one in ran) for end in ("ok", "error", "time", "calls", "memory")}
    said = [
        f"{len(attempts)} skills were asked for: {len(attempts) - len(ran)} could not be read, {ends['error']} failed, "
        f"{ends['time']} were stopped by time, {ends['calls']} by calls, {ends['memory']} by memory; "
        f"{sum(one.reached for one in attempts)} reached their goal.",
        disagreement_told(outcome),
    ]
    believed = [one for each in outcome.lives("unverified") for one in each.attempts if one.done]
    if believed:
        wrong = sum(not one.reached for one in believed)
        said.append(f"Where nobody verified, {wrong} of {len(believed)} goals were taken for reached and were not.")
    chance = sum(
        goal[0].chosen == "chance"
        for each in outcome.lives()
        if each.lived.arm != "random_goals"
        for goal in each.goals
    )
    if chance:
        said.append(f"{chance} goals of planners were chosen by chance, since no item of the world was named.")
    return [line for line in [*said, *asked_told(outcome.lines)] if line]


def disagreement_told(outcome: Outcome) -> str:
    found = outcome.disagreement
    if not found.asked:
        return ""
    return (
        f"The critic judged {found.asked} attempts: it agreed with the state on {found.right}, said yes where the goal "
        f"was not reached {found.wrong_yes} times and no where it was {found.wrong_no} times; {found.unread} verdicts "
        "could not be read."
    )


def state_told(attempt: Attempt) -> str:
    """What became of an attempt, in a few words."""
    if attempt.fault:
        return f"no skill: {attempt.fault}"
    said = "reached" if attempt.reached else f"not reached: {attempt.note or attempt.end}"
    if attempt.critic is not None and attempt.critic != attempt.reached:
        said += f", and the critic said {'yes' if attempt.critic else 'no'}"
    return said + (f", kept as {attempt.kept}" if attempt.kept else "")


def tier_means(outcome: Outcome, arm: Arm) -> list[str]:
    """The mean over the lives that had one; how many those are stands beside it."""
    lives, cells = len(outcome.lives(arm)), list[str]()
    for tier in outcome.tiers:
        found = outcome.tier_prompts(arm, tier)
        cells.append(f"{sum(found) / len(found):.1f} ({len(found)} of {lives} lives)" if found else "never")
    return cells


def tier_cells(outcome: Outcome, told: Told) -> list[str]:
    """The prompt at which a life had its first item of each tier."""
    found = told.tiers()
    return [str(found[tier]) if tier in found else "" for tier in outcome.tiers]
