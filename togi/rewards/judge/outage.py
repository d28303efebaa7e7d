"""How much of a judge's work may be lost: a warning from 5%, and a stop at 20%. It asks nobody anything itself.

A lost verdict is never a zero, so learning goes on from what is left. When much is lost, what is left is no fair
sample any more (the hard and the long questions are lost first), and the run stops where it can be resumed.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from togi.askers.asker import AskerWarning
from togi.rewards.judge.verdict import Verdict

WARN = 0.05
"""The share of questions without a verdict from which it is said."""

PAUSE = 0.20
"""The share at which the run stops. A call of which everything is lost stops it too, however small."""

ENOUGH = 20
"""Questions that a share is measured over at least; small calls are added up until then."""


class JudgeOutage(ValueError):
    """Too many verdicts are missing. Nothing is wrong with the run: it can be resumed once the judge answers."""


class Losses:
    """The verdicts of one judge, and those that are missing, since a share was last measured."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked = 0
        self._lost: Counter[str] = Counter()

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Count the verdicts of one call. Raises JudgeOutage, warns with AskerWarning."""
        missing = [f"{verdict.status}: {verdict.note}" for verdict in verdicts if verdict.status != "ok"]
        self._asked += len(verdicts)
        self._lost.update(missing)
        nothing = len(missing) == len(verdicts) > 1
        if self._asked < ENOUGH and not nothing:
            return
        asked, lost = self._asked, self._lost
        self._asked, self._lost = 0, Counter()
        share = lost.total() / asked
        if share < WARN:
            return
        often = "; ".join(f"{count} × {note}" for note, count in lost.most_common(3))
        said = f"{self._name}: {lost.total()} of {asked} questions to the judge have no verdict ({often})"
        if share >= PAUSE or nothing:
            raise JudgeOutage(
                f"{said}. The run stops here, since what is left is no fair sample; nothing was scored 0. "
                "Mend what is named, and run the same command again: it goes on from the last checkpoint, and "
                "answers that a server gave are not asked for again."
            )
        warnings.warn(f"{said}. They are left out, not scored 0.", AskerWarning, stacklevel=2)


@contextmanager
def judge_warnings_to(note: Callable[[str], None]) -> Iterator[None]:
    """Pass on what judges warn of, which Python would print once and in its own form."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, AskerWarning):
                note(f"warning: {message}")
            else:
                others(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", AskerWarning)
        warnings.showwarning = show
        yield
