"""The nouns of an attack on a reward, and how bad a payout is; it knows no probe and asks no reward.

A payout is what an answer earned on a row's own scale: 0 is what an empty answer earned
there, 1 is what the right answer earned. Adding a constant to a reward, or scaling it, changes no payout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from togi.run_folder.files import dumps, write_text

Severity = Literal["note", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("note", "low", "medium", "high", "critical")
FILE = "redteam.json"
BOUNDS: Mapping[Severity, float] = {"low": 0.01, "medium": 0.1, "high": 0.5}
"""The mean payout from which a probe is a finding of that severity."""

FAMILIES: Mapping[str, tuple[str, str]] = {
    "binding": ("right answers in full, empty ones least", "mend the rows, or the form the reward reads"),
    "extraction": (
        "hedges, lists, answers in the wrong place",
        "read one answer from one place, as <answer>; pay nothing when two are given, and never search the whole text",
    ),
    "form": ("form without an answer", "let the form gate and never add: gate(reward, by=form())"),
    "style": ("style without an answer", "take the words, the length or the tone out, or gate them by a verifier"),
    "judge": ("texts that fool judges", "gate the judge by a verifier, or show it the right answer"),
    "code": ("programs that only look right", "compare outputs outside of the process that made them: code()"),
    "process": ("the process that grades", "never evaluate an answer; read it strictly, and bound the work"),
    "group": ("copies and episodes without a move", "compare with the truth, not with the siblings"),
    "constant": ("one answer to everything", "compare with each row's own answer by value, not by its truth or parts"),
    "invariance": ("the same answer, the same pay", "keep no state, draw no numbers, look at nothing but the answer"),
    "ending": ("ending at once", "pay for what was reached, and not for having ended"),
    "stalling": ("saying on what leads nowhere", "pay for what was reached, and set turns in [env]"),
    "acting": ("acting without effect", "pay for the effect of an act, and not for the act"),
    "leak": ("reading the answer from what is said", "say nothing that holds the answer before it was given"),
    "calls": ("malformed calls, and floods of them", "answer them with what was wrong, and pay nothing"),
    "voices": ("speaking as the user, a tool or the environment", "read no message's text as what somebody else said"),
    "breaking": (
        "messages that readers stumble over",
        "answer them, or name a harmless message: what breaks it must earn nothing",
    ),
    "repeating": ("paid acts again and again", "pay an act once, or what was reached at the end"),
    "twins": ("rows whose answer was made impossible", "compare with the answer of the row"),
}
"""Each family with what it tries, and what to do when it pays; in the order of the card."""


@dataclass(frozen=True, kw_only=True)
class Payout:
    """What one probe earned. ``share`` is its mean payout over ``rows``, ``most`` the largest; ``task`` and ``text``
    are where it was. ``free`` probes need no knowledge of the right answer: a policy can give them always."""

    family: str
    probe: str
    free: bool
    rows: int
    share: float
    most: float
    task: str
    text: str

    @property
    def severity(self) -> Severity | None:
        """None when it pays nothing worth a word."""
        found = [level for level in SEVERITIES if self.share >= BOUNDS.get(level, 2.0)]
        if found == ["low", "medium", "high"] and self.free:
            return "critical"
        return found[-1] if found else None


@dataclass(frozen=True, kw_only=True)
class Weakness:
    """One thing that is wrong with a reward, in plain words, with the row and the answer that show it."""

    family: str
    severity: Severity
    title: str
    task: str = ""
    text: str = ""

    @property
    def advice(self) -> str:
        return FAMILIES[self.family][1]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How often the right answer, written in another way, was still paid in full."""

    name: str
    kept: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """What an attack found. ``digest`` names the reward and the files of its functions, ``written`` says in which form
    answers were given. Of ``rows`` rows ``full`` paid the right answer in full. ``constant`` and its ``constant_share``
    are the best single answer to every row: the payout of knowing nothing."""

    name: str
    reward: str
    digest: str
    version: str
    written: str
    rows: int
    full: int
    constant: str = ""
    constant_share: float = 0.0
    variants: tuple[Variant, ...] = ()
    payouts: tuple[Payout, ...] = ()
    weaknesses: tuple[Weakness, ...] = ()
    tried: Mapping[str, int]
    seconds: float = 0.0

    @property
    def severity(self) -> Severity | None:
        """The worst that was found; None when nothing was but notes."""
        found = [weakness.severity for weakness in self.weaknesses if weakness.severity != "note"]
        return max(found, key=SEVERITIES.index, default=None)

    def fails(self, at: Severity) -> bool:
        """Whether something at least as bad as ``at`` was found."""
        return self.severity is not None and SEVERITIES.index(self.severity) >= SEVERITIES.index(at)

    @property
    def worst(self) -> Weakness | None:
        return max(self.weaknesses, key=lambda one: SEVERITIES.index(one.severity), default=None)

    def of(self, family: str) -> tuple[list[Payout], list[Weakness]]:
        """A family's payouts, the largest first, and its weaknesses, the worst first."""
        payouts = sorted((p for p in self.payouts if p.family == family), key=lambda p: -p.share)
        found = [w for w in self.weaknesses if w.family == family]
        return payouts, sorted(found, key=lambda w: -SEVERITIES.index(w.severity))


def plain(cards: Sequence[Card]) -> dict[str, object]:
    """The cards as JSON values; each with its severity, each weakness with its advice."""
    rows = []
    for card in cards:
        row = asdict(card) | {"severity": card.severity}
        row["weaknesses"] = [asdict(one) | {"advice": one.advice} for one in card.weaknesses]
        rows.append(row)
    return {"cards": rows}


def write_cards(path: Path, cards: Sequence[Card]) -> None:
    """Write the cards as JSON: a whole file, or the old one stays."""
    write_text(path, json.dumps(json.loads(dumps(plain(cards))), indent=1, ensure_ascii=True) + "\n")
