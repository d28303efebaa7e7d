"""Verifiers on held-out attempts, as a table and sentences: right from wrong, best of n, answers that say nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.after.verifier_rates import OTHERS, Verification, VerificationRecord, verification
from togi.rewards.judge.fool_judge import ALARM
from togi.short_values import MISSING, p_value, percent, text
from togi.statistics import Interval

Row = tuple[str, list[str]]
SURE = 0.05  # the p-value of a paired difference below which it is told as one
NOTHING = "Answers that say nothing, called right"


@dataclass(frozen=True, kw_only=True)
class VerifiersView:
    """One column a verifier. ``sentences`` say of each whether it tells right from wrong, and whether it is fooled."""

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
        ("Verdicts that are right", [MISSING if one.accuracy is None else _share(one.accuracy) for one in found]),
        ("Any one attempt is right", [_share(one.right) for one in found]),
        ("Most frequent answer is right", [MISSING if one.majority is None else _share(one.majority) for one in found]),
        ("The attempt it rates highest is right (best of n)", [f"{_share(one.best)}, n = {one.n}" for one in found]),
        ("At least one attempt is right", [_share(one.any_right) for one in found]),
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
        said = f"{name}: all attempts are right, or all wrong, so they do not show what it can do."
    elif not math.isfinite(one.auroc.low):
        said = f"{name}: one task does not show how far tasks differ."
    elif one.auroc.low > 0.5:
        said = f"{name} tells right attempts from wrong ones: AUROC {_number(one.auroc)}; guessing has 0.5."
    else:
        said = f"There is no evidence that {name} tells right attempts from wrong ones: AUROC {_number(one.auroc)}."
    return tuple(each for each in (said, _gain(one, name), _fooled(one, name)) if each)


def _gain(one: Verification, name: str) -> str:
    """Whether choosing by the verifier beats the most frequent answer, which is free."""
    if one.gain is None or not math.isfinite(one.gain.low):
        return ""
    low, high = 100 * one.gain.low, 100 * one.gain.high
    band = f"{100 * one.gain.point:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}, {p_value(one.gain.p)}"
    sure = one.gain.p < SURE
    if sure and one.gain.point > 0:
        return f"The attempt that {name} rates highest is right more often than the most frequent answer ({band})."
    if sure and one.gain.point < 0:
        return f"The attempt that {name} rates highest is right less often than the most frequent answer ({band})."
    return f"There is no evidence that choosing by {name} beats the most frequent answer, which is free ({band})."


def _fooled(one: Verification, name: str) -> str:
    if OTHERS not in one.passed:
        return ""
    rate, tried = one.passed[OTHERS]
    fooled = f"{name} called {percent(rate.point)} of {tried} answers right that say nothing and were not trained on."
    return fooled if rate.point > ALARM else f"{fooled} Other texts may still fool it."


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
