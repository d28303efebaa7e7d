"""The run folder: one holder at a time, lines that survive a kill, a chain that shows edits, writes that are whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from togi.run_folder.files import (
    FolderError,
    RunFolder,
    broken_link,
    digest,
    dumps,
    read_lines,
    write_folder,
    write_text,
)


def test_a_folder_in_use_is_refused_naming_the_holder(tmp_path: Path) -> None:
    with RunFolder(tmp_path):
        opening = f"RunFolder(Path({str(tmp_path)!r})).__enter__()"
        code = f"from pathlib import Path\nfrom togi.run_folder.files import RunFolder\n{opening}"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert other.returncode != 0
        assert f"in use by process {os.getpid()}" in other.stderr
    with RunFolder(tmp_path):
        pass


def test_a_cut_last_line_is_left_out_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [row["step"] for row in read_lines(path)] == [1, 2]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(FolderError, match="line 2"):
        read_lines(path)


@pytest.mark.parametrize("change", ["edit", "delete", "reorder", "insert"])
def test_the_event_chain_shows_every_edit(tmp_path: Path, change: str) -> None:
    for part in range(2):
        with RunFolder(tmp_path) as folder:
            folder.event("started", part=part, value=float("nan"))
            folder.event("stage", name="é")
    events = read_lines(tmp_path / "events.jsonl")
    assert broken_link(events) is None
    if change == "edit":
        events[1]["name"] = "other"
    elif change == "delete":
        del events[1]
    elif change == "reorder":
        events[1], events[2] = events[2], events[1]
    else:
        events.insert(2, dict(events[1]))
    assert broken_link(events) in (1, 2)


def test_cutting_returns_to_the_sizes_of_a_checkpoint(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.append("metrics.jsonl", {"step": 1})
        sizes = folder.sizes("metrics.jsonl", "timings.jsonl")
        folder.append("metrics.jsonl", {"step": 2})
        folder.append("timings.jsonl", {"step": 2})
        folder.cut(sizes)
        assert read_lines(tmp_path / "metrics.jsonl") == [{"step": 1}]
        assert read_lines(tmp_path / "timings.jsonl") == []


class FullDisk:
    """Raises ENOSPC where a real disk would."""

    def __call__(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", FullDisk())
    with pytest.raises(FolderError, match=r"the disk is full.*manifest\.json"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, lambda folder: (folder / "a").write_text("old") and None)

    def fail(folder: Path) -> None:
        (folder / "a").write_text("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(path, fail)
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan_and_digests_do_not_depend_on_key_order() -> None:
    assert json.loads(dumps({"a": float("nan"), "b": [float("inf"), 1.5]})) == {"a": None, "b": [None, 1.5]}
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
