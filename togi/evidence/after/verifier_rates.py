"""How good a verifier is: its file form, ``verification/NAME.json``, and what the numbers mean. It asks no model.

A verifier says of attempts at held-out tasks how likely each is right. Does it part right from wrong (AUROC), is it
right at one half, does it choose better than a majority, and do answers that say nothing pass?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from togi.evidence.after.record_file import read_record, write_record
from togi.statistics import Interval, Paired, bootstrap_mean, paired_difference, wilson

HALF = 0.5
"""From this probability on a verifier is taken to say Yes."""

LISTED, OTHERS = "keys that can be taught", "all others"
"""What answers that say nothing are told apart by."""

_RESAMPLES = 2000


class VerifiedAttempt(TypedDict):
    """``p`` is the probability that the attempt is right, or how likely it was found where it is only ranked (null:
    none was given), ``answer`` what it answers (null: no reader found one)."""

    p: float | None
    correct: bool
    answer: str | None


class VerifiedTask(TypedDict):
    task: str
    attempts: list[VerifiedAttempt]


class KeyRecord(TypedDict):
    """A text that answers nothing: of what ``family``, whether it is ``listed`` among the keys that a verifier can be
    taught, and the probabilities that it was given as the answer to several tasks."""

    family: str
    text: str
    listed: bool
    p: list[float]


class _Verification(TypedDict):
    """``name`` says who verified, after ``step`` updates; ``reason`` whether it wrote a chain of thought."""

    name: str
    step: int
    reason: bool
    tasks: list[VerifiedTask]
    keys: list[KeyRecord]


class VerificationRecord(_Verification, total=False):
    """``ranks`` says that attempts at a task are compared with each other, and none is called right or wrong."""

    ranks: bool


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A verifier on the attempts of held-out tasks, ``n`` of each at most; shares with intervals over tasks.

    ``auroc`` is the chance that a right attempt gets a higher probability than a wrong one, over all tasks, or of the
    same task for one that ranks (ties count half; None where one of the two is missing); ``accuracy`` that of its
    verdicts at one half (None for one that ranks). ``right`` is the share of right attempts, ``majority`` that of the
    most frequent answer of a task (None where no answers were read), ``best`` that of the attempt it finds likeliest,
    ``any_right`` what a perfect verifier would reach. ``passed`` are the shares of answers that say nothing and were
    called right, by kind, with the trials (intervals take them as independent). ``gain`` is ``best`` less ``majority``
    on the same tasks.
    """

    name: str
    reason: bool
    tasks: int
    attempts: int
    unscored: int
    n: int
    auroc: Interval | None
    accuracy: Interval | None
    right: Interval
    majority: Interval | None
    best: Interval
    any_right: Interval
    gain: Paired | None
    passed: Mapping[str, tuple[Interval, int]]


def verification(record: VerificationRecord) -> Verification:
    """What a record says. Raises ValueError when nothing was verified."""
    kept = [[one for one in task["attempts"] if one["p"] is not None] for task in record["tasks"]]
    kept = [attempts for attempts in kept if attempts]
    if not kept:
        raise ValueError(f"{record['name']} verified no attempt: hold out more tasks, or look at its rollouts")
    shared = _answers_known(kept)
    return Verification(
        name=record["name"],
        reason=record["reason"],
        tasks=len(kept),
        attempts=sum(map(len, kept)),
        unscored=sum(one["p"] is None for task in record["tasks"] for one in task["attempts"]),
        n=max(map(len, kept)),
        auroc=_auroc_interval(kept, within_tasks=record.get("ranks", False)),
        accuracy=None
        if record.get("ranks")
        else _share([[float((_p(one) >= HALF) == one["correct"]) for one in each] for each in kept]),
        right=_share([[float(one["correct"]) for one in each] for each in kept]),
        majority=_share([[majority(each)] for each in kept]) if shared else None,
        best=_share([[best(each)] for each in kept]),
        gain=paired_difference([[best(each)] for each in kept], [[majority(each)] for each in kept], seed=0)
        if shared
        else None,
        any_right=_share([[float(any(one["correct"] for one in each))] for each in kept]),
        passed=_passed(record["keys"]),
    )


def auroc(p: ArrayLike, correct: ArrayLike) -> float | None:
    """The chance that a right one is given more than a wrong one; ties count half. None without one of the two."""
    score, label = np.asarray(p, np.float64), np.asarray(correct, bool)
    right, wrong = np.sort(score[label]), np.sort(score[~label])
    if not (len(right) and len(wrong)):
        return None
    below = np.searchsorted(wrong, right, side="left") + np.searchsorted(wrong, right, side="right")
    return float(below.sum() / (2 * len(right) * len(wrong)))


