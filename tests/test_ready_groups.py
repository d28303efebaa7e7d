"""Groups that were sampled ahead, as files: read back as they were, vouched for, and removed when nobody needs them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from test_rollout import task

from togi.run_folder.files import RunFolder, read_lines
from togi.run_folder.integrity import check
from togi.run_folder.ready_groups import ReadyGroups, files_ahead, of_later_stages, over
from togi.samplers.ahead import Place, Ready
from togi.types import Group, Message, Score, Trajectory, Turn

TASKS = [task("a"), task("b")]
TURN = Turn(
    prompt=(1, 2),
    completion=(3, 4),
    text="\ud800 half a pair",
    stop="eos",
    logp=(-0.1, -1 / 3),
    temperature=0.7,
    replies=(Message(role="tool", content="ü", name="sum"),),
    version=7,
)
GROUP = Group(
    task=TASKS[0],
    trajectories=(Trajectory(turns=(TURN,), stop="eos", counts={"calls": 2.0}),),
    scores=(
        Score(value=0.5, parts={"correct": 1.0}, dense=(0.0, 1.0), steps=(math.nan,), step_ends=(1,), own_fault="time"),
    ),
    role="buyer",
    baseline=0.25,
    references=(None,),
)
UNSCORED = replace(GROUP, scores=(Score(value=math.nan, status="timeout", note="late"),), references=(TURN,))


def ready(*groups: Group, since: int = 3) -> Ready:
    return Ready(tasks=("a", "b"), groups=groups, played=(*groups, GROUP), drawn=(2, 5), counts={"x": 0.5}, since=since)


def at(step: int, number: int = 0) -> Place:
    return Place(step=step, number=number)


def test_what_was_kept_is_found_as_it_was(tmp_path: Path) -> None:
    alike = replace(ready(GROUP), played=(GROUP,))
    kept = {at(0): ready(GROUP), at(2, 3): ready(UNSCORED, GROUP), at(5): alike, at(9): ready()}
    with RunFolder(tmp_path) as folder:
        shelf = ReadyGroups(folder, "hone-2", TASKS)
        for place, each in kept.items():
            shelf.keep(place, each)
        found = ReadyGroups(folder, "hone-2", TASKS).found()
        assert found.keys() == kept.keys()
        assert repr(found) == repr(kept)  # nan is not equal to itself
        assert not ReadyGroups(folder, "hone", TASKS).found()
        assert not ReadyGroups(folder, "hone-2", TASKS[:1]).found()  # of tasks that are not there any more
        shelf.drop(at(9), "stale")
        assert ReadyGroups(folder, "hone-2", TASKS).found().keys() == {at(0), at(2, 3), at(5)}
    events = read_lines(tmp_path / "events.jsonl")
    assert [event["event"] for event in events] == ["sampled"] * 4 + ["sampled_again"]
    assert {key: events[1][key] for key in ("stage", "step", "group", "since")} == {
        "stage": "hone-2",
        "step": 3,
        "group": 3,
        "since": 3,
    }
    assert events[4]["why"] == "stale"
    assert not check(tmp_path).faults


def test_a_file_that_no_event_names_is_no_group(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        shelf = ReadyGroups(folder, "hone", TASKS)
        shelf.keep(at(0), ready(GROUP))
        [path] = (tmp_path / "ahead").iterdir()
        path.with_name("hone-000001-0001.json").write_bytes(path.read_bytes())
        path.with_name("notes.json").write_text("{}")
        assert shelf.found().keys() == {at(0)}


def test_a_changed_group_shows(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        ReadyGroups(folder, "hone", TASKS).keep(at(0), ready(GROUP))
    [path] = (tmp_path / "ahead").iterdir()
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 9.5'))
    assert [fault.path for fault in check(tmp_path).faults] == ["ahead/hone-000001-0000.json"]


STAGES = ["form", "hone", "last"]
FILES = ["form-000002-0000", "hone-000001-0000", "hone-000003-0001", "hone-000004-0000", "last-000001-0000"]


@pytest.mark.parametrize(
    ("checkpoints", "gone"),
    [
        ([], 0),  # a run that begins anew learns from all
        ([(0, 0)], 0),
        ([(0, 2)], 1),
        ([(1, 0)], 1),
        ([(1, 1)], 2),
        ([(1, 3), (1, 1)], 2),  # it may go back to the older one
        ([(1, 3)], 3),
        ([(2, 0)], 4),
        ([(2, 1)], 5),
    ],
)
def test_groups_that_nobody_needs(tmp_path: Path, checkpoints: list[tuple[int, int]], gone: int) -> None:
    (tmp_path / "ahead").mkdir()
    for name in (*FILES, "renamed-000001-0000", "notes"):
        (tmp_path / "ahead" / f"{name}.json").touch()
    kept = []
    for number, (stage, step) in enumerate(checkpoints):
        kept.append(tmp_path / str(number))
        kept[-1].mkdir()
        (kept[-1] / "state.json").write_text(json.dumps({"position": {"stage": stage, "step": step, "total": 9}}))
    assert over(tmp_path, STAGES, kept) == [f"ahead/{name}.json" for name in FILES[:gone]]
    assert len(files_ahead(tmp_path)) == 7
    assert of_later_stages(tmp_path, STAGES, 1) == ["ahead/last-000001-0000.json"]
