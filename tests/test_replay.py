"""Groups that are learned from again: which, how old, how often, and the same ones after a stop."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest

from togi.run_folder.files import dumps
from togi.samplers.replay import Priority, Replay, ReplayBuffer, remembered_rows
from togi.types import Group, Message, Score, Task, ToolCall, Trajectory, Turn

TASKS = [Task(id=f"t:{number}", prompt=(Message(role="user", content="?"),), answer=number) for number in range(60)]


def attempt(version: int, *, logp: tuple[float, ...] = (-0.125, -1 / 3)) -> Trajectory:
    call = ToolCall(name="add", arguments="{}")
    turn = Turn(
        prompt=(1, 2),
        completion=(3, 4),
        text="…",
        stop="eos",
        logp=logp,
        replies=(Message(role="assistant", content="ok", tool_calls=(call,)),),
        version=version,
        state_key="s",
    )
    return Trajectory(turns=(turn,), stop="eos", counts={"calls": 1.0})


def group(number: int, version: int, *rewards: float) -> Group:
    scores = tuple(Score(value=reward, parts={"correct": reward}) for reward in rewards)
    return Group(task=TASKS[number], trajectories=(attempt(version),) * len(rewards), scores=scores, baseline=0.5)


def buffer(**changes: object) -> ReplayBuffer:
    return ReplayBuffer(Replay(**{"share": 0.5, **changes}), 1)  # type: ignore[arg-type]


def ids(groups: list[Group]) -> list[str]:
    return [each.task.id for each in groups]


def test_nothing_is_replayed_before_anything_was_sampled() -> None:
    held = buffer()
    assert held.take(8, 0) == []
    assert held.counts() == {"replay/groups": 0, "replay/held": 0, "replay/expired": 0}


def test_the_share_is_that_of_a_steps_groups_as_far_as_there_are_any() -> None:
    held = buffer(share=0.25)
    held.add([group(number, 0, 1, 0) for number in range(3)])
    assert len(held.take(8, 1)) == 2
    assert len(held.take(8, 1)) == 1
    assert held.take(8, 1) == []


def test_what_is_too_old_is_forgotten() -> None:
    held = buffer(oldest=4, uses=9)
    held.add([group(0, 0, 1, 0), group(1, 3, 1, 0)])
    assert ids(held.take(8, 4)) == ["t:0", "t:1"]
    assert held.counts() == {
        "replay/groups": 2, "replay/held": 2, "replay/expired": 0, "replay/age": 2.5, "replay/age_max": 4,
    }  # fmt: skip
    assert ids(held.take(8, 5)) == ["t:1"]
    assert held.counts()["replay/expired"] == 0  # it was used
    held.add([group(2, 5, 1, 0)])
    assert held.take(8, 10) == []
    assert held.counts()["replay/expired"] == 1


def test_an_attempt_is_as_old_as_its_oldest_turn() -> None:
    held, early = buffer(oldest=2), attempt(1)
    late = replace(early, turns=(*early.turns, *attempt(4).turns))
    held.add([replace(group(0, 4, 1, 0), trajectories=(late, late))])
    assert held.take(8, 4) == []


@pytest.mark.parametrize("uses", [1, 2])
def test_a_group_is_replayed_so_often(uses: int) -> None:
    held = buffer(uses=uses)
    held.add([group(0, 0, 1, 0)])
    assert [len(held.take(8, version)) for version in range(1, 5)] == [1] * uses + [0] * (4 - uses)


def test_the_newest_come_first() -> None:
    held = buffer(priority="newest")
    held.add([group(number, 0, 1, 0) for number in range(5)])
    assert ids(held.take(4, 1)) == ["t:3", "t:4"]


@pytest.mark.parametrize(("priority", "share"), [("signal", 0.8), ("chance", 0.5)])
def test_what_differs_more_comes_oftener_by_signal(priority: Priority, share: float) -> None:
    """One of two: rewards of variance 1/4 against 1/16."""
    drawn: Counter[str] = Counter()
    for seed in range(600):
        held = ReplayBuffer(Replay(share=0.5, priority=priority), seed)
        held.add([group(0, 0, 1, 0), group(1, 0, 0.5, 0)])
        drawn.update(ids(held.take(2, 1)))
    assert drawn["t:0"] / 600 == pytest.approx(share, abs=0.06)


def test_only_scored_attempts_that_were_paid_differently_are_remembered() -> None:
    held = buffer()
    lost = Score(value=math.nan, status="timeout")
    alike, mixed = group(0, 0, 1, 1), group(1, 0, 1, 0)
    one_lost = replace(mixed, trajectories=(attempt(0),) * 3, scores=(*mixed.scores, lost))
    shown = replace(mixed, trajectories=(attempt(0), attempt(0, logp=())))
    failed = replace(mixed, trajectories=(attempt(0), Trajectory(turns=(), stop="error", error="gone")))
    held.add([alike, one_lost, shown, failed])
    assert held.take(8, 1) == [mixed]


def test_what_is_remembered_comes_back_from_plain_data_as_it_was() -> None:
    held, again = buffer(uses=2), buffer(uses=2)
    held.add([group(number, number, 1, 0, 0.25) for number in range(6)])
    held.take(4, 6)
    again.restore(json.loads(json.dumps(remembered_rows(held.held))), TASKS)
    assert again.held == held.held
    assert [again.take(4, version) for version in (7, 8)] == [held.take(4, version) for version in (7, 8)]


def test_numbers_that_json_lacks_come_back_from_a_checkpoint() -> None:
    """What a step was found worth is nan where nothing was said of it."""
    held, again = buffer(), buffer()
    scores = (
        Score(value=1.0, steps=(math.nan, 0.5, math.nan), step_ends=(0, 1, 1), parts={"odd": math.inf}),
        Score(value=0.0, dense=(-math.inf, 0.25), shares={"odd": math.nan}),
    )
    held.add([replace(group(0, 0, 1, 0), scores=scores)])
    again.restore(json.loads(dumps(remembered_rows(held.held))), TASKS)
    assert repr(again.held) == repr(held.held)  # nan is not equal to itself


@pytest.mark.parametrize(
    ("changes", "got"),
    [({"share": 0.0}, "0.0"), ({"share": 1.0}, "1.0"), ({"oldest": 0}, "got 0"), ({"uses": 0}, "got 0")],
)
def test_numbers_that_replay_nothing_or_all_are_refused(changes: dict[str, float], got: str) -> None:
    with pytest.raises(ValueError, match=got):
        Replay(**changes)  # type: ignore[arg-type]