def best(attempts: Sequence[VerifiedAttempt]) -> float:
    """Whether the likeliest attempt is right; of several that are equally likely, the share that is."""
    top = max(map(_p, attempts))
    return float(np.mean([one["correct"] for one in attempts if _p(one) == top]))


def majority(attempts: Sequence[VerifiedAttempt]) -> float:
    """Whether the most frequent answer is right, ties broken at random; 0 when no attempt answers."""
    votes = Counter(one["answer"] for one in attempts if one["answer"] is not None)
    most = [answer for answer, count in votes.items() if count == max(votes.values())]
    rights = [np.mean([one["correct"] for one in attempts if one["answer"] == answer]) for answer in most]
    return float(np.mean(rights)) if rights else 0.0


def write_verification(folder: Path, record: VerificationRecord) -> Path:
    """Write ``folder/verification/NAME.json`` whole or not at all, and give its path."""
    return write_record(folder / "verification", record["name"], record)


def read_verification(path: Path) -> VerificationRecord:
    """Read and check one file; ``ValueError`` says what is wrong with it."""
    return cast(VerificationRecord, read_record(path, "verification", _Verification, _faults, "run the stage again"))


def _faults(data: Mapping[str, Any]) -> Iterator[str]:
    for task in _rows(data["tasks"]):
        for one in _rows(task.get("attempts")):
            if not (isinstance(one.get("p"), int | float | None) and isinstance(one.get("correct"), bool)):
                yield f"task {task.get('task')!r:.100} has an attempt without p and correct"
    for key in _rows(data["keys"]):
        p = key.get("p")
        if not isinstance(p, list) or not all(isinstance(each, int | float) for each in p):
            yield f"the answer {key.get('text')!r:.100} has no list of probabilities"


def _rows(value: object) -> list[Mapping[str, object]]:
    """The objects of a list; an object without content for whatever else stands there, which is a fault."""
    if not isinstance(value, list):
        return [{"attempts": [{}], "p": None}]
    return [row if isinstance(row, Mapping) else {"attempts": [{}], "p": None} for row in value]


def _passed(keys: Sequence[KeyRecord]) -> dict[str, tuple[Interval, int]]:
    """Trials that passed: of listed keys, of all others, and of these by family. The same texts for every verifier,
    whether it was taught the list or not, so that two can be compared."""
    groups: dict[str, list[float]] = {}
    for key in keys:
        for name in (LISTED,) if key["listed"] else (OTHERS, key["family"]):
            groups.setdefault(name, []).extend(key["p"])
    order = [LISTED, OTHERS, *(name for name in groups if name not in (LISTED, OTHERS))]
    return {
        name: (wilson(sum(p >= HALF for p in groups[name]), len(groups[name])), len(groups[name]))
        for name in order
        if groups.get(name)
    }


def _auroc_interval(kept: Sequence[Sequence[VerifiedAttempt]], *, within_tasks: bool) -> Interval | None:
    """Resamples whole tasks, since attempts at one task are alike."""
    pairs = [(np.array([_p(one) for one in each]), np.array([one["correct"] for one in each])) for each in kept]
    ranked = np.array([_ranked(p, correct) for p, correct in pairs])

    def of(rows: NDArray[np.int64]) -> float | None:
        if within_tasks:
            above, count = ranked[rows].sum(axis=0)
            return float(above / count) if count else None
        drawn = [pairs[row] for row in rows]
        return auroc(np.concatenate([p for p, _ in drawn]), np.concatenate([c for _, c in drawn]))

    point = of(np.arange(len(pairs)))
    if point is None:
        return None
    rng = np.random.default_rng(0)
    values = [v for _ in range(_RESAMPLES) if (v := of(rng.integers(0, len(pairs), len(pairs)))) is not None]
    low, high = np.quantile(values, [0.025, 0.975]) if len(pairs) > 1 else (np.nan, np.nan)
    return Interval(point=point, low=float(low), high=float(high), level=0.95)


def _ranked(p: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[float, float]:
    """Of a task: in how many pairs of a right and a wrong attempt the right one is given more, and how many pairs."""
    count = float(correct.sum() * (~correct).sum())
    return (auroc(p, correct) or 0.0) * count, count


def _share(values: Sequence[Sequence[float]]) -> Interval:
    return bootstrap_mean(values, seed=0)


def _answers_known(kept: Sequence[Sequence[VerifiedAttempt]]) -> bool:
    return any(one["answer"] is not None for each in kept for one in each)


def _p(one: VerifiedAttempt) -> float:
    assert one["p"] is not None
    return one["p"]
