"""A folder that goes on is as it was written: what was decided, what was made, and what models were asked and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from togi.run_folder.decided import hold_to
from togi.run_folder.files import FolderError, RunFolder, write_text
from togi.run_folder.integrity import check

PLAN = {"tables": {"train": {"steps": 3, "workers": 1}}}
ONE, OTHER = '{"says": "one"}\n', '{"says": "two"}\n'


def made(path: Path) -> None:
    with RunFolder(path) as folder:
        hold_to(path, folder, "plan.json", PLAN)
        folder.event("made", files={"made.json": write_text(path / "made.json", "{}")})
        folder.append("words.jsonl", {"says": "one"})
        (path / "replies.jsonl").write_text(ONE)
        folder.event("answered", logs={**folder.seal("replies.jsonl"), **folder.grown()})


def goes_on(path: Path, steps: int = 3, workers: int = 1) -> None:
    plan = {"tables": {"train": {"steps": steps, "workers": workers}}}
    with RunFolder(path) as folder:
        hold_to(path, folder, "plan.json", plan, may_change=("train.workers",))


EDITS: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: (path / "plan.json").write_text("{}"), "plan.json was changed"),
    (lambda path: (path / "made.json").write_text("[]"), "made.json was changed"),
    (lambda path: (path / "made.json").unlink(), "made.json is missing"),
    (lambda path: (path / "replies.jsonl").write_text(OTHER), "replies.jsonl was changed"),
    (lambda path: (path / "replies.jsonl").write_text(OTHER + ONE), "replies.jsonl was changed"),
    (lambda path: (path / "replies.jsonl").write_text(ONE[:-3]), "replies.jsonl is cut"),
    (lambda path: (path / "replies.jsonl").unlink(), "replies.jsonl is missing"),
    (lambda path: (path / "words.jsonl").write_text(OTHER), "words.jsonl was changed"),
    (lambda path: (path / "events.jsonl").write_text(ONE), "events.jsonl was changed"),
]


@pytest.mark.parametrize(("edit", "said"), EDITS, ids=range(len(EDITS)))
def test_a_folder_that_was_edited_does_not_go_on(tmp_path: Path, edit: Callable[[Path], object], said: str) -> None:
    made(tmp_path)
    edit(tmp_path)
    with pytest.raises(FolderError, match=said):
        goes_on(tmp_path)
    assert any(said in str(fault) for fault in check(tmp_path).faults)


def test_what_a_kill_left_is_gone_on_from(tmp_path: Path) -> None:
    made(tmp_path)
    for name in ("replies.jsonl", "words.jsonl"):
        (tmp_path / name).write_text(ONE + OTHER)
    goes_on(tmp_path, workers=9)
    assert check(tmp_path).faults == ()
    with pytest.raises(FolderError, match="was decided otherwise"):
        goes_on(tmp_path, steps=4)


def test_nothing_is_vouched_for_that_is_not_there(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        assert folder.seal("replies.jsonl") == {}
