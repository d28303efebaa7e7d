"""What happens to engines in other processes, kept among a run's events and told to who watches. It knows their events,
and no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from togi.run import Watch
from togi.run_folder.files import RunFolder

BEGAN, FAILED, WAITED = "engine_began", "engine_failed", "engines_waited_for"
PUBLISHED, UNCHANGED = "weights_published", "weights_unchanged"


def told_of_engines(folder: RunFolder, watch: Watch, kind: str, **details: Any) -> None:
    """Keep an event, and tell what somebody may want to do something about. May be called in any thread."""
    folder.event(kind, **details)
    if text := in_words(kind, details):
        watch.note(f"warning: {text}" if kind == FAILED else text)


def in_words(kind: str, details: Mapping[str, Any]) -> str:
    """An event in a sentence; "" for what goes as it should."""
    engine, seconds = details.get("engine"), seconds_of(details)
    if kind == FAILED:
        then = "It is given up." if details.get("given_up") else "It is begun again."
        asked = f", asked for {details['asked']} completions" if details.get("asked") else ""
        return f"{engine} failed{asked}: {details.get('why')}. {then}"
    if kind == BEGAN and details.get("life") != 1:
        return f"{engine} draws again, {seconds:g} s after it was begun"
    if kind == WAITED:
        stands = details.get("engines")
        of = ", ".join(map(str, stands)) if isinstance(stands, list) else stands
        return f"waiting for {details.get('what')} for {seconds:.0f} s: {of}"
    return ""


def seconds_of(event: Mapping[str, Any]) -> float:
    """What an event says of its seconds; 0 where it says nothing of the kind."""
    seconds = event.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0
