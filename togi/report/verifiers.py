"""Verifiers on held-out attempts, as a table and sentences: right from wrong, best of n, answers that say nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.verification import Verification, VerificationRecord, verification
from togi.report.plain import MISSING, percent, text
from togi.statistics import Interval

Row = tuple[str, list[str]]
NOTHING = "answers that say nothing, called right"


@dataclass(frozen=True, kw_only=True)
class VerifiersView:
    """One column a verifier. ``sentences`` say of each whether it parts right from wrong, and whether it is fooled."""

    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]


def verifiers_view(records: Sequence[VerificationRecord]) -> VerifiersView | None:
    """None when no verifier was measured."""
    found = []
    for record in records:
        try:
            found.append(verification(record))
        except ValueError:
            continue  # nothing was verified: there is nothing to show
    if not found:
        return None
    kinds = dict.fromkeys(kind for one in found for kind in one.passed)
    rows = [
        ("Held-out attempts", [f"{one.attempts} at {one.tasks} tasks" for one in found]),
        ("AUROC, right over wrong", [MISSING if one.auroc is None else _number(one.auroc) for one in found]),
        ("Verdicts that are right", [_share(one.accuracy) for one in found]),
        ("One attempt right (mean)", [_share(one.right) for one in found]),
        ("Most frequent answer right", [MISSING if one.majority is None else _share(one.majority) for one in found]),
        ("Likeliest attempt right (best of n)", [f"{_share(one.best)}, n = {one.n}" for one in found]),
        ("Any attempt right", [_share(one.any_right) for one in found]),
        *((f"{NOTHING}: {kind}", [_passed(one, kind) for one in found]) for kind in kinds),
        ("Left out: no verdict", [str(one.unscored) for one in found]),
    ]
    return VerifiersView(
        heads=tuple(text(one.name) for one in found),
        rows=tuple(rows),
        sentences=tuple(said for one in found for said in sentences(one)),
    )


def sentences(one: Verification) -> tuple[str, ...]:
    """Whether a verifier is worth asking."""
    name = text(one.name)
    if one.auroc is None:
        said = f"{name}: the attempts are all right, or all wrong, so nothing can be said of it."
    elif not math.isfinite(one.auroc.low):
        said = f"{name}: one task says nothing of the spread between tasks."
    elif one.auroc.low > 0.5:
        said = f"{name} parts right attempts from wrong ones: AUROC {_number(one.auroc)}, where a coin has 0.5."
    else:
        said = f"There is no evidence that {name} parts right attempts from wrong ones: AUROC {_number(one.auroc)}."
    untaught = one.passed.get("not taught")
    if untaught is None:
        return (said,)
    rate, tried = untaught
    fooled = f"{name} called {percent(rate.point)} of {tried} answers that say nothing right."
    return said, fooled if rate.point > 0.02 else f"{fooled} Other texts still may fool it."


def _passed(one: Verification, kind: str) -> str:
    if kind not in one.passed:
        return MISSING
    rate, tried = one.passed[kind]
    return f"{_share(rate)} of {tried}"


def _share(one: Interval) -> str:
    known = f" ({100 * one.low:.1f}–{100 * one.high:.1f})" if math.isfinite(one.low) else ""
    return f"{percent(one.point)}{known}"


def _number(one: Interval) -> str:
    known = f" ({one.low:.2f}–{one.high:.2f})" if math.isfinite(one.low) else ""
    return f"{one.point:.2f}{known}"
