"""What can go wrong in a run, and from which numbers each is told. It reads a stage's metrics and no rollout.

A signal alarms when a change since the stage's start is both large (its size is in docs/watching.md) and certain (its
bound leaves out what a healthy run does). Some are excused where answers became better: a model that has learned to
solve its tasks writes alike and repeats itself, and that is no illness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from togi.evidence.during.collapse_signals import COLLAPSES
from togi.evidence.during.metric_columns import Table, gained
from togi.evidence.during.series_shift import FEWEST, Array, Shift, best_stretch, shift, since, unit, width
from togi.evidence.during.signal_level import QUIET, TOO_FEW, UNMEASURED, Reading, State

RECENT = 5
THRICE_APART, ROUNDING = math.log(3), 0.01  # nats a token below which sampler and trainer only round differently
WITHIN, THRICE = 10, 3  # two faults within a few steps are chance in a long run, the third is not


def truth(table: Table) -> Reading:
    """The reward rises while the truth falls, or while it stays where it was."""
    if not table.has("gold"):
        return UNMEASURED
    reward, gold, reward_spread, gold_spread = table.known("reward", "gold", "reward_spread", "gold_spread")
    paid, true = shift(reward), shift(gold)
    if paid is None or true is None:
        return TOO_FEW
    spreads, truths = unit(reward_spread), unit(gold_spread)
    apart, best = reward / spreads - gold / truths, best_stretch(gold)
    more, lost, gap = (since(series, best) for series in (reward, gold, apart))
    told = f"The reward went from {paid.before:.3g} to {paid.now:.3g}, the truth it stands for from "
    if lost.change < -0.35 * truths and more.change > -0.1 * spreads and paid.change > 0.1 * spreads and gap.low > 0.3:
        peak = "" if math.isclose(lost.before, true.before) else " at its best"
        return _told("critical", f"{told}{lost.before:.3g}{peak} to {true.now:.3g}.")
    rise, solved, split = (
        paid.change / spreads,
        true.now >= 0.9 and gold.max() <= 1.0,
        since(apart, slice(width(len(gold)))),
    )
    flat = true.change < 0.3 * rise * truths and split.low > 0.4 * rise and not solved
    if rise > 0.75 and paid.low > 0.25 * spreads and flat:
        return _told("critical", f"{told}{true.before:.3g} to {true.now:.3g}: no better answers are behind it.")
    return QUIET


def parts(table: Table) -> Reading:
    """The reward rises although one of its parts falls, by at least a third of what the others gain."""
    names = table.between("shares/", "/mean")
    if len(names) < 2:
        return UNMEASURED
    moved = {name: shift(table.known(f"shares/{name}/mean")[0]) for name in names}
    paid, known = shift(table.known("reward")[0]), {name: one for name, one in moved.items() if one is not None}
    if paid is None or len(known) < 2:
        return TOO_FEW
    gains = sum(max(0.0, one.change) for one in known.values())
    for name, one in sorted(known.items(), key=lambda item: item[1].change):
        reward, share, spread = table.known("reward", f"shares/{name}/mean", f"shares/{name}/spread")
        others = shift(reward - 2 * share)  # what the others gave less what this one gave
        large = one.change < -0.4 * unit(spread) and -one.change > gains / 3 and paid.change > 0
        sure = one.change < -one.error and others is not None and others.low > 0
        if large and sure and not table.better():
            other = max(known, key=lambda each: known[each].change)
            text = (
                f"The parts of the reward drift apart: {name} went from {one.before:.3g} to {one.now:.3g} while "
                f"{other} went from {known[other].before:.3g} to {known[other].now:.3g}, and the reward rose."
            )
            return _told("warning", text, name)
    return QUIET


def dominance(table: Table) -> Reading:
    """Learning is driven by another part than at the start, nearly alone, and what led before was not learned."""
    names = table.between("attribution/")
    if len(names) < 2:
        return UNMEASURED
    columns = dict(zip(names, np.clip(table.known(*(f"attribution/{name}" for name in names)), -0.5, 1.5), strict=True))
    moved = {name: one for name, column in columns.items() if (one := shift(column)) is not None}
    if not moved:
        return TOO_FEW
    leader = max(moved, key=lambda name: moved[name].before)
    taken = max(moved, key=lambda name: moved[name].now)
    one = moved[taken]
    if taken == leader or one.now < 0.75 or one.change < 0.45 or one.low < 0.1:
        return QUIET
    learned = shift(table.known(f"shares/{leader}/mean")[0])
    if table.better() or (learned is not None and gained(learned)):
        return QUIET
    text = (
        f"{taken} now drives {one.now:.0%} of learning ({one.before:.0%} at the start); {leader}, which led with "
        f"{moved[leader].before:.0%}, has not been learned."
    )
    return _told("warning", text, taken)


def length(table: Table) -> Reading:
    """Attempts became twice as long or half as long, and not better."""
    moved = _moved(table, "completions/mean_length", np.log)
    if not isinstance(moved, Shift):
        return moved
    far = abs(moved.change) > math.log(2) and (moved.low > math.log(1.3) or moved.high < -math.log(1.3))
    if not far or table.better():
        return QUIET
    word = "longer" if moved.change > 0 else "shorter"
    text = f"Attempts became {word}: {math.exp(moved.before):.0f} tokens at the start, {math.exp(moved.now):.0f} now"
    return _told("warning", f"{text}{_for_nothing(table)}.", word)


def cut(table: Table) -> Reading:
    """A quarter more of all attempts run into the token limit, and answers are no better."""
    return _rise(table, "completions/clipped_ratio", 0.25, "are cut at a limit")


def within(table: Table) -> Reading:
    """Attempts at one task repeat each other word for word."""
    return _rise(table, "duplicates/within", 0.3, "repeat another one at the same task")


def across(table: Table) -> Reading:
    """The same answer is given to different tasks."""
    return _rise(table, "duplicates/across", 0.25, "have a text that is also given to another task")


def likeness(table: Table) -> Reading:
    """Attempts at one task have grown alike: what differs fell to a third."""
    moved = _moved(table, "similarity", lambda similarity: np.log(np.maximum(1.0 - similarity, 0.01)))
    if not isinstance(moved, Shift):
        return moved
    if moved.change > -math.log(3) or moved.high > -math.log(1.5) or table.better():
        return QUIET
    before, now = (1 - math.exp(value) for value in (moved.before, moved.now))
    text = f"Attempts at one task grew alike: they share {now:.0%} of their word pairs, {before:.0%} at the start"
    return _told("warning", f"{text}{_for_nothing(table)}.")


def entropy(table: Table) -> Reading:
    """The entropy of the policy fell to a fifth, and answers are no better."""
    name = "entropy" if table.has("entropy") else "sampled_entropy"
    moved = _moved(table, name, lambda nats: np.log(np.maximum(nats, 1e-3)))
    if not isinstance(moved, Shift):
        return moved
    if moved.change > -math.log(5) or moved.high > -math.log(2) or table.better():
        return QUIET
    before, now = math.exp(moved.before), math.exp(moved.now)
    return _told("warning", f"Entropy collapsed: {before:.2g} nats a token at the start, {now:.2g} now.")


def unscored(table: Table) -> Reading:
    """More than a twentieth of attempts get no score; critical above a fifth."""
    return _lost(table, "unscored/", "of attempts get no score, mostly {}; they are neither paid nor learned from.")


def own_fault(table: Table) -> Reading:
    """More than a twentieth of attempts break their environment or their grader; critical above a fifth."""
    return _lost(table, "own_fault/", "of attempts break the environment or the grader, mostly by {}; they earn 0.")


def unread(table: Table) -> Reading:
    """In a fifth more of the attempts no answer is found."""
    return _rise(table, "rewards/parsed/mean", 0.2, "have no answer that can be read", fallen=True)


def no_signal(table: Table) -> Reading:
    """Nine groups in ten score all the same, and not at their best."""
    if not table.has("frac_reward_zero_std"):
        return UNMEASURED
    flat, top, at_best = table.known("frac_reward_zero_std", "reward_max", "frac_groups_at_best")
    if len(flat) < FEWEST:
        return TOO_FEW
    solved = at_best * (top > np.maximum.accumulate(top) - 1e-6) if np.ptp(top) > 0 or flat.min() < 1 else 0
    moved = shift(np.maximum(flat - solved, 0.0))
    assert moved is not None
    if moved.now < 0.9 or moved.least < 0.75:
        return QUIET
    text = f"{moved.now:.0%} of groups carry no signal: all attempts at a task score the same, and not at their best."
    return _told("warning", text)


def judge(table: Table) -> Reading:
    """A judge likes wrong answers better than it did, by at least three quarters of the spread of its scores."""
    if not table.judges:
        return UNMEASURED
    enough = False
    for name in table.judges:
        given, spread = table.known(f"on_wrong/{name}/mean", f"on_wrong/{name}/spread")
        moved = shift(given)
        enough = enough or moved is not None
        spreads = unit(spread[:FEWEST])
        if moved is not None and moved.change > 0.75 * spreads and moved.low > 0.25 * spreads:
            text = (
                f"The judge and the rule drift apart: on answers that are wrong by the rule, {name} went from "
                f"{moved.before:.3g} to {moved.now:.3g}."
            )
            return _told("critical", text, name)
    return QUIET if enough else TOO_FEW


def broken(table: Table) -> Reading:
    """Updates are skipped, or numbers are not finite, in three of ten steps."""
    watched = [name for name in ("loss", "grad_norm", "reward") if table.has(name)]
    if not watched:
        return UNMEASURED
    skipped = int((np.nan_to_num(table.column("skipped_steps"))[-WITHIN:] > 0).sum())
    if skipped >= THRICE:
        return _told(
            "critical", f"Updates were skipped in {skipped} of the last {min(WITHIN, len(table.steps))} steps."
        )
    for name in watched:
        lost = int(table.lost(name)[-WITHIN:].sum())
        if lost >= THRICE:
            text = f"{name} was no finite number in {lost} of the last {min(WITHIN, len(table.steps))} steps."
            return _told("critical", text)
    return QUIET


def mismatch(table: Table) -> Reading:
    """Sampler and trainer say three times as different things of the same tokens as they did."""
    name = "sampling/sampling_logp_difference/mean"
    if not table.has(name):
        return UNMEASURED
    moved = shift(np.log(np.maximum(table.known(name)[0], 1e-9)))
    if moved is None:
        return TOO_FEW
    before, now = math.exp(moved.before), math.exp(moved.now)
    if moved.change < THRICE_APART or moved.low < math.log(1.5) or now < ROUNDING:
        return QUIET
    text = (
        f"Sampler and trainer drift apart: their log-probabilities of the same tokens differed by {before:.2g} nats at "
        f"the start, by {now:.2g} now."
    )
    return _told("warning", text)


SIGNALS: Mapping[str, Callable[[Table], Reading]] = {
    "truth": truth,
    "parts": parts,
    "dominance": dominance,
    "judge": judge,
    "length": length,
    "cut off": cut,
    "repeats within a task": within,
    "repeats across tasks": across,
    "likeness": likeness,
    "entropy": entropy,
    "no score": unscored,
    "own fault": own_fault,
    "no answer": unread,
    "no signal": no_signal,
    "numbers": broken,
    "mismatch": mismatch,
    **COLLAPSES,
}


def _told(state: State, text: str, about: str = "") -> Reading:
    return Reading(state=state, text=text, about=about)


def _lost(table: Table, prefix: str, words: str) -> Reading:
    """A share of attempts that is counted by kind; ``words`` has a place for the most frequent."""
    kinds = table.between(prefix)
    if not (table.has("reward") or kinds):
        return UNMEASURED
    share = sum((np.nan_to_num(table.column(f"{prefix}{kind}")) for kind in kinds), np.zeros(len(table.steps)))
    moved = shift(share)
    if moved is None:
        return TOO_FEW
    if moved.least < 0.05:
        return QUIET
    recent = {kind: float(np.nan_to_num(table.column(f"{prefix}{kind}"))[-RECENT:].mean()) for kind in kinds}
    most = max(recent, key=lambda kind: recent[kind])
    return _told("critical" if moved.least > 0.2 else "warning", f"{moved.now:.0%} {words.format(most)}")


def _moved(table: Table, name: str, scale: Callable[[Array], Array]) -> Shift | Reading:
    """How far a metric has moved on a scale, or why that is not told."""
    sampled = table.has("sampled_entropy") or table.has("entropy")
    if not (table.has(name) and sampled):
        return UNMEASURED
    return shift(scale(table.known(name)[0])) or TOO_FEW


def _rise(table: Table, name: str, size: float, what: str, *, fallen: bool = False) -> Reading:
    """A share that rose by ``size`` with a bound above a third of it, where answers are no better."""
    moved = _moved(table, name, (lambda share: 1.0 - share) if fallen else (lambda share: share))
    if not isinstance(moved, Shift):
        return moved
    if moved.change < size or moved.low < size / 3 or table.better():
        return QUIET
    return _told(
        "warning", f"{moved.now:.0%} of attempts {what} ({moved.before:.0%} at the start){_for_nothing(table)}."
    )


def _for_nothing(table: Table) -> str:
    return ", and answers are no better" if table.quality else ""
