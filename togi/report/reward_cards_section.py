"""A run's reward cards as tables and sentences: what each reward pays besides right answers. It attacks nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from togi.evidence.read_run import Json
from togi.evidence.redteam.reward_card import FAMILIES, SEVERITIES
from togi.harmless_text import shortened
from togi.short_values import MISSING, mapping, percent, text

LONGEST = 300


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One finding, with the answer that shows it."""

    severity: str
    title: str
    example: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class CardView:
    """One reward. ``families`` are (what was tried, how many answers, the largest mean payout, how bad)."""

    name: str
    sentence: str
    good: bool
    facts: tuple[tuple[str, str], ...]
    families: tuple[tuple[str, list[str]], ...]
    leaks: tuple[Leak, ...]


def card_view(card: Json) -> CardView:
    """The view of a card as it stands in ``redteam.json``; what is missing there is said to be missing."""
    found = [mapping(one) for one in card.get("weaknesses", ()) if mapping(one).get("severity") != "note"]
    found.sort(key=lambda one: -_rank(one.get("severity")))
    tried = mapping(card.get("tried"))
    answers = sum(count for count in tried.values() if isinstance(count, int))
    severity = card.get("severity")
    clean = f"Only right answers were paid: {answers:,} answers tried at {text(card.get('rows'))} rows."
    sentence = (
        clean
        if severity is None
        else f"{len(found)} {'finding' if len(found) == 1 else 'findings'}; the worst is {text(severity)}."
    )
    share = card.get("constant_share")
    facts = [
        ("Reward", text(card.get("reward"), LONGEST)),
        ("Reward digest", text(card.get("digest"))),
        ("Version", f"Togi {text(card.get('version'))}"),
        ("Right answers paid in full", f"{text(card.get('full'))} of {text(card.get('rows'))}"),
        ("Right answers written in other ways, paid the same", _kept(card)),
        ("One answer to everything earns", percent(share) if isinstance(share, int | float) else MISSING),
    ]
    return CardView(
        name=text(card.get("name")),
        sentence=sentence,
        good=severity is None,
        facts=tuple(facts),
        families=tuple(_family(card, name, words) for name, (words, _) in FAMILIES.items() if name in tried),
        leaks=tuple(
            Leak(
                severity=text(one.get("severity")),
                title=text(one.get("title"), LONGEST),
                example=shortened(str(one.get("text", "")), LONGEST),
                advice=text(one.get("advice"), LONGEST),
            )
            for one in found[:8]
        ),
    )


def _family(card: Json, name: str, words: str) -> tuple[str, list[str]]:
    paid = [mapping(one) for one in card.get("payouts", ()) if mapping(one).get("family") == name]
    shares = [one["share"] for one in paid if isinstance(one.get("share"), int | float)]
    bad = [mapping(one).get("severity") for one in card.get("weaknesses", ()) if mapping(one).get("family") == name]
    worst = max(bad, key=_rank, default=None)
    largest = percent(max(shares)) if shares else "–"
    return f"{name}: {words}", [
        text(mapping(card.get("tried")).get(name)),
        largest,
        text(worst) if worst else "nothing",
    ]


def _kept(card: Json) -> str:
    forms = [mapping(one) for one in card.get("variants", ())]
    asked = sum(int(one.get("rows", 0)) for one in forms)
    return f"{sum(int(one.get('kept', 0)) for one in forms)} of {asked}" if asked else MISSING


def _rank(severity: Any) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1
