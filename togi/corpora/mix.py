"""Several sources as one file: in which proportion is said by weights, or by a temperature over their sizes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from togi.corpora.corpus import Corpus
from togi.corpora.dropped_rows import Left
from togi.corpora.written_rows import check_place, write_rows
from togi.data import DataError
from togi.data.columns import under_our_names
from togi.data.errors import Diagnostics, RowError
from togi.data.lineage import Lineage
from togi.data.mixture import check_weights, in_proportion, weights_at
from togi.data.row_values import Row
from togi.data.sources import check_kinds

MOST = 10_000_000  # rows of a mixture


def mix(
    corpora: Sequence[Corpus],
    out: Path,
    *,
    weights: Sequence[float] = (),
    temperature: float | None = None,
    size: int | None = None,
    seed: int = 0,
) -> Lineage:
    """Write ``size`` rows of the sources in their proportion, in an order that the seed decides.

    Without weights and temperature all rows are taken. Without ``size`` as many rows as there can be without taking one
    twice; a larger size takes rows of a source that is through again, each as often as another or once more. Raises
    DataError for proportions that say nothing, and sources whose columns do not go together.
    """
    check_place(out)
    if weights and temperature is not None:
        raise DataError("weights or a temperature say how much of each source is taken: give one of the two")
    sizes = [len(corpus) for corpus in corpora]
    if weights:
        check_weights(weights, len(corpora))
    parts = list(weights or weights_at(1.0 if temperature is None else temperature, sizes))
    if size is not None and not 1 <= size <= MOST:
        raise DataError(f"a mixture has from 1 to {MOST:,} rows; got --size {size}")
    taken = [index for index, weight in enumerate(parts) if weight]
    total = most_without_repeats(sizes, parts) if size is None else size
    counts = in_proportion(parts, total)
    if none := [corpora[index].source.name for index in taken if not counts[index]]:
        raise DataError(f"of {total} rows none is of {none[0]}: give a larger --size, or that source a weight of 0")
    rng = random.Random(seed)
    chosen = [(corpora[index], at) for index, count in enumerate(counts) for at in _drawn(sizes[index], count, rng)]
    rng.shuffle(chosen)
    _check_together(corpora)
    left = Left()
    left.skipped(corpus.skipped for corpus in corpora)
    if untaken := sum(max(0, own - count) for own, count in zip(sizes, counts, strict=True)):
        left.count("beyond the share of its source", untaken)
    rows: list[Row] = [corpus.rows[at] for corpus, at in chosen]
    return write_rows(
        out,
        rows,
        verb="mix",
        settings={
            "weights": list(weights),
            "temperature": temperature,
            "seed": seed,
            "taken": counts,
        },
        sources=[corpus.source for corpus in corpora],
        dropped=left.told(),
    )


def weights_of(text: str) -> list[float]:
    """Weights as they are typed, "2,1,1". Raises DataError."""
    try:
        return [float(each) for each in text.split(",")] if text.strip() else []
    except ValueError as error:
        raise DataError(f'weights are numbers with commas between them, as "2,1,1"; got {text!r:.80}') from error


def most_without_repeats(sizes: Sequence[int], weights: Sequence[float]) -> int:
    """The most rows in these proportions of which none comes twice."""
    total = round(min(size * sum(weights) / weight for size, weight in zip(sizes, weights, strict=True) if weight))
    while any(share > size for share, size in zip(in_proportion(weights, total), sizes, strict=True)):
        total -= 1  # rounding gave one source a row too many
    return total


def _drawn(size: int, count: int, rng: random.Random) -> list[int]:
    """``count`` places of ``size``, each as often as another or once more."""
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += rng.sample(range(size), min(size, count - len(drawn)))
    return drawn


def _check_together(corpora: Sequence[Corpus]) -> None:
    """Raise DataError where one source has a column that another lacks, or has of another kind."""
    problems, kinds = Diagnostics(), dict[str, tuple[str, int]]()
    first = corpora[0].source.name
    for corpus in corpora[1:]:
        for one in (corpora[0], corpus):
            try:
                check_kinds(under_our_names(one.rows[0], {}), 1, kinds)
            except RowError as error:
                problems.add(corpus.source.name, f"{error} of {first}: give both the same columns, or mix in a recipe")
        kinds.clear()
    problems.stop_if_any()
