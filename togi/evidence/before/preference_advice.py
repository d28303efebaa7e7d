"""Advice about preference data: what a model would really learn from it. It loads no model and changes nothing.

A preference model learns the easiest rule that fits. When the longer answer wins in nine of ten pairs, it learns
length; so every pair set is tried against rules that see nothing of what an answer says. Intervals are at 95% for
all rules together (Bonferroni), because the best of many is shown; the unit of chance is the prompt.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from togi.data.row_to_task import prompt_key
from togi.evidence.before.answer_features import LENGTH, Trait, first_word, shared_ends, traits_of
from togi.evidence.findings import Finding
from togi.harmless_text import shortened
from togi.statistics import Interval, wilson
from togi.types import Task

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

EASY = 0.7
"""From this accuracy on a rule that sees only form decides what is learned."""
NEAR = 0.9  # share of two texts that is alike
MANY_NEAR, MANY_TWICE, MANY_SAME_TEXT, LOPSIDED = 0.3, 0.1, 0.2, 4.0
FEW_PROMPTS = 30
LOOKED_AT = 10_000
"""Tasks; of more, evenly spaced ones are looked at."""
_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Every better and worse answer to a prompt: rows of ``texts`` [A], and the number of the prompt, [P] each."""

    texts: tuple[str, ...]
    better_P: Ints
    worse_P: Ints
    prompt_P: Ints
    prompts: int


def pairs_of(tasks: Sequence[Task]) -> Pairs:
    """The pairs that the worth of recorded answers makes, within each task."""
    texts: list[str] = []
    rows: list[tuple[int, int, int]] = []
    numbers: dict[str, int] = {}
    for task in tasks:
        if len(task.worth) < 2:
            continue
        first = len(texts)
        texts += [_text(task, index) for index in range(len(task.recorded))]
        prompt = numbers.setdefault(prompt_key(task), len(numbers))
        for one, other in itertools.permutations(range(len(task.worth)), 2):
            if task.worth[one] > task.worth[other]:
                rows.append((first + one, first + other, prompt))
    better_P, worse_P, prompt_P = np.asarray(rows, np.int64).reshape(-1, 3).T
    return Pairs(texts=tuple(texts), better_P=better_P, worse_P=worse_P, prompt_P=prompt_P, prompts=len(numbers))


