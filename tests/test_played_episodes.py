"""What the doctor says of a few episodes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from togi.evidence.before.played_episodes import episode_findings
from togi.types import Group, Score, Stop, Task, Trajectory, Turn


def group(*attempts: tuple[int, Mapping[str, float]], stop: Stop = "eos") -> Group:
    """Attempts of so many turns of five tokens, with what was counted."""
    turn = Turn(prompt=(1,), completion=(2,) * 5, text="x", stop="eos")
    made = tuple(Trajectory(turns=(turn,) * turns, stop=stop, counts=counts) for turns, counts in attempts)
    return Group(task=Task(id="t", prompt=()), trajectories=made, scores=tuple(Score(value=0.0) for _ in made))


CALLED = {"calls": 2.0, "calls_failed": 0.0, "calls_unreadable": 0.0}
SHOWN = [
    (group((1, {}), (4, {})), ["ok"], "attempts take 1 to 4 turns, 2.5 on average, of 5 tokens"),
    (group((2, {}), stop="context"), ["ok", "warn"], "of 1 attempts 1 filled the model's context"),
    (group((2, {}), (2, {}), stop="turns"), ["ok", "warn"], "of 2 attempts 2 used up their turns"),
    (group((2, {}), stop="tokens"), ["ok", "warn"], "of 1 attempts 1 used up their tokens"),
    (group((2, {}), stop="length"), ["ok"], "attempts take 2"),
    (group((2, {"knocks": 3.0}), (2, {})), ["ok", "ok"], "counted an attempt: knocks 1.50"),
    (group((2, CALLED)), ["ok", "ok"], "calls 2.00"),
    (group((1, {**CALLED, "calls": 0.0})), ["ok", "ok", "warn"], "called no tool in any attempt"),
    (group((2, {**CALLED, "calls_unreadable": 1.0})), ["ok", "ok", "warn"], "50% of its calls cannot be read"),
    (group((2, {**CALLED, "calls_failed": 1.0})), ["ok", "ok", "warn"], "50% of its calls fail"),
]


@pytest.mark.parametrize(("shown", "levels", "title"), SHOWN)
def test_what_episodes_show(shown: Group, levels: list[str], title: str) -> None:
    found = episode_findings([shown])
    assert [finding.level for finding in found] == levels
    assert any(title in finding.title for finding in found)


def test_nothing_played_shows_nothing() -> None:
    assert episode_findings([group((0, {}))]) == []
