"""People's judgements to preference tasks and back to pairs to judge; it does not know how judgements are stored.

Several people may judge a pair. When one person judged it more than once the last judgement counts. ``both_bad``
counts as a tie, ``skip`` as nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from togi.data.errors import DataError, RowError, RowSkipped
from togi.data.judgement_file import Answer, Judgement, Pair, rows_of
from togi.data.row_to_task import Prompting, make_task
from togi.data.task_sets import Tasks
from togi.statistics import Agreement, Interval, krippendorff_alpha, wilson
from togi.types import Message, Task

Combine = Literal["soft", "majority", "each"]
"""``soft``: the chance that a judge prefers it, (wins + ties / 2) / judges, and 0.5 is a label too. ``majority``: who
wins more often. ``each``: every judgement by itself."""


@dataclass(frozen=True, kw_only=True)
class PeopleAgreement:
    """How much people agree. ``raw`` is the share of pairs of judgements on one pair that say the same, ``alpha``
    Krippendorff's for nominal verdicts; both are None where nobody judged a pair of another's. ``left`` is how often
    the left answer won among those that had a winner: far from 50%, the side decided."""

    judgements: int
    judges: int
    pairs: int
    shared_pairs: int
    raw: float | None
    alpha: Agreement | None
    left: Interval | None
    verdicts: Mapping[str, int]


def preference_rows(
    judgements: Sequence[Judgement], combine: Combine = "soft"
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """(rows with the columns prompt, chosen, rejected and chosen_probability, what was left out by reason)."""
    rows: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    for batch in _batches(judgements, combine):
        try:
            rows.append(_row(batch, combine))
        except RowSkipped as reason:
            skipped[str(reason)] += 1
    return rows, dict(skipped)


def tasks_from_judgements(
    judgements: Sequence[Judgement],
    prompting: Prompting | None = None,
    *,
    combine: Combine = "soft",
    split: str = "train",
) -> Tasks:
    """One preference task a pair (with ``each`` a judgement), with ids such as "train:PAIR"; prompts are taken as they
    were judged, but for ``Prompting.system``. Raises DataError when one cannot become a task."""
    whole = replace(prompting or Prompting(), template="{prompt}", demonstrate=None, budget=None)
    rows, skipped = preference_rows(judgements, combine)
    tasks: list[Task] = []
    for row in rows:
        columns = {name: value for name, value in row.items() if name != "id"}
        try:
            tasks.append(make_task(columns, f"{split}:{row['id']}", whole))
        except RowError as error:
            raise DataError(f"pair {row['pair']}: {error}") from error
    return Tasks(tasks, skipped=skipped)


def pairs_to_judge(tasks: Sequence[Task], *, seed: int, authors: Sequence[str] = ()) -> list[Pair]:
    """Every two recorded answers of every task, on sides that are random by ``seed`` and the pair alone.

    ``authors`` says who wrote the first, the second, ... answer of every task. Ids speak of contents alone, so they
    give no side away, and the same two answers to the same prompt are one pair. Equal answers give none.
    """
    pairs: dict[str, Pair] = {}
    for task in tasks:
        if len(task.recorded) < 2:
            raise DataError(f"task {task.id} has {len(task.recorded)} recorded answers; two are needed to be compared")
        if authors and len(authors) < len(task.recorded):
            raise DataError(f"task {task.id} has {len(task.recorded)} answers and there are {len(authors)} authors")
        answers = [
            Answer(id=_digest(messages), author=authors[place] if authors else "", messages=messages)
            for place, messages in enumerate(task.recorded)
        ]
        for one, other in itertools.combinations(answers, 2):
            if one.messages != other.messages:
                pair = _placed(task.prompt, one, other, seed)
                pairs.setdefault(pair.id, pair)
    return list(pairs.values())


def agreement(judgements: Sequence[Judgement]) -> PeopleAgreement:
    """What the judgements say of the judges."""
    verdicts: Counter[str] = Counter(one.verdict for one in judgements)
    counted = _last(judgements)
    judges = {who: row for row, who in enumerate(sorted({one.who for one in counted}))}
    pairs = {pair: column for column, pair in enumerate(sorted({one.pair.id for one in counted}))}
    ratings = np.full((len(judges), len(pairs)), np.nan)
    for one in counted:
        if one.verdict != "skip":
            ratings[judges[one.who], pairs[one.pair.id]] = _vote(one)
    shared = (~np.isnan(ratings)).sum(0) >= 2
    same = [
        float(a == b)
        for column in ratings[:, shared].T
        for a, b in itertools.combinations(column[~np.isnan(column)], 2)
    ]
    decided = [one.verdict for one in counted if one.verdict in ("left", "right")]
    return PeopleAgreement(
        judgements=len(judgements),
        judges=len(judges),
        pairs=len(pairs),
        shared_pairs=int(shared.sum()),
        raw=sum(same) / len(same) if same else None,
        alpha=krippendorff_alpha(ratings) if same else None,
        left=wilson(decided.count("left"), len(decided)) if decided else None,
        verdicts=dict(verdicts),
    )


def _placed(prompt: tuple[Message, ...], one: Answer, other: Answer, seed: int) -> Pair:
    identity = hashlib.blake2b(
        f"{_digest(prompt)} {min(one.id, other.id)} {max(one.id, other.id)}".encode(), digest_size=8
    ).hexdigest()
    swapped = hashlib.blake2b(f"{seed}/{identity}".encode(), digest_size=1).digest()[0] & 1
    left, right = (other, one) if swapped else (one, other)
    return Pair(id=identity, prompt=prompt, left=left, right=right)


def _digest(messages: tuple[Message, ...]) -> str:
    return hashlib.blake2b(json.dumps(rows_of(messages)).encode(), digest_size=8).hexdigest()


def _last(judgements: Sequence[Judgement]) -> list[Judgement]:
    return list({(one.pair.id, one.who): one for one in judgements}.values())


def _batches(judgements: Sequence[Judgement], combine: Combine) -> list[list[Judgement]]:
    if combine == "each":
        return [[one] for one in _last(judgements)]
    batches: dict[str, list[Judgement]] = {}
    for one in _last(judgements):
        batches.setdefault(one.pair.id, []).append(one)
    return list(batches.values())


def _vote(one: Judgement) -> int:
    """1 for the answer whose id sorts first, -1 for the other, 0 for a tie, whatever sides they were shown on."""
    if one.verdict not in ("left", "right"):
        return 0
    winner, loser = (one.pair.left, one.pair.right) if one.verdict == "left" else (one.pair.right, one.pair.left)
    return 1 if winner.id < loser.id else -1


def _row(batch: Sequence[Judgement], combine: Combine) -> dict[str, Any]:
    """A preference row from the judgements of one pair. Raises RowSkipped when they decide nothing."""
    votes = [_vote(one) for one in batch if one.verdict != "skip"]
    if not votes:
        raise RowSkipped("every judge passed")
    total = sum(votes)
    if total == 0 and combine != "soft":
        raise RowSkipped("the judges saw a tie, or were split evenly")
    pair = batch[0].pair
    first, second = sorted((pair.left, pair.right), key=lambda answer: answer.id)
    chosen, rejected = (first, second) if total > 0 else (second, first)
    if chosen.messages == rejected.messages:
        raise RowSkipped("chosen and rejected are the same")
    raw = pair.prompt[0].role == "text"
    return {
        "id": batch[0].id if combine == "each" else pair.id,
        "pair": pair.id,
        "judges": len(votes),
        "prompt": pair.prompt[0].content if raw else rows_of(pair.prompt),
        "chosen": rows_of(chosen.messages),
        "rejected": rows_of(rejected.messages),
        # (wins + ties / 2) / judges, for votes of 1, 0 and -1.
        "chosen_probability": (1 + abs(total) / len(votes)) / 2 if combine == "soft" else 1.0,
    }