def pair_findings(tasks: Sequence[Task]) -> list[Finding]:
    """What preference data would teach: nothing is said of tasks whose recorded answers nobody judged."""
    found: list[Finding] = []
    tasks = tasks if len(tasks) <= LOOKED_AT else [tasks[i * len(tasks) // LOOKED_AT] for i in range(LOOKED_AT)]
    pairs = pairs_of(tasks)
    if len(pairs.better_P):
        found += [*_separable(pairs), *_texts(pairs), *_contradictions(pairs)]
    found += _softness(tasks)
    thumbs = [task for task in tasks if len(task.worth) == 1]
    if thumbs:
        found += _unpaired(thumbs)
    return found


# Can they be told apart without reading them?


def _separable(pairs: Pairs) -> list[Finding]:
    traits, values = traits_of(pairs.texts)
    ahead_PF = np.sign(values[pairs.better_P] - values[pairs.worse_P])
    right_PF = (1 + ahead_PF) / 2
    weight_P = 1 / np.bincount(pairs.prompt_P)[pairs.prompt_P]
    right_F = (weight_P @ right_PF) / weight_P.sum()
    known = len(np.unique(pairs.prompt_P))
    level = 1 - (1 - _LEVEL) / (2 * len(traits))
    rules = [
        (trait, share >= 0.5, wilson(min(known, max(share, 1 - share) * known), known, level=level))
        for trait, share in zip(traits, right_F.tolist(), strict=True)
    ]
    what = f"{len(pairs.better_P):,} pair{'s' * (len(pairs.better_P) > 1)} of {known:,} prompt{'s' * (known > 1)}"
    return _rules(rules, "is chosen", f"over {what}; a guess is right in 50%")


def _unpaired_rules(good: Sequence[str], bad: Sequence[str]) -> list[Finding]:
    """AUC of each trait with DeLong's variance (DeLong, DeLong and Clarke-Pearson 1988)."""
    traits, values = traits_of([*good, *bad])
    z = NormalDist().inv_cdf(1 - (1 - _LEVEL) / (4 * len(traits)))
    rules = []
    for trait, column in zip(traits, values.T, strict=True):
        x, y = column[: len(good)], column[len(good) :]
        above_X, above_Y = _placements(x, y), 1 - _placements(y, x)
        auc = float(above_X.mean())
        half = z * float(np.sqrt(_variance(above_X) + _variance(above_Y)))
        point = max(auc, 1 - auc)
        span = Interval(point=point, low=max(0.0, point - half), high=min(1.0, point + half), level=_LEVEL)
        rules.append((trait, auc >= 0.5, span))
    detail = f"of every good answer with every bad one ({len(good):,} × {len(bad):,}); a guess is right in 50%"
    return _rules(rules, "is the good one", detail)


def _rules(rules: Sequence[tuple[Trait, bool, Interval]], verb: str, detail: str) -> list[Finding]:
    """Length, and of the other rules the best; a warning for what decides too much."""
    length = next(rule for rule in rules if rule[0] is LENGTH)
    others = sorted((rule for rule in rules if rule[0].form), key=lambda rule: -rule[2].point)
    found = []
    for trait, up, span in (length, others[0]):
        title = f"{trait.more if up else trait.less} {verb} in {_around(span)}"
        if span.point >= EASY and span.low > 0.5:
            more = [
                f"{each.more if rising else each.less} in {_percent(at.point)}"
                for each, rising, at in others[1:4]
                if trait.form and at.point >= EASY and at.low > 0.5
            ]
            also = f"; also {', '.join(more)}" if more else ""
            found.append(Finding(level="warn", title=title, detail=detail + also, advice=_advice(trait)))
        elif span.low > 0.5:
            found.append(Finding(level="ok", title=title, detail=detail))
        else:
            unseen = f"{'form' if trait.form else 'length'} alone is not seen to tell the answers apart"
            found.append(Finding(level="ok", title=unseen, detail=f"{title}, {detail}"))
    return found


def _advice(trait: Trait) -> str:
    if trait is LENGTH:
        return (
            "a model learns length first: balance the pairs until either length wins as often, or use a loss that "
            "counts per token (simpo, ld_dpo); unless length is what you want to teach"
        )
    return "a model learns this form first: mix pairs where it loses, unless this form is what you want to teach"


def _placements(x: Array, y: Array) -> Array:
    """For every x the share of y below it, equal ones counted half."""
    y = np.sort(y)
    return np.asarray((np.searchsorted(y, x, "left") + np.searchsorted(y, x, "right")) / (2 * len(y)), np.float64)


def _variance(values: Array) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.25


# Texts, prompts and labels.


def _texts(pairs: Pairs) -> list[Finding]:
    better, worse = ([pairs.texts[index] for index in side.tolist()] for side in (pairs.better_P, pairs.worse_P))
    count = len(better)
    lengths = [sorted(map(len, texts))[count // 2] for texts in (better, worse)]
    words = sum(first_word(a) == first_word(b) for a, b in zip(better, worse, strict=True))
    detail = f"{_percent(words / count)} of pairs start with the same word"
    found = [
        Finding(
            level="ok", title=f"chosen has {lengths[0]:,} characters (median), rejected {lengths[1]:,}", detail=detail
        )
    ]
    blank = sum("".join(a.lower().split()) == "".join(b.lower().split()) for a, b in zip(better, worse, strict=True))
    if blank:
        title = f"{blank:,} of {count:,} pairs differ in space or capitals only"
        found.append(Finding(level="warn", title=title, advice="leave them out, unless this is what you want to teach"))
    near = sum(shared_ends(a, b) >= NEAR for a, b in zip(better, worse, strict=True))
    if near >= MANY_NEAR * count:
        title = f"in {_percent(near / count)} of pairs the answers are {NEAR:.0%} the same text"
        detail = "what both share is pushed up and down at once, and DPO then often makes chosen less likely too"
        advice = (
            'use a loss that holds chosen up (dpop, or DPO with an NLL term), or look at "logps/chosen" in training'
        )
        found.append(Finding(level="warn", title=title, detail=detail, advice=advice))
    for name, texts in (("chosen", better), ("rejected", worse)):
        text, times = Counter(texts).most_common(1)[0]
        if times >= max(3, MANY_SAME_TEXT * count):
            title = f"{_percent(times / count)} of {name} answers are the same text: {shortened(text, 60)}"
            found.append(Finding(level="warn", title=title, advice="a model learns this text by heart: vary it"))
    return found


def _contradictions(pairs: Pairs) -> list[Finding]:
    rows = [
        (prompt, pairs.texts[better], pairs.texts[worse])
        for prompt, better, worse in zip(
            pairs.prompt_P.tolist(), pairs.better_P.tolist(), pairs.worse_P.tolist(), strict=True
        )
    ]
    counted = Counter(rows)
    against = sum(min(times, counted[prompt, worse, better]) for (prompt, better, worse), times in counted.items()) // 2
    twice = len(rows) - len(counted)
    found = []
    if against:
        title = f"{against:,} pairs stand in the data both ways round"
        advice = "these labels contradict each other: give such pairs a chosen_probability, or leave both out"
        found.append(Finding(level="warn", title=title, detail=f"of {len(rows):,} pairs", advice=advice))
    if twice >= MANY_TWICE * len(rows):
        title = f"{twice:,} of {len(rows):,} pairs are repetitions of another"
        found.append(Finding(level="warn", title=title, advice="remove them, or count an epoch accordingly"))
    if pairs.prompts < FEW_PROMPTS <= len(rows):
        title = f"{len(rows):,} pairs share only {pairs.prompts} prompts"
        found.append(Finding(level="warn", title=title, advice="collect answers to more prompts: few teach little"))
    return found


def _softness(tasks: Sequence[Task]) -> list[Finding]:
    """What labels that are probabilities allow at best, and those that only some losses can use."""
    sure = np.asarray([max(task.worth) for task in tasks if len(task.worth) == 2 and abs(sum(task.worth) - 1) < 1e-9])
    if not len(sure) or sure.min() == 1 or sure.max() > 1:
        return []
    best = _percent(float(sure.mean()))
    found = [
        Finding(
            level="ok",
            title=f"the labels are probabilities: a perfect model of them agrees with one label in {best}",
            detail=f"{_percent(float((sure < 0.6).mean()))} of pairs are closer than 60 to 40",
        )
    ]
    even = int((sure == 0.5).sum())
    if even:
        title = f"{even:,} of {len(sure):,} pairs are even: both answers are as likely the better one"
        found.append(Finding(level="ok", title=title, detail="only losses with soft = true learn from them"))
    return found


def _unpaired(tasks: Sequence[Task]) -> list[Finding]:
    texts = [_text(task, 0) for task in tasks]
    good = [text for text, task in zip(texts, tasks, strict=True) if task.worth[0] > 0]
    bad = [text for text, task in zip(texts, tasks, strict=True) if task.worth[0] <= 0]
    if not good or not bad:
        only = "good" if good else "bad"
        title = f"all {len(tasks):,} labelled answers are {only}"
        return [
            Finding(
                level="fail", title=title, advice="a preference is learned from good and bad answers: add the other"
            )
        ]
    ratio = max(len(good), len(bad)) / min(len(good), len(bad))
    title = f"{len(good):,} answers are labelled good, {len(bad):,} bad"
    balance = Finding(level="ok", title=title)
    if ratio > LOPSIDED:
        rare, key = ("bad", "undesirable_weight") if len(good) > len(bad) else ("good", "desirable_weight")
        advice = f"weigh the {rare} ones up, with kto: settings = {{ {key} = {ratio:.1f} }}"
        balance = Finding(level="warn", title=title, advice=advice)
    marks: dict[tuple[str, str], set[float]] = {}
    for text, task in zip(texts, tasks, strict=True):
        marks.setdefault((prompt_key(task), text), set()).add(task.worth[0])
    against = sum(len(labels) > 1 for labels in marks.values())
    found = [balance, *_unpaired_rules(good, bad)]
    if against:
        title = f"{against:,} answers are labelled both good and bad"
        found.append(Finding(level="warn", title=title, advice="these labels contradict each other: leave them out"))
    return found


def _text(task: Task, index: int) -> str:
    return "\n\n".join(message.content for message in task.recorded[index] if message.role == "assistant")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if 0.1 <= share <= 0.9 or share in (0, 1) else f"{100 * share:.1f}%"


def _around(interval: Interval) -> str:
    return f"{_percent(interval.point)} (interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"
