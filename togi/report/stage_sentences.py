"""What the log of a stage tells in sentences, its end against its beginning. It knows metric names and no page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from togi.evidence.read_run import Json, RunData
from togi.run_folder.best_weights import chosen_steps, in_words
from togi.short_values import percent

ENOUGH_STEPS = 10  # below this, the ends of a curve are noise


def observations(data: RunData, stage: str) -> list[str]:
    """What the log of a stage tells at its end, against its beginning."""
    rows = [row for row in data.metrics if row["stage"] == stage]
    found = _chosen(data, stage, len(rows))
    first, last = _ends(rows, "reward")
    if first is not None and last is not None and len(rows) >= ENOUGH_STEPS and sampled(data, stage):
        found.append(f"Mean training reward went from {first:.3g} to {last:.3g} (first and last fifth of the steps).")
    _, flat = _ends(rows, "frac_reward_zero_std")
    if flat is not None and flat > 0.5 and sampled(data, stage):
        found.append(f"At the end {percent(flat)} of groups taught nothing: all attempts at a task scored the same.")
    _, cut = _ends(rows, "completions/clipped_ratio")
    if cut is not None and cut > 0.05:
        found.append(f"At the end {percent(cut)} of completions were cut at a limit.")
    start, end = _ends(rows, "rewards/parsed/mean")
    if start is not None and end is not None and max(1 - start, 1 - end) > 0.05:
        text = f"No answer could be read in {percent(1 - start)} of completions, at the end in {percent(1 - end)}"
        found.append(f"{text}: they earned 0.")
    found += _of_pairs(rows)
    skipped = sum(row.get("skipped_steps") or 0 for row in rows)
    if skipped:
        found.append(f"{skipped:.0f} updates were skipped because a loss or gradient was not finite.")
    _, entropy = _ends(rows, "entropy")
    start, _ = _ends(rows, "entropy")
    if start and entropy is not None and entropy < 0.2 * start:
        found.append(f"Entropy fell from {start:.3g} to {entropy:.3g} nats: attempts hardly differ any more.")
    return found


def _chosen(data: RunData, stage: str, steps: int) -> list[str]:
    """Which weights the stage ended with where the best were to be kept, and what that says of their result."""
    chosen = chosen_steps(data.events).get(stage)
    if chosen is None:
        return []
    asked = {
        "other": "The evaluation asked other tasks, which had no say in the choice.",
        "same": "The evaluation asked the same tasks again with other draws: it is still a little too good for them.",
    }
    first = in_words(stage, steps, chosen).removeprefix(f"{stage}: ")
    said = [f"{first[0].upper()}{first[1:]}."]
    if chosen["looks"] > 1:
        said += [
            "The best of several looks is partly luck, so that number is too good.",
            asked.get(chosen["tasks"], ""),
        ]
    return [" ".join(said).strip()]


def _of_pairs(rows: Sequence[Json]) -> list[str]:
    """What a stage that learns from preferences shows of them."""
    found = []
    start, end = _ends(rows, "rewards/accuracies")
    if start is not None and end is not None and len(rows) >= ENOUGH_STEPS:
        found.append(f"The preferred answer was ranked higher in {percent(start)} of pairs, at the end {percent(end)}.")
    start, end = _ends(rows, "logps/chosen")
    if start is not None and end is not None and start - end > 3 * _error(rows, "logps/chosen"):
        found.append(
            f"Preferred answers became less likely too: their log-probability went from {start:.4g} to "
            f"{end:.4g} nats an answer."
        )
    return found


def _error(rows: Sequence[Json], name: str) -> float:
    """The standard error of the difference between a metric's means over the first and the last fifth of its steps."""
    values = [float(row[name]) for row in rows if isinstance(row.get(name), int | float)]
    fifth = len(values) // 5
    if fifth < 2:
        return math.inf
    return math.sqrt(sum(float(np.var(part, ddof=1)) / fifth for part in (values[:fifth], values[-fifth:])))


def learns_preferences(data: RunData, stage: str) -> bool:
    """Whether the stage learns from which answer is better: its log then tells of chosen and rejected answers."""
    return any("rewards/accuracies" in row or "rewards/chosen" in row for row in data.metrics if row["stage"] == stage)


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
