"""Who drew a run's answers: engines in other processes, what failed among them, and which weights reached them. It
measures nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from togi.evidence.read_run import Json
from togi.run_folder.engine_events import BEGAN, FAILED, PUBLISHED, UNCHANGED, WAITED, in_words, seconds_of
from togi.short_values import duration, text

SHOWN = 20  # failures and waits in words


@dataclass(frozen=True, kw_only=True)
class EnginesView:
    """``rows`` has one row an engine: its name, how often it began, how long that took, how often it failed, and how it
    stood at the end."""

    facts: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, list[str]], ...]
    notes: tuple[str, ...]


def engines_view(events: Sequence[Json]) -> EnginesView | None:
    """None for a run that drew in its own process."""
    of: dict[str, list[Json]] = defaultdict(list)
    published: list[tuple[Json, str]] = []
    stage = ""
    for event in events:
        kind = event.get("event")
        if kind in (BEGAN, FAILED):
            of[str(event.get("engine"))].append(event)
        elif kind in (PUBLISHED, UNCHANGED):
            published.append((event, stage))
        elif kind in ("stage", "stage_done"):
            stage = text(event.get("name")) if kind == "stage" else ""
    if not of and not published:
        return None
    told = [event for event in events if event.get("event") in (FAILED, WAITED)]
    notes = [f"{text(event.get('time'))}: {text(in_words(event['event'], event), 600)}" for event in told]
    more = [f"… and {len(notes) - SHOWN} more among the events"] if len(notes) > SHOWN else []
    return EnginesView(
        facts=tuple(_weights(published)),
        rows=tuple((text(name), _row(of[name])) for name in sorted(of)),
        notes=(*notes[:SHOWN], *more),
    )


def _row(events: Sequence[Json]) -> list[str]:
    began = [event for event in events if event["event"] == BEGAN]
    failed = [event for event in events if event["event"] == FAILED]
    took = duration(fmean(map(seconds_of, began))) if began else "never"
    stands = "drew"
    if events[-1]["event"] == FAILED:
        stands = "given up" if events[-1].get("given_up") else "was beginning again"
    return [str(len(began)), took, str(len(failed)), stands]


def _weights(published: Sequence[tuple[Json, str]]) -> list[tuple[str, str]]:
    """``published`` has each event with the stage that was at work, "" where finished models were measured."""
    if not published:
        return []
    sent = [seconds_of(event) for event, _ in published if event["event"] == PUBLISHED]
    last, stage = published[-1]
    seen = f"after {text(last.get('version'))} updates of {stage}" if stage else "to measure a finished model"
    facts = [("Weights that reached them", f"{len(sent)} times")]
    if kept := len(published) - len(sent):
        facts.append(("Weights that they had already", f"{kept} times, and nothing was sent"))
    if sent:
        facts.append(("Writing and taking them", f"{fmean(sent):.2f} s on average, {max(sent):.2f} s at most"))
    return [
        *facts,
        ("The last ones", f"{text(last.get('name'))}, {seen}"),
        ("Their SHA-256 digest", text(last.get("sha256"))),
    ]
