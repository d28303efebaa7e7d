"""Who is to blame for a call that failed: the completion that was graded, or the grader and its machine.

The grader is asked again with a control in place of the completion: the task's own answer, or an empty one. When it
answers for the control within its limits, the completion alone made it fail: it earns 0 and is counted as its own
fault, since an attempt that left the means by breaking its grader would be paid for breaking it. When the control
fails too, the attempt is left unscored. Code that runs in a grader may forge what it says: of that no more is believed
than a mark, and that the task's own answer cannot be read only where the control says so too. It knows no grader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from togi.sandbox.workers.pool import Pool, Verdict
from togi.types import Fault, Score, Status

FAULTS: Mapping[str, Fault] = {
    "timeout": "time",
    "memory": "memory",
    "depth": "depth",
    "length": "length",
    "error": "error",
}
Call = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Graded:
    """What came of one call, and of its control where that was asked: where the call failed."""

    verdict: Verdict
    control: Verdict | None = None

    @property
    def own_fault(self) -> Fault | None:
        """How the completion made its grader fail; None where it did not."""
        failed = self.verdict.status != "ok" and self.control is not None and self.control.status == "ok"
        return FAULTS[self.verdict.status] if failed else None


def graded(
    pool: Pool,
    grader: str,
    calls: Sequence[Call],
    controls: Sequence[Call],
    library: Mapping[str, str] | None = None,
    warm: Sequence[Call] = (),
    *,
    gives: Callable[[Any], bool],
) -> list[Graded]:
    """Call ``grader`` for each of ``calls``, and for the control of each that fails. Equal calls are made once. With
    ``warm``, for each call one in which nothing is foreign, each call has a process of its own (``Pool.call_many``).
    What the grader never ``gives`` is an error."""

    def asked(calls: Sequence[Call], warm: Sequence[Call]) -> list[Verdict]:
        return [_believed(each, gives) for each in _asked_once(pool, grader, calls, library, warm)]

    verdicts = asked(calls, warm)
    lost = [place for place, verdict in enumerate(verdicts) if verdict.status != "ok" or _blames_the_row(verdict)]
    said = dict(zip(lost, asked(_at(lost, controls), _at(lost, warm)), strict=True))
    return [_settled(verdict, said.get(place)) for place, verdict in enumerate(verdicts)]


def _believed(verdict: Verdict, gives: Callable[[Any], bool]) -> Verdict:
    if verdict.status != "ok" or gives(verdict.value):
        return verdict
    return replace(verdict, status="error", note=f"its worker replied {str(verdict.value)[:100]!r}", value=None)


def _blames_the_row(verdict: Verdict) -> bool:
    return verdict.status == "ok" and "bad_gold" in verdict.value


def _settled(verdict: Verdict, control: Verdict | None) -> Graded:
    if control is not None and _blames_the_row(verdict) and control.status == "ok" and not _blames_the_row(control):
        verdict = replace(verdict, status="error", note="it was said that the task's own answer cannot be read; it can")
    return Graded(verdict=verdict, control=control)


def _at(places: Sequence[int], calls: Sequence[Call]) -> list[Call]:
    return [calls[place] for place in places] if calls else []


def _asked_once(
    pool: Pool, grader: str, calls: Sequence[Call], library: Mapping[str, str] | None, warm: Sequence[Call]
) -> list[Verdict]:
    keys = [json.dumps(call, sort_keys=True) for call in calls]
    asked = dict(zip(keys, calls, strict=True))
    first = list(dict(zip(keys, warm, strict=True)).values()) if warm else []
    said = pool.call_many(grader, list(asked.values()), library, fresh=bool(warm), warm=first) if asked else []
    found = dict(zip(asked, said, strict=True))
    return [found[key] for key in keys]


def failed(name: str, each: Graded, parts: Sequence[str] = ()) -> Score:
    """The score of a call that failed. A completion at fault has 0 in each of ``parts`` beside ``name``."""
    assert each.verdict.status != "ok"
    if each.own_fault:
        return own_fault(name, each.own_fault, each.verdict.note, parts)
    status: Status = "timeout" if each.verdict.status == "timeout" else "error"
    return Score(value=math.nan, status=status, note=f"{name}: {each.verdict.note}")


def own_fault(name: str, fault: Fault, note: str, parts: Sequence[str] = ()) -> Score:
    """Nothing for a completion that kept its grader from grading it."""
    note = f"{name}: {note} (the completion's own fault: {fault})"
    return Score(value=0.0, parts=dict.fromkeys((name, *parts), 0.0), own_fault=fault, note=note)


def ran_over(score: Score) -> bool:
    """Whether a grader took all its time, by whoever's doing."""
    return score.status == "timeout" or score.own_fault == "time"
