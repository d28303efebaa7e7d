"""What measured pairs say: accuracy, calibration, and whether length alone decides. It scores nothing.

Intervals are 95% and treat tasks as the unit of sampling, since pairs of one task share its answers. A score that
does not tell two answers apart counts half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from togi.evidence.after.measured_pairs_file import PairRecord, PairsRecord, Scale
from togi.statistics import Interval, Paired, bootstrap_mean, paired_difference, wilson

Array = NDArray[np.float64]

BINS = 10
FEWEST = 10
"""Pairs of one kind below which nothing is said of that kind."""
_SUREST = 1e-6  # a chance of 0 or 1 would make one mistake cost infinitely much


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pairs whose favoured answer was given a chance in [low, high): how many, that chance's mean, and how often the
    favoured answer was preferred."""

    low: float
    high: float
    pairs: int
    predicted: float
    observed: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether differences in score can be read as chances.

    Each pair is turned so that the favoured answer stands first: chances lie in [0.5, 1], and ``bins``, ten of equal
    width, cover them; empty ones are left out. ``error`` is the expected calibration error, the mean over pairs of
    |predicted - observed| of their bin (Guo et al. 2017, arXiv:1706.04599). ``brier`` is the mean squared error of the
    chance and ``log_loss`` the cross-entropy in nats; a coin has 0.25 and 0.693 under plain labels. ``floor`` is the
    least log loss that soft labels allow, their own entropy, and 0 under plain ones.
    """

    bins: tuple[Bin, ...]
    error: float
    brier: float
    log_loss: float
    floor: float


@dataclass(frozen=True, kw_only=True)
class ByLength:
    """Accuracy where the preferred answer is the longer one, the shorter one, or neither, with numbers of pairs.

    ``rule`` is the accuracy of "longer wins" and ``gain`` the accuracy above that rule, or above "shorter wins" where
    that is the better one. ``favours_longer`` is the share of pairs of unequal length whose longer answer scored
    higher. ``correlation`` is that of score with length among answers to one task.
    """

    longer: Interval | None
    shorter: Interval | None
    equal: Interval | None
    pairs: Mapping[str, int]
    rule: Interval
    gain: Paired
    favours_longer: Interval | None
    correlation: float | None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well scores agree with held-out preferences; None where there was nothing to count.

    ``truth`` is the accuracy against the truth where it is known, and ``noise`` the share of those labels that err: no
    scorer can be expected to agree with noisy labels more often than 1 - ``noise``.
    """

    name: str
    step: int
    tasks: int
    pairs: int
    skipped: Mapping[str, int]
    accuracy: Interval | None
    truth: Interval | None
    noise: Interval | None
    calibration: Calibration | None
    length: ByLength | None


def agreement(record: PairsRecord, *, seed: int = 0) -> Agreement:
    """Count measured pairs. ``seed`` is that of the bootstrap alone: the same record gives the same numbers."""
    pairs = record["pairs"]
    right_P = np.array([_right(pair) for pair in pairs])
    truth_P = np.array([np.nan if pair["truth"] is None else pair["truth"] for pair in pairs], dtype=np.float64)
    known_P = np.isfinite(truth_P)
    count = _Count(pairs, seed)
    return Agreement(
        name=record["name"],
        step=record["step"],
        tasks=record["tasks"],
        pairs=len(pairs),
        skipped=record["skipped"],
        accuracy=count.share(right_P, np.ones_like(known_P)),
        # Right against an erring label is wrong against the truth.
        truth=count.share(np.where(truth_P == 1, right_P, 1 - right_P), known_P),
        noise=count.share(1 - truth_P, known_P),
        calibration=calibration(_log_odds(pairs, record["scale"]), [pair["label"] for pair in pairs])
        if pairs
        else None,
        length=_by_length(pairs, right_P, count) if pairs else None,
    )


def calibration(log_odds: Sequence[float] | Array, label: Sequence[float] | Array) -> Calibration:
    """Predicted log-odds that the first answer of each pair is preferred [P], against how often it is [P], P > 0."""
    log_odds_P, label_P = np.asarray(log_odds, np.float64), np.asarray(label, np.float64)
    chance_P, high_P = 1 / (1 + np.exp(-np.abs(log_odds_P))), label_P.copy()
    high_P[log_odds_P < 0] = 1 - label_P[log_odds_P < 0]
    high_P[log_odds_P == 0] = 0.5  # neither answer is favoured
    index_P = np.minimum(((chance_P - 0.5) * 2 * BINS).astype(np.int64), BINS - 1)
    bins = tuple(
        Bin(
            low=0.5 + index / (2 * BINS),
            high=0.5 + (index + 1) / (2 * BINS),
            pairs=int((index_P == index).sum()),
            predicted=float(chance_P[index_P == index].mean()),
            observed=float(high_P[index_P == index].mean()),
        )
        for index in np.unique(index_P).tolist()
    )
    predicted_P = 1 / (1 + np.exp(-log_odds_P))
    log_loss_P = label_P * np.logaddexp(0, -log_odds_P) + (1 - label_P) * np.logaddexp(0, log_odds_P)
    return Calibration(
        bins=bins,
        error=sum(each.pairs * abs(each.predicted - each.observed) for each in bins) / len(label_P),
        brier=float(np.mean((predicted_P - label_P) ** 2)),
        log_loss=float(np.mean(log_loss_P)),
        floor=float(np.mean([_entropy(p) for p in label_P])),
    )


