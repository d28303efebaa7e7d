"""Who drew a run's answers, from its events: numbers by hand, and events that say nothing sensible."""

from __future__ import annotations

from typing import Any

import pytest

from togi.report.engines_section import SHOWN, engines_view
from togi.run_folder.engine_events import in_words


def event(kind: str, **details: Any) -> dict[str, Any]:
    return {"time": "2026-01-01T00:00:00Z", "event": kind, **details}


def test_a_run_in_one_process_has_none() -> None:
    assert engines_view([event("step"), event("finished")]) is None


def test_who_drew_what_failed_and_what_reached_them() -> None:
    failed = event("engine_failed", engine="engine 1", why="it ended: signal 9", asked=3, given_up=False)
    view = engines_view(
        [
            event("engine_began", engine="engine 2", life=1, seconds=4.0),
            event("stage", name="hone", step=0),
            event("engine_began", engine="engine 1", life=1, seconds=2.0),
            event("weights_unchanged", version=0, name="start", sha256="00", seconds=9.0),
            event("weights_published", version=0, name="togi-a-0", sha256="aa", seconds=1.0),
            event("weights_unchanged", version=1, name="togi-a-0", sha256="aa", seconds=0.1),
            failed,
            event("engine_began", engine="engine 1", life=2, seconds=6.0),
            event("weights_published", version=3, name="togi-a-3", sha256="bb", seconds=2.0),
            event("engine_failed", engine="engine 2", why="it does not answer", asked=0, given_up=True),
        ]
    )
    assert view is not None
    assert [(name, row[0], row[2], row[3]) for name, row in view.rows] == [
        ("engine 1", "2", "1", "drew"),
        ("engine 2", "1", "1", "given up"),
    ]
    assert view.rows[0][1][1] == "4.0 s"
    facts = dict(view.facts)
    assert facts["Weights that reached them"] == "2 times"
    assert facts["Weights that they had already"] == "2 times, and nothing was sent"
    assert facts["Writing and taking them"] == "1.50 s on average, 2.00 s at most"
    assert facts["The last ones"] == "togi-a-3, after 3 updates of hone"
    assert facts["Their SHA-256 digest"] == "bb"
    assert "engine 1 failed, asked for 3 completions: it ended: signal 9. It is begun again." in view.notes[0]
    assert view.notes[1].endswith("engine 2 failed: it does not answer. It is given up.")
    many = engines_view([failed] * (SHOWN + 2))
    assert many is not None
    assert many.notes[-1] == "… and 2 more among the events"


@pytest.mark.parametrize(
    ("events", "stands"),
    [
        (["began"], "drew"),
        (["began", "failed"], "was beginning again"),
        (["failed"], "was beginning again"),
        (["began", "failed", "began"], "drew"),
        (["began", "failed", "failed", "gave up"], "given up"),
        (["gave up", "began"], "drew"),  # by a run that was taken up again
    ],
)
def test_how_an_engine_stood_at_the_end(events: list[str], stands: str) -> None:
    kinds = {"began": "engine_began", "failed": "engine_failed", "gave up": "engine_failed"}
    view = engines_view([event(kinds[each], engine="engine 1", given_up=each == "gave up") for each in events])
    assert view is not None
    assert view.rows[0][1][3] == stands


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ([event("stage", name="a"), "here", event("stage_done", name="a")], "after 4 updates of a"),
        ([event("stage", name="a"), event("stage_done", name="a"), "here"], "to measure a finished model"),
        (["here", event("stage", name="a")], "to measure a finished model"),
        ([event("stage", name="a"), event("stage", name="b"), "here"], "after 4 updates of b"),
    ],
)
def test_whose_weights_came_last(around: list[Any], words: str) -> None:
    published = event("weights_published", version=4, name="togi-a-4", sha256="aa", seconds=1.0)
    view = engines_view([published if each == "here" else each for each in around])
    assert view is not None
    assert dict(view.facts)["The last ones"] == f"togi-a-4, {words}"


@pytest.mark.parametrize(
    ("kind", "details", "words"),
    [
        ("engine_began", {"engine": "engine 1", "life": 1, "seconds": 2}, ""),
        (
            "engine_began",
            {"engine": "engine 1", "life": 2, "seconds": 2.5},
            "engine 1 draws again, 2.5 s after it was begun",
        ),
        (
            "engines_waited_for",
            {"what": "4 completions", "seconds": 30.2, "engines": ["engine 1 has been drawing for 40 s"]},
            "waiting for 4 completions for 30 s: engine 1 has been drawing for 40 s",
        ),
        ("engines_waited_for", {}, "waiting for None for 0 s: None"),
        ("weights_published", {"version": 1}, ""),
        ("engine_failed", {"seconds": "soon"}, "None failed: None. It is begun again."),
    ],
)
def test_events_in_words(kind: str, details: dict[str, Any], words: str) -> None:
    assert in_words(kind, details) == words


def test_weights_that_never_changed_are_told_as_such() -> None:
    view = engines_view([event("weights_unchanged", version=0, name="start", sha256="00", seconds=9.0)])
    assert view is not None
    facts = dict(view.facts)
    assert (facts["Weights that reached them"], facts["Weights that they had already"]) == (
        "0 times",
        "1 times, and nothing was sent",
    )
    assert "Writing and taking them" not in facts


def test_events_that_say_nothing_are_shown_as_far_as_they_go() -> None:
    kinds = ("engine_began", "engine_failed", "engines_waited_for", "weights_published", "weights_unchanged")
    assert engines_view([event(kind) for kind in kinds]) is not None
