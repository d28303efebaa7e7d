"""How varied a model's answers are, and whether training made them more alike. It plays nothing and draws nothing.

All measures are of the attempts at one task, then averaged over tasks. Words are runs of letters and digits, and each
punctuation mark is one; case does not count. Attempts whose episode failed are left out.

A longer text repeats more words, so shares of distinct n-grams of texts of unequal length cannot be compared. Here
each task gives the same number of its n-grams, drawn without replacement from all its attempts. The mean over all such
draws is known exactly (rarefaction, Hurlbert 1971), so nothing is left to chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from togi.evidence.after.evaluation_file import EvaluationRecord, TaskRecord
from togi.evidence.after.evaluation_summary import same_tasks
from togi.statistics import Interval, Paired, bootstrap_mean, paired_difference
from togi.unicode_words import pieces

Words = tuple[str, ...]
Sizes = Mapping[int, int]
"""How many n-grams each task gives, by n."""

DISTINCT = (1, 2, 3)
ENTROPY = (1, 2)
TOO_SHORT = 0.1
"""The share of tasks that may be left out for having too few n-grams."""


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Measures by name with 95% intervals over tasks; a measure that no task allows is not there.

    ``distinct-n`` is the share of distinct ones among a fixed number of n-grams, ``entropy-n`` their entropy in nats.
    ``similarity`` is the mean over pairs of attempts of the Jaccard index of their sets of words and word pairs,
    ``duplicates`` the share of pairs that are the same text. Both need two attempts.
    """

    model: str
    measures: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Measures of after minus before, task by task; a measure that no task allows in both is not there."""

    before: str
    after: str
    measures: Mapping[str, Paired]

    @property
    def verdict(self) -> str:
        """``alike``, ``varied`` or ``unclear`` (the interval includes zero, or attempts are single), by similarity."""
        similarity = self.measures.get("similarity")
        if similarity is None or not (similarity.low > 0 or similarity.high < 0):
            return "unclear"
        return "alike" if similarity.low > 0 else "varied"


def fair_sizes(evaluations: Sequence[EvaluationRecord]) -> dict[int, int]:
    """The largest sizes that nine in ten tasks of every evaluation can give; at least 2, or none for that n."""
    sizes = {}
    for n in DISTINCT:
        counts = [[_ngrams_in(task, n) for task in one["tasks"]] for one in evaluations]
        size = min((sorted(each)[int(TOO_SHORT * len(each))] for each in counts if each), default=0)
        if size >= 2:
            sizes[n] = size
    return sizes


def diversity(evaluation: EvaluationRecord, sizes: Sizes, *, seed: int = 0) -> Diversity:
    """Measure one evaluation; ``sizes`` must be those of what it is compared with (``fair_sizes``)."""
    measured = [measures(task, sizes) for task in evaluation["tasks"]]
    names = list(dict.fromkeys(name for task in measured for name in task))
    values = {name: [[task[name]] for task in measured if name in task] for name in names}
    found = {name: bootstrap_mean(each, seed=seed) for name, each in values.items()}
    return Diversity(model=evaluation["model"], measures=found)


def compare_diversity(
    before: EvaluationRecord, after: EvaluationRecord, sizes: Sizes | None = None, *, seed: int = 0
) -> Change:
    """Paired differences, with the sizes that are fair to the two unless told otherwise.

    Refuses evaluations of different tasks, sampling or numbers of attempts.
    """
    if before["attempts"] != after["attempts"]:
        raise ValueError(
            f"{before['model']} has {before['attempts']} attempts a task and {after['model']} {after['attempts']}: "
            "more attempts hold more words, so evaluate both with the same number"
        )
    sizes = fair_sizes([before, after]) if sizes is None else sizes
    tasks = zip(before["tasks"], same_tasks(before, after)["tasks"], strict=True)
    both = [(measures(old, sizes), measures(new, sizes)) for old, new in tasks]
    found = {}
    for name in dict.fromkeys(name for old, new in both for name in old if name in new):
        pairs = [(old[name], new[name]) for old, new in both if name in old and name in new]
        found[name] = paired_difference([[new] for _, new in pairs], [[old] for old, _ in pairs], seed=seed)
    return Change(before=before["model"], after=after["model"], measures=found)


def measures(task: TaskRecord, sizes: Sizes) -> dict[str, float]:
    """The measures of the attempts at one task, those that there are words and attempts enough for."""
    return dict(_measures(tuple(_texts(task)), tuple(sizes.items())))


@lru_cache(maxsize=1 << 12)  # a page measures an evaluation by itself and beside others
def _measures(texts: tuple[str, ...], sizes: tuple[tuple[int, int], ...]) -> Mapping[str, float]:
    found = {}
    for n, size in sizes:
        counts = Counter(run for text in texts for run in _runs(words(text), n))
        if counts.total() >= size:
            drawn = np.array(sorted(counts.values()))
            found[f"distinct-{n}"] = distinct_share(drawn, size)
            if n in ENTROPY:
                found[f"entropy-{n}"] = drawn_entropy(drawn, size)
    if len(texts) > 1:
        found["similarity"] = similarity([{*_runs(words(text), 1), *_runs(words(text), 2)} for text in texts])
        pairs = len(texts) * (len(texts) - 1)
        found["duplicates"] = sum(count * (count - 1) for count in Counter(texts).values()) / pairs
    return found


def distinct_share(counts: NDArray[np.int64], size: int) -> float:
    """The expected number of kinds among ``size`` draws without replacement, by ``size``. ``counts`` [K] of each."""
    return float((1 - _chance_of(counts, size)[:, 0]).sum() / size)


def drawn_entropy(counts: NDArray[np.int64], size: int) -> float:
    """The expected entropy, in nats, of the kinds among ``size`` draws without replacement."""
    share = np.arange(1, min(int(counts.max()), size) + 1) / size
    return float((_chance_of(counts, size)[:, 1:] @ (-share * np.log(share))).sum())


def _chance_of(counts: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """The hypergeometric chance that a kind of which there are ``counts`` [K] is drawn k times [K, 0..]."""
    total = int(counts.sum())
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])

    def choose(n: NDArray[np.int64], k: NDArray[np.int64]) -> NDArray[np.float64]:
        there = (k >= 0) & (k <= n)
        inside = np.where(there, k, 0)
        return np.where(there, logs[n] - logs[inside] - logs[n - inside], -np.inf)

    k = np.arange(min(int(counts.max()), size) + 1)[None]
    own = counts[:, None]
    every = choose(np.array(total), np.array(size))
    return np.asarray(np.exp(choose(own, k) + choose(total - own, size - k) - every))


def similarity(sets: Sequence[set[Words]]) -> float:
    """The mean Jaccard index of all pairs of sets, what two share of all they hold; two empty ones are alike."""
    columns = {each: column for column, each in enumerate(set().union(*sets))}
    holds = np.zeros((len(sets), len(columns)), dtype=np.float32)
    for row, own in enumerate(sets):
        holds[row, [columns[each] for each in own]] = 1.0
    both = (holds @ holds.T).astype(np.float64)  # whole numbers, exact in float32 up to 16 million
    sizes = both.diagonal()
    one, other = np.triu_indices(len(sets), 1)
    shared, together = both[one, other], (sizes[:, None] + sizes - both)[one, other]
    index = np.divide(shared, together, out=np.ones_like(shared), where=together > 0)
    return float(index.mean())


@lru_cache(maxsize=1 << 14)  # every attempt is looked at for several measures, and again beside other evaluations
def words(text: str) -> Words:
    return tuple(pieces(text))


def _texts(task: TaskRecord) -> list[str]:
    return [attempt["completion"].strip() for attempt in task["attempts"] if attempt["stop"] != "error"]


def _ngrams_in(task: TaskRecord, n: int) -> int:
    """How many n-grams its attempts have; none reaches from one attempt into the next."""
    return sum(max(0, len(words(text)) - n + 1) for text in _texts(task))


def _runs(line: Words, n: int) -> list[Words]:
    return [line[at : at + n] for at in range(len(line) - n + 1)]
