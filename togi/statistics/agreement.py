"""Agreement of raters beyond chance: two, a fixed number, or any number with gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from togi.statistics.intervals import Array


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """``observed`` and by-chance ``expected`` agreement, and ``value``: the share of the room above chance that is
    filled (nan where chance leaves none). Rare classes make it small at any ``observed``, so give both."""

    observed: float
    expected: float
    value: float


def cohen_kappa(table: ArrayLike) -> Agreement:
    """Two raters' agreement from their counts [K, K], rows the first's class, columns the second's (Cohen 1960)."""
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.sum() > 0:
        raise ValueError(f"wanted a square table of counts that are not all 0, got shape {table.shape}")
    total = table.sum()
    expected = float(table.sum(0) @ table.sum(1) / total**2)
    return _agreement(float(np.trace(table) / total), expected)


def fleiss_kappa(counts: ArrayLike) -> Agreement:
    """Agreement of the same number n of ratings on each of N items, from counts [N, K] by class (Fleiss 1971)."""
    counts = np.asarray(counts, np.float64)
    raters = counts.sum(-1)
    if counts.ndim != 2 or not counts.size or raters.min() < 2 or np.ptp(raters):
        raise ValueError("wanted counts of items by classes, every item with the same number of ratings, at least 2")
    n = raters[0]
    alike_N = (counts * (counts - 1)).sum(-1) / (n * (n - 1))
    share_K = counts.sum(0) / counts.sum()
    return _agreement(float(alike_N.mean()), float(share_K @ share_K))


def krippendorff_alpha(ratings: ArrayLike, level: Literal["nominal", "ordinal", "interval"] = "nominal") -> Agreement:
    """1 - D_o / D_e of ratings [raters, items], nan where there is none (Krippendorff 2011, "Computing Krippendorff's
    alpha-reliability"). Items with fewer than two ratings are left out. Agreements are 1 minus the disagreements,
    which for levels other than "nominal" are in units of the squared difference."""
    ratings = np.asarray(ratings, np.float64)
    paired = ratings[:, (~np.isnan(ratings)).sum(0) >= 2]
    values = np.unique(paired[~np.isnan(paired)])
    counts_UK = np.stack([(paired == value).sum(0) for value in values], -1) if values.size else np.zeros((0, 0))
    if not counts_UK.size:
        raise ValueError("agreement needs at least one item with two ratings")
    each_U = counts_UK.sum(-1, keepdims=True) - 1
    coincidence = counts_UK.T @ (counts_UK / each_U) - np.diag((counts_UK / each_U).sum(0))
    n_K = coincidence.sum(0)
    n = n_K.sum()
    distance = _distance(values, n_K, level)
    expected = (np.outer(n_K, n_K) - np.diag(n_K)) / (n - 1)
    return _agreement(1 - float((coincidence * distance).sum() / n), 1 - float((expected * distance).sum() / n))


def _distance(values: Array, n_K: Array, level: str) -> Array:
    """Squared differences [K, K] between classes."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    # Ordinal: how many ratings lie between two classes, their own counted half.
    place = np.cumsum(n_K) - n_K / 2 if level == "ordinal" else values
    return np.asarray((place[:, None] - place[None]) ** 2)


def _agreement(observed: float, expected: float) -> Agreement:
    value = (observed - expected) / (1 - expected) if expected < 1 else float("nan")
    return Agreement(observed=observed, expected=expected, value=value)
