"""What a judge's reply says. Knows neither who is asked nor what the verdict pays.

A reply is read strictly: a text that names no verdict, two verdicts, or one that was not on offer says nothing, and
nothing is what it counts for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from togi.askers.asker import MARK, Reply, Request
from togi.types import Status

YES_NO = ("Yes", "No")

_BEFORE, _AFTER = "*_\"'`([{ \t", "*_\"'`)]}.! \t"
_LINE = re.compile(r"verdict[*_]*\s*:(.*)", re.IGNORECASE)
_LABEL = re.compile(r"(?:the )?(?:answer|rating|score|verdict)(?: is)?\s*:?\s+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The probability of each option, which sum to 1 where they are renormalised; or none, and a status that says why
    there is no verdict. ``reasons`` is what the judge wrote before it."""

    probability: Mapping[str, float] = field(default_factory=dict)
    status: Status = "ok"
    note: str = ""
    reasons: str = ""


def read(question: Request, reply: Reply) -> Verdict:
    """The verdict of a reply: by its tokens' probabilities where they are known, else by its text."""
    if reply.status != "ok":
        return Verdict(status=reply.status, note=reply.note)
    reasons = (reply.text.rpartition(f"\n{MARK}")[0] or reply.text).strip() if question.reason else ""
    if reply.logp:
        weigh = normalised if question.renormalised else absolute
        return Verdict(probability=weigh(reply.logp, question.options), reasons=reasons)
    found = None if reply.cut and question.reason else read_text(reply.text, question.options)
    if found is None:
        return Verdict(status="unparseable", note=f"no verdict in {_shown(reply.text)}")
    return Verdict(probability={option: float(option == found) for option in question.options}, reasons=reasons)


def read_text(text: str, options: Sequence[str]) -> str | None:
    """The one option that a text gives as its verdict, or None.

    Either the whole text is an option ("2", "**B**", "Rating: 7", "7/10"), or its last line is ``Verdict: option`` and
    no other such line names another. Nothing is ever picked out of a sentence.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    marked = [_LINE.fullmatch(line.lstrip(_BEFORE)) for line in lines]
    verdicts = {_option(match[1], options) for match in marked if match}
    if verdicts:
        return verdicts.pop() if len(verdicts) == 1 and marked[-1] else None
    return _option(_LABEL.sub("", lines[0].lstrip(_BEFORE), count=1), options) if len(lines) == 1 else None


def _option(text: str, options: Sequence[str]) -> str | None:
    # Only marks that cannot change a number are taken off: "-1" and ".5" are no options.
    bare = text.lstrip(_BEFORE).rstrip(_AFTER)
    if len(options) > 2:  # "1/2" of a pair is no verdict
        bare = re.sub(rf"\s*/\s*{options[-1]}$", "", bare)
    return next((option for option in options if bare.casefold() == option.casefold()), None)


def normalised(logp: Mapping[str, float], options: Sequence[str]) -> dict[str, float]:
    """Softmax over the options; one that was not seen has probability 0."""
    top = max(logp.get(option, -math.inf) for option in options)
    weights = {option: math.exp(logp.get(option, -math.inf) - top) for option in options}
    total = sum(weights.values())
    return {option: weight / total for option, weight in weights.items()}


def absolute(logp: Mapping[str, float], options: Sequence[str]) -> dict[str, float]:
    """The options' probabilities as they are, among all that could be written; one that was not seen has 0."""
    return {option: math.exp(min(0.0, logp.get(option, -math.inf))) for option in options}


def debiased(first_shown: float, second_shown: float) -> float:
    """The soft label of RLAIF (arXiv 2309.00267, section 2.1): an answer's win probability, averaged over the two
    orders in which the pair was shown."""
    return (first_shown + second_shown) / 2


def flipped(first_shown: float, second_shown: float) -> bool:
    """Whether the judge prefers the other answer once the order is swapped."""
    return (first_shown - 0.5) * (second_shown - 0.5) < 0


def clamped(p: float, low: float) -> float:
    """``p`` within ``[low, 1 - low]``: after written reasons a judge is surer than it is right (Constitutional AI,
    arXiv 2212.08073, section 4.1, with low = 0.4)."""
    return min(max(p, low), 1 - low)


def expected_rating(probability: Mapping[str, float]) -> float:
    """The mean rating of options that are whole numbers (d-RLAIF, arXiv 2309.00267, section 2.2.2)."""
    return sum(float(option) * p for option, p in probability.items())


def centred(rating: float, scale: int) -> float:
    """A rating of 1 to ``scale`` as a number of -1 to 1."""
    return 2 * (rating - 1) / (scale - 1) - 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")
