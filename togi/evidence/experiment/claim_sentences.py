"""Claims about arms in plain words, and what an experiment of a size can see. It decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Literal

from togi.evidence.experiment.compare_arms import Compared
from togi.statistics import Difference, Spread, seeds_needed, smallest_visible, tasks_needed

Evidence = Literal["for the arm", "none", "no control"]
SHARES = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What scores can be, least and most, and how their differences are said."""

    bounds: tuple[float, float] | None = SHARES

    def size(self, value: float, *, signed: bool = True) -> str:
        shown, unit = (100 * value, " points") if self.bounds == SHARES else (value, "")
        digits = 1 if unit else 3
        return f"{shown:+.{digits}f}{unit}" if signed else f"{shown:.{digits}f}{unit}"


def power_before(spread: Spread, *, tasks: int, margin: float, seeds: Sequence[int] = (3, 5, 8)) -> str:
    """What an experiment of this size could see, by the spread that earlier runs showed."""
    scale = Scale()
    visible = {n: smallest_visible(spread, seeds=n, tasks=tasks) for n in seeds}
    seen = "; ".join(f"{n} seeds: {scale.size(size, signed=False)}" for n, size in visible.items())
    return (
        f"With {tasks} tasks, a difference that is seen four times in five: {seen}. "
        f"{_needed(spread, tasks, min(seeds), margin, scale)}"
    )


def power_after(found: Difference, *, margin: float, bounds: tuple[float, float] | None = SHARES) -> str:
    """What the experiment could have seen, by the spread that it showed itself; with few seeds a rough guess."""
    scale = Scale(bounds=bounds)
    if found.seeds < 2:
        return "One seed does not show how seeds differ: run at least 3. Seeds that all give the same scores are one."
    seen = smallest_visible(found.spread, seeds=found.seeds, tasks=found.tasks, level=found.level)
    return (
        f"With {found.seeds} seeds and {found.tasks} tasks, differences above {scale.size(seen, signed=False)} are "
        f"seen four times in five. {_needed(found.spread, found.tasks, found.seeds, margin, scale, found.level)}"
    )


def _needed(spread: Spread, tasks: int, seeds: int, margin: float, scale: Scale, level: float = 0.95) -> str:
    size = scale.size(margin, signed=False)
    enough = seeds_needed(spread, margin, tasks=tasks, level=level)
    if enough is not None:
        return f"For {size} it takes {enough} seeds."
    more = tasks_needed(spread, margin, seeds=max(seeds, 5), level=level)
    if more is not None:
        return f"For {size} no number of seeds is enough; with {max(seeds, 5)} seeds it takes some {more} tasks."
    return f"For {size} it takes more seeds and more tasks than {tasks}."


def claim_sentences(one: Compared, margin: float, level: float, scale: Scale) -> list[str]:
    size, found = scale.size(margin, signed=False), one.found
    words = {
        "better": f"{one.arm} is better than {one.against}",
        "worse": f"{one.arm} is worse than {one.against}",
        "equivalent": f"{one.arm} is equivalent to {one.against} within {size} (two one-sided tests)",
        "not decided": f"Not decided whether {one.arm} is better or worse than {one.against}",
    }
    sentences = [f"{words[one.claim]}: {_numbers(one, level, scale)}."]
    if one.claim == "equivalent" and found.p <= 1 - level:
        sentences.append("They do differ, but by less than what matters.")
    if one.claim in ("better", "worse") and found.low < margin and found.high > -margin:
        sentences.append(f"The difference may be smaller than {size}, the smallest that matters.")
    if one.claim == "not decided" and one.not_worse:
        sentences.append(f"By a one-sided test it is no worse by {size} or more.")
    if one.missing:
        sentences.append(_gaps(one, scale))
    if one.claim == "not decided" and found.seeds >= 1 and not (found.seeds > 1 and isnan(found.low)):
        sentences.append(power_after(found, margin=margin, bounds=scale.bounds))
    if found.seeds > 1 and isnan(found.low):
        sentences.append("Every score of both arms is the same, so these tasks cannot tell arms apart.")
    return sentences


def _numbers(one: Compared, level: float, scale: Scale) -> str:
    found = one.found
    if isnan(found.point):
        return "no seed was scored on both sides"
    seeds = f"{found.seeds} seed{'s' if found.seeds != 1 else ''}, {found.tasks} task{'s' if found.tasks != 1 else ''}"
    if not isfinite(found.low):
        return f"{scale.size(found.point)} ({seeds}, no interval)"
    p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}"
    band = f"{100 * level:g}% interval {scale.size(found.low).removesuffix(' points')} to {scale.size(found.high)}"
    return f"{scale.size(found.point)} ({band}; {seeds}; {p if isfinite(one.p) else 'no p-value'})"


def _gaps(one: Compared, scale: Scale) -> str:
    failed = f", {one.failed_seeds} whole seed{'s' if one.failed_seeds != 1 else ''} among them" * bool(
        one.failed_seeds
    )
    what = f"{one.missing} score{'s are' if one.missing != 1 else ' is'} missing{failed}"
    if one.low_bound is None or one.high_bound is None:
        return f"{what}, and nothing bounds what they could have been."
    return (
        f"{what}: had they been the worst or the best for {one.arm}, the difference would be "
        f"{scale.size(one.low_bound.point)} or {scale.size(one.high_bound.point)}. A claim must hold both times."
    )


def control_sentences(
    one: Compared, against: Sequence[Compared], of_controls: Sequence[Compared], evidence: Evidence, scale: Scale
) -> list[str]:
    if one.claim != "better":
        return []
    if evidence == "no control":
        return ["There was no control, so the gain may come from anything that training does."]
    if evidence == "for the arm":
        return [f"{one.arm} is also better than every control ({', '.join(each.against for each in against)})."]
    sentences = []
    for each, control in zip(against, of_controls, strict=True):
        if each.claim != "better":
            gain = " shows the gain too, and" if control.claim == "better" else ""
            sentences.append(
                f"The control {each.against}{gain} is not shown to be worse than {one.arm} "
                f"({_numbers(each, each.found.level, scale)}): no evidence for the reward."
            )
    return sentences or ["Over all arms and controls together, the lead over the controls may be chance."]
