"""When a policy is lost: signs that stand by themselves, and stop a stage. It reads a stage's metrics and no rollout.

Other signals ask whether something has changed too far; these ask whether anything is left to learn from. Each compares
the last steps with what no healthy run comes to, and speaks only where the stage did not begin so. Few steps are
enough: too large a learning rate ruins a policy in two or three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from togi.evidence.during.metric_columns import Table
from togi.evidence.during.series_shift import FEWEST, Array, best_stretch, jitter, since, unit
from togi.evidence.during.signal_level import QUIET, TOO_FEW, UNMEASURED, Reading

FIRST, LAST = 3, 4
"""Steps that show how a stage began, and steps that must show a collapse. The first step is always still sound."""
NEARLY_ALL, FEW = 0.9, 0.3
"""The share of attempts that a collapse reaches, and the most that may have had the same fault at the start."""
SURE, OPEN = 0.005, 0.02
"""Nats a token: a policy below the first has one answer left, one above the second has several."""
SAME = 0.1
"""Spreads by which the reward of a policy that is sure may have moved and still count as what it was."""
CLEAR = 3.0
"""Standard errors, by the differences between tasks, that the reward of the first step lies above later ones."""
NOISE = 4.0
"""Nats a token that no readable text has: more than fifty tokens are equally likely at every place."""


def lost(table: Table) -> Reading:
    """The reward is far below its own best: half a spread of the attempts, and by far more than its noise."""
    if not table.has("reward"):
        return UNMEASURED
    if (text := _gone(table) or _ruined_at_once(table)) is not None:
        return _collapsed(text)
    reward, spread = table.known("reward", "reward_spread")
    if len(reward) < FEWEST:
        return TOO_FEW
    best = best_stretch(reward)
    fall, spreads = since(reward, best), unit(spread[best])
    # The best stretch was chosen among many, and its own steps may be alike by chance: neighbours tell the noise too.
    error = max(fall.error, jitter(reward))
    if fall.change > -0.5 * spreads or fall.change + 4 * error > -0.2 * spreads or table.better():
        return QUIET
    steps = f"steps {table.steps[best.start]} to {table.steps[best.stop - 1]}"
    return _collapsed(f"The reward fell far below its own best: {fall.before:.3g} in {steps}, {fall.now:.3g} now.")


def sure(table: Table) -> Reading:
    """Entropy is near zero, so that every attempt is the same, and the reward is lower than at the start.

    Where the reward is what it was, a task with one right answer may end so: that is a warning, and stops nothing.
    """
    ends = _ends(table, "sampled_entropy")
    if isinstance(ends, Reading):
        return ends
    before, now = float(ends[0].mean()), float(ends[1].mean())
    gain = _gain(table)
    if before < OPEN or now > min(SURE, before / 10) or gain is None or gain > SAME:
        return QUIET
    text = f"Entropy is near zero: {now:.2g} nats a token, {before:.2g} at the start{_reward(table)}."
    if gain < -SAME:
        return _collapsed(text)
    told = f"{text} Attempts at a task hardly differ, so little is left to learn from."
    early = len(table.steps) < FEWEST  # then nobody can say yet whether answers are better
    return QUIET if early or table.better() else Reading(state="warning", text=told)


def looping(table: Table) -> Reading:
    """Nearly every answer is one short text over and over."""
    return _ruined(table, "text/looping", "of attempts repeat one short text over and over")


def empty(table: Table) -> Reading:
    """Nearly every answer is empty."""
    return _ruined(table, "text/empty", "of attempts are empty")


def noise(table: Table) -> Reading:
    """Entropy is so high that answers are noise."""
    ends = _ends(table, "sampled_entropy")
    if isinstance(ends, Reading):
        return ends
    before, now = float(ends[0].min()), float(ends[1].mean())
    if now < max(NOISE, 4 * before) or table.better():
        return QUIET
    return _collapsed(f"Answers are noise: entropy is {now:.2g} nats a token, {before:.2g} at the start.")


COLLAPSES: Mapping[str, Callable[[Table], Reading]] = {
    "lost reward": lost,
    "no entropy": sure,
    "endless repetition": looping,
    "empty answers": empty,
    "noise": noise,
}


def _collapsed(text: str) -> Reading:
    return Reading(state="critical", text=text)


def _ends(table: Table, name: str) -> tuple[Array, Array] | Reading:
    """The first and the last steps of a metric, or why there are none."""
    if not table.has(name):
        return UNMEASURED
    (known,) = table.known(name)
    return (known[:FIRST], known[-LAST:]) if len(known) > LAST else TOO_FEW


def _gone(table: Table) -> str | None:
    """Every attempt scores the same, and less than at the start: no noise looks so, and few steps are enough."""
    reward, spread, top, flat = table.known("reward", "reward_spread", "reward_max", "frac_reward_zero_std")
    if len(reward) <= LAST or float(flat[-LAST:].min()) < 1 or table.better():
        return None
    first, now = int(reward[:FIRST].argmax()), float(reward[-LAST:].max())
    if top[-LAST:].max() >= top.max() or reward[first] - now < 0.5 * unit(spread[first : first + 1]):
        return None
    return f"No attempt is paid more than another one any more: {now:.3g} each, {reward[first]:.3g} at the start."


def _ruined_at_once(table: Table) -> str | None:
    """The first step, whose policy is still the one that the stage began with, earned far more than any after the
    first few."""
    reward, error, spread = table.known("reward", "reward_error", "reward_spread")
    if len(reward) < FIRST + LAST or table.better():
        return None
    fall = reward[0] - float(reward[FIRST:].max())
    # Tasks that happen to score alike in one step say nothing of their differences: the larger error counts.
    of_a_step = max(float(error[0]), float(error[-LAST:].mean()), float(error.mean()))
    if fall < 0.5 * unit(spread) or fall < CLEAR * of_a_step:
        return None
    top = reward[FIRST:].max()
    return f"The reward was {reward[0]:.3g} in the first step, and since step {table.steps[FIRST]} at most {top:.3g}."


def _taken_over(ends: tuple[Array, Array]) -> bool:
    """Whether a fault is nearly everywhere that was rare at the start."""
    return float(ends[1].mean()) >= NEARLY_ALL and float(ends[0].min()) <= FEW


def _ruined(table: Table, name: str, what: str) -> Reading:
    """A fault of the text itself. A reward that rises is no excuse for it: only the truth or the rule is."""
    ends = _ends(table, name)
    if isinstance(ends, Reading):
        return ends
    if not _taken_over(ends) or table.better():
        return QUIET
    return _collapsed(f"{ends[1].mean():.0%} {what} ({ends[0].min():.0%} at the start){_reward(table)}.")


def _gain(table: Table) -> float | None:
    """How far the reward rose since the start, in spreads; None where that is not known, or half of all tasks are at
    their best."""
    reward, spread, top, at_best = table.known("reward", "reward_spread", "reward_max", "frac_groups_at_best")
    solved = at_best * (top >= np.maximum.accumulate(top) - 1e-6)
    if len(reward) <= LAST or float(solved[-LAST:].mean()) >= 0.5:
        return None
    return float(reward[-LAST:].mean() - reward[:FIRST].mean()) / unit(spread[:FIRST])


def _reward(table: Table) -> str:
    """What became of the reward meanwhile, as the end of a sentence."""
    (reward,) = table.known("reward")
    if len(reward) <= LAST:
        return ""
    return f", and the reward went from {reward[0]:.3g} to {reward[-LAST:].mean():.3g}"