def verdict(agreed: Agreement) -> tuple[str, ...]:
    """What to make of it, in plain sentences."""
    if agreed.accuracy is None or agreed.length is None:
        return ("No held-out pair could be measured.",)
    said = [f"It scores the preferred answer higher in {_shown(agreed.accuracy)} of {agreed.pairs} held-out pairs."]
    if agreed.accuracy.low <= 0.5 <= agreed.accuracy.high:
        said.append("Guessing might do as well.")
    if agreed.accuracy.high < 0.5:
        said.append("That is worse than guessing: are chosen and rejected swapped?")
    if agreed.truth is not None and agreed.noise is not None:
        said.append(
            f"Against the truth it is right in {_shown(agreed.truth)}; {_shown(agreed.noise)} of the labels are wrong."
        )
    return (*said, *_length_verdict(agreed.length))


def _length_verdict(length: ByLength) -> tuple[str, ...]:
    """Whether it just likes long (or short) answers. Its mistakes tell: an eye for length errs on one side only."""
    long, short = length.longer, length.shorter
    few = min((length.pairs["longer"], "longer"), (length.pairs["shorter"], "shorter"))
    if few[0] < FEWEST or long is None or short is None or not np.isfinite([long.low, short.low]).all():
        return (
            f"In only {few[0]} pairs is the preferred answer the {few[1]} one: too few to tell whether it judges more "
            f"than length. Collect pairs in which length does not give the answer away.",
        )
    found = f"right in {_shown(long)} where the preferred answer is longer, in {_shown(short)} where it is shorter"
    for word, easy, hard in (("long", long, short), ("short", short, long)):
        if hard.high < 0.5 < easy.low:
            return (f"It pays for {word} answers and for little else: {found}. Do not train on it.",)
        if hard.high < easy.low:
            return (f"It prefers {word} answers too much: {found}. A policy will learn that; watch its length.",)
    beyond = "" if length.gain.low > 0 else ", but it is not surely better than a rule that looks at length alone"
    return (f"Length does not decide its choices{beyond}: {found}.",)


class _Count:
    """Shares of pairs, resampled by task."""

    def __init__(self, pairs: Sequence[PairRecord], seed: int) -> None:
        self.seed = seed
        numbers: dict[str, int] = {}
        self.task_P = np.array([numbers.setdefault(pair["task"], len(numbers)) for pair in pairs], dtype=np.int64)

    def by_task(self, value_P: Array, on_P: NDArray[np.bool_]) -> list[list[float]]:
        return [value_P[on_P & (self.task_P == task)].tolist() for task in np.unique(self.task_P[on_P])]

    def share(self, value_P: Array, on_P: NDArray[np.bool_]) -> Interval | None:
        """The mean over tasks, each task's pairs counting as one; with width also where all tasks agree."""
        if not on_P.any():
            return None
        values = self.by_task(value_P, on_P)
        flat = {value for task in values for value in task}
        if flat in ({0.0}, {1.0}):
            return wilson(sum(flat) * len(values), len(values))
        return bootstrap_mean(values, seed=self.seed)


def _by_length(pairs: Sequence[PairRecord], right_P: Array, count: _Count) -> ByLength:
    length_P = np.array([pair["chosen_tokens"] - pair["rejected_tokens"] for pair in pairs], dtype=np.float64)
    score_P = np.array([pair["chosen_score"] - pair["rejected_score"] for pair in pairs])
    everywhere, unequal_P = np.ones(len(pairs), dtype=np.bool_), length_P != 0
    rule_P = 0.5 + 0.5 * np.sign(length_P)
    rule = count.share(rule_P, everywhere)
    assert rule is not None
    best_P = rule_P if rule.point >= 0.5 else 1 - rule_P
    gain = paired_difference(count.by_task(right_P, everywhere), count.by_task(best_P, everywhere), seed=count.seed)
    spread = float(np.sqrt((score_P**2).sum() * (length_P**2).sum()))
    kinds = {"longer": length_P > 0, "shorter": length_P < 0, "equal": length_P == 0}
    return ByLength(
        longer=count.share(right_P, kinds["longer"]),
        shorter=count.share(right_P, kinds["shorter"]),
        equal=count.share(right_P, kinds["equal"]),
        pairs={kind: int(on_P.sum()) for kind, on_P in kinds.items()},
        rule=rule,
        gain=gain,
        favours_longer=count.share(0.5 + 0.5 * np.sign(score_P * length_P), unequal_P),
        # Of two answers to one task, each lies half the difference from their mean: this is the correlation of scores
        # and lengths with every task's own mean taken out.
        correlation=float((score_P * length_P).sum()) / spread if spread else None,
    )


def _right(pair: PairRecord) -> float:
    return float(0.5 + 0.5 * np.sign(pair["chosen_score"] - pair["rejected_score"]))


def _log_odds(pairs: Sequence[PairRecord], scale: Scale) -> Array:
    score_P2 = np.array([(pair["chosen_score"], pair["rejected_score"]) for pair in pairs], dtype=np.float64)
    if scale == "probability":
        score_P2 = np.log(np.clip(score_P2, _SUREST, 1 - _SUREST))
    return np.asarray(score_P2[:, 0] - score_P2[:, 1])


def _entropy(p: float) -> float:
    return float(-sum(q * np.log(q) for q in (p, 1 - p) if q > 0))


def _shown(share: Interval) -> str:
    known = np.isfinite([share.low, share.high]).all()
    return f"{share.point:.0%} ({share.low:.0%} to {share.high:.0%})" if known else f"{share.point:.0%} (one task only)"
