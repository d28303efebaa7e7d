"""What became of an arm's answers besides being right more often: which answer wins, how varied they are, how
surprising to the base. It samples nothing and reads no file.

Every measure is a table [seeds, tasks] of the arm and one of the start that it was trained from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from togi.evidence.experiment.claim_sentences import Scale
from togi.statistics import Difference, Interval, difference_over_seeds, holm, over_seeds, within_shares
from togi.statistics.intervals import Array

MAJORITY, SURPRISE = "the answer of most", "surprise to the base, nats a token"
"""The exponential of the surprise is the perplexity."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What more and less of a measure mean. ``share`` says that it lies between 0 and 1."""

    more: str
    less: str
    share: bool = True


SAID: Mapping[str, Words] = {
    MAJORITY: Words(more="is right more often", less="is right less often"),
    "similarity": Words(more="answers to one task are more alike", less="answers to one task differ more"),
    "duplicates": Words(more="more answers are the same text", less="fewer answers are the same text"),
    "distinct-1": Words(more="words are repeated less", less="words are repeated more"),
    "distinct-2": Words(more="pairs of words are repeated less", less="pairs of words are repeated more"),
    "distinct-3": Words(more="runs of three words are repeated less", less="runs of three words are repeated more"),
    SURPRISE: Words(
        more="answers are such as the base says less often",
        less="answers are such as the base says more often",
        share=False,
    ),
}
"""A measure that has no words is none."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is said of other tasks that an arm does better or worse, and where neither is shown."""

    better: str
    worse: str
    not_shown: str


FORGOTTEN = Judged(
    better="is done better than before",
    worse="was forgotten in part",
    not_shown="not shown whether anything was forgotten",
)
OUTDONE = Judged(better="is done better", worse="is done worse", not_shown="not shown who does it better")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One measure of an arm and of what it is compared with, its ``start``; ``p`` is Holm's over all measures of the
    arm, and ``said`` what may be said by it."""

    name: str
    arm: Interval
    start: Interval
    found: Difference
    p: float
    said: str
    scale: Scale


def abilities_changed(
    before: Mapping[str, tuple[Array, Array]],
    rivals: Mapping[str, tuple[Array, Array]] = MappingProxyType({}),
    *,
    rival: str = "",
    margin: float,
    level: float = 0.95,
) -> list[Change]:
    """What became of scores on other held-out tasks, (arm, untrained model) by their name, and how they compare with
    those of another arm, the ``rival``: better, worse, or surely no worse by the margin. Holm's over all of them."""
    tables = [*before.values(), *rivals.values()]
    names = [*before, *(f"{name}, against {rival}" for name in rivals)]
    found = [difference_over_seeds(*each, margin=margin, level=level) for each in tables]
    differ, kept = (holm([getattr(each, test) for each in found]) for test in ("p", "p_not_worse"))
    made = []
    for number, (name, one, p, q) in enumerate(zip(names, found, differ, kept, strict=True)):
        words = FORGOTTEN if number < len(before) else OUTDONE
        share = all(each.min() >= 0.0 and each.max() <= 1.0 for each in tables[number])
        scale = Scale() if share else Scale(bounds=None)
        arm, start = (over_seeds(table, level=level) for table in tables[number])
        said = words.not_shown
        if p <= 1 - level:
            said = words.better if one.point > 0 else words.worse
        elif q <= 1 - level:
            said = f"is done no worse by {scale.size(margin, signed=False)} or more"
        if share:
            arm, start = within_shares(arm), within_shares(start)
        made.append(Change(name=name, arm=arm, start=start, found=one, p=float(p), said=said, scale=scale))
    return made


def answers_changed(measures: Mapping[str, tuple[Array, Array]], *, level: float = 0.95) -> list[Change]:
    """The changes, in the order of their words. Measures are (arm, start) by name."""
    names = [name for name in SAID if name in measures]
    # Nothing is claimed to be equal here, so any margin does.
    found = [difference_over_seeds(*measures[name], margin=1.0, level=level) for name in names]
    made = []
    for name, one, p in zip(names, found, holm([each.p for each in found]), strict=True):
        words = SAID[name]
        sides = [over_seeds(table, level=level) for table in measures[name]]
        arm, start = (within_shares(side) if words.share else side for side in sides)
        said = "no change is shown"
        if p <= 1 - level:
            said = words.more if one.point > 0 else words.less
        elif one.p <= 1 - level:
            said = "a change by itself, but not where all that was measured is tested together"
        scale = Scale() if words.share else Scale(bounds=None)
        made.append(Change(name=name, arm=arm, start=start, found=one, p=float(p), said=said, scale=scale))
    return made
