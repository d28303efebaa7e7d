"""``preference``: how often an answer is preferred to its siblings, each pair shown in both orders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from togi.askers.asker import Asker, Request
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.base import Opened, Ruled, critique, drawn
from togi.rewards.judge.verdict import Verdict, clamped, debiased, flipped
from togi.types import Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.algebra import Surroundings

FIRST_SECOND = ("1", "2")


@dataclass(frozen=True, kw_only=True)
class preference(Ruled):
    """The mean probability with which an attempt is preferred to its siblings, each pair asked in both orders.

    Averaging the two orders takes out what the judge likes about a place (arXiv 2309.00267, section 2.1). With
    ``opponents`` an attempt meets only so many siblings on each side, and not all of them (0). ``clamp`` keeps every
    label within ``[clamp, 1 - clamp]``: 0.4 after reasons, as in Constitutional AI. The part ``NAME_flipped`` is the
    share of pairs in which the other answer wins once the order is swapped.
    """

    rubric: str = field(default="", kw_only=False)
    opponents: int = 0
    clamp: float = 0.0
    name: str = "preference"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opponents < 0 or not 0 <= self.clamp < 0.5:
            raise ValueError(f"{self.name}: opponents is at least 0, and clamp from 0 to below 0.5")

    def opened(self, at: Surroundings) -> OpenPreference:
        places = ("answer_1", "answer_2")
        template = prompts.read_template(self.base / self.template, places) if self.template else prompts.COMPARE
        return OpenPreference(self, self.asker(at), self.criteria(self.rubric), template)


class OpenPreference(Opened):
    """Every pair of answers is shown in both orders, once a criterion; equal answers are even, unasked."""

    def __init__(self, spec: preference, asker: Asker, criteria: tuple[str, ...], template: str) -> None:
        super().__init__(spec, asker)
        self._criteria, self._draws, self._template = criteria, spec.draws, template
        self._opponents, self._clamp = spec.opponents, spec.clamp
        self._ending = prompts.pair_ending(reason=spec.reason)

    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Request]:
        criteria = drawn(self._criteria, self._draws, task, trajectories)
        for a, b in self._asked(trajectories):
            for criterion in criteria:
                for first, second in ((a, b), (b, a)):
                    prompt = prompts.pair_prompt(
                        task,
                        trajectories[first],
                        trajectories[second],
                        rubric=criterion,
                        ending=self._ending,
                        template=self._template,
                    )
                    yield self._spec.question(prompt, FIRST_SECOND)

    def _pairs(self, trajectories: Sequence[Trajectory]) -> list[tuple[int, int]]:
        """Each pair once; with ``opponents`` only neighbours on the ring of attempts."""
        n = len(trajectories)
        reach = min(self._opponents or n, n // 2)
        ring = [(a, (a + step) % n) for step in range(1, reach + 1) for a in range(n)]
        return list(dict.fromkeys((min(pair), max(pair)) for pair in ring))

    def _asked(self, trajectories: Sequence[Trajectory]) -> list[tuple[int, int]]:
        texts = [prompts.answer_text(trajectory) for trajectory in trajectories]
        return [(a, b) for a, b in self._pairs(trajectories) if texts[a] != texts[b]]

    def _scores(self, task: Task, trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]) -> list[Score]:
        asked = self._asked(trajectories)
        each = len(verdicts) // max(1, len(asked))
        given = {pair: verdicts[i * each : (i + 1) * each] for i, pair in enumerate(asked)}
        wins: list[list[float]] = [[] for _ in trajectories]
        flips: list[list[float]] = [[] for _ in trajectories]
        lost: list[list[Verdict]] = [[] for _ in trajectories]
        said = ["" for _ in trajectories]
        for a, b in self._pairs(trajectories):
            labels = [_label(one, other) for one, other in _couples(given.get((a, b), ()))]
            sound = [label for label in labels if label is not None]
            if (a, b) in given and not sound:
                lost[a] += given[a, b]
                lost[b] += given[a, b]
                continue
            p = clamped(math.fsum(p for p, _ in sound) / len(sound), self._clamp) if sound else 0.5
            for place, who in enumerate((a, b), 1):
                reasons = critique(given.get((a, b), ()))
                said[who] = said[who] or (f"as answer {place} of 2: {reasons}" if reasons else "")
            wins[a].append(p)
            wins[b].append(1 - p)
            for who in (a, b):
                flips[who] += [float(flip) for _, flip in sound]
        return [self._score(*each) for each in zip(wins, flips, lost, said, strict=True)]

    def _score(self, wins: Sequence[float], flips: Sequence[float], lost: Sequence[Verdict], said: str) -> Score:
        if not wins and lost:
            return self._missing(lost)
        if not wins:
            note = f"{self.name}: there is no other attempt to compare with"
            return Score(value=math.nan, status="abstain", note=note)
        value = math.fsum(wins) / len(wins)
        parts = {self.name: value}
        if flips:
            parts[f"{self.name}_flipped"] = math.fsum(flips) / len(flips)
        return Score(value=value, parts=parts, note=said)


def _couples(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, Verdict]]:
    return zip(verdicts[::2], verdicts[1::2], strict=True)


def _label(one: Verdict, other: Verdict) -> tuple[float, bool] | None:
    """The first answer's win probability over both orders, and whether the order decided; None when one is missing."""
    if one.status != "ok" or other.status != "ok":
        return None
    shown_first, shown_second = one.probability["1"], other.probability["2"]
    return debiased(shown_first, shown_second), flipped(shown_first, shown_second)
