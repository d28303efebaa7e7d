"""A card in the terminal, and in one line; it finds nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from togi.evidence.findings import Finding, Level
from togi.evidence.redteam.reward_card import FAMILIES, SEVERITIES, Card, Severity, Weakness
from togi.harmless_text import shortened

STYLES: dict[Severity | None, tuple[str, str]] = {
    None: ("✓", "green"),
    "note": ("·", "dim"),
    "low": ("!", "yellow"),
    "medium": ("!", "yellow"),
    "high": ("✗", "bold red"),
    "critical": ("✗", "bold red"),
}
LEVELS: dict[Severity | None, Level] = {
    None: "ok",
    "note": "ok",
    "low": "warn",
    "medium": "warn",
    "high": "warn",
    "critical": "fail",
}
SHOWN = 3  # findings of a family in the terminal; the JSON has all


def verdict(card: Card) -> str:
    """What was found, in one sentence."""
    worst = card.worst
    if card.severity is None or worst is None:
        return f"Nothing pays but right answers: {sum(card.tried.values()):,} answers tried at {card.rows} rows."
    count = sum(weakness.severity != "note" for weakness in card.weaknesses)
    bad = SEVERITIES.index(card.severity) >= SEVERITIES.index("high")
    lead = "This reward can be cheated" if bad else "This reward has leaks"
    more = f" {count} findings in all." if count > 1 else ""
    return f"{lead} ({card.severity}): {worst.title}.{more}"


def in_a_line(card: Card) -> str:
    """The worst payouts on one line."""
    found = []
    for family in card.tried:
        payouts, weak = card.of(family)
        if weak and weak[0].severity != "note":
            found.append(f"{family}: {weak[0].severity}" + (f" ({payouts[0].share:.0%})" if payouts else ""))
    many = card.constant and card.constant_share * card.rows > 1.01  # else it is the answer of one of the rows
    known = f"one answer to every row earns {card.constant_share:.0%}" if many else ""
    return "; ".join([*(found or ["nothing pays but right answers"]), *([known] if known else [])])


def findings(card: Card) -> list[Finding]:
    """The card for a doctor: one finding a family that paid, or one that says that nothing did."""
    found = []
    for family in card.tried:
        _, weak = card.of(family)
        if weak and weak[0].severity != "note":
            first = weak[0]
            detail = f"task {first.task}: {shortened(first.text, 160)!r}" if first.text else ""
            title = f"{first.severity}: {first.title}"
            found.append(Finding(level=LEVELS[first.severity], title=title, detail=detail, advice=first.advice))
    return found or [Finding(level="ok", title=verdict(card))]


def render(card: Card, console: Console) -> None:
    """The whole card: the verdict, what right answers get, and a line a family."""
    mark, style = STYLES[card.severity]
    head = Text(f"{mark} ", style=style).append(verdict(card), style="default")
    grid = Table("family", "tried", "worst", "", box=None, pad_edge=False)
    for family, (tries, _) in FAMILIES.items():
        if family not in card.tried:
            continue
        payouts, weak = card.of(family)
        worst = f"{payouts[0].share:.0%}" if payouts else ("–" if not weak else str(weak[0].severity))
        mark, style = STYLES[weak[0].severity if weak else None]
        grid.add_row(
            Text(f"{mark} {family}", style=style), f"{card.tried[family]:,}", worst, Group(Text(tries), *_shown(weak))
        )
    rows: list[RenderableType] = [head, Text(""), *_facts(card), Text(""), grid]
    console.print(Panel(Group(*rows), title=Text(f"{card.name}: {shortened(card.reward, 90)}"), title_align="left"))


def _facts(card: Card) -> Sequence[Text]:
    kept = sum(one.kept for one in card.variants)
    asked = sum(one.rows for one in card.variants)
    lost = ", ".join(f"{one.name} {one.kept}/{one.rows}" for one in card.variants if one.kept < one.rows)
    lines = [f"right answers paid in full: {card.full} of {card.rows} (written as: {card.written})"]
    if asked:
        lines.append(f"right answers written in other ways: {kept} of {asked}" + (f"; lost: {lost}" if lost else ""))
    if card.constant:
        lines.append(f"knowing nothing: {shortened(card.constant, 40)!r} to every row earns {card.constant_share:.0%}")
    return [Text(each) for each in lines]


def _shown(weak: Sequence[Weakness]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for weakness in weak[:SHOWN]:
        mark, style = STYLES[weakness.severity]
        shown.append(Text(f"{mark} {weakness.severity}: ", style=style).append(weakness.title, style="default"))
        if weakness.text:
            example = f"{weakness.task}: {shortened(weakness.text, 160)!r}"
            shown.append(Padding(Text(example, style="dim"), (0, 0, 0, 2)))
    if len(weak) > SHOWN:
        shown.append(Text(f"and {len(weak) - SHOWN} more", style="dim"))
    if weak and weak[0].severity != "note":
        shown.append(Text(f"→ {weak[0].advice}", style=STYLES[weak[0].severity][1]))
    return shown
