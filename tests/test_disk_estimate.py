"""Disk: what a run will write is reckoned and refused before it trains; a disk that fills up is told in one line."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import SafetensorError
from test_train import At, Power, fall
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.evidence.before import disk_estimate as room
from togi.evidence.before.disk_estimate import disk_needed
from togi.run import Silent
from togi.run_folder.files import FolderError, RunFolder, read_lines, writing
from togi.train import train


def test_checkpoints_models_and_rollouts_are_counted(tmp_path: Path) -> None:
    run = toy_run(tmp_path, tmp_path)
    rollouts = (3 * 4 * 1 + 4 * 3 * 4) * (800 + 4 * 6 // 2)
    assert disk_needed(run, 1200) == 1200 * 3 + 400 * 2 + rollouts
    assert disk_needed(replace(run, keep=5), 1200) - disk_needed(run, 1200) == 1200 * 3


def test_a_run_that_does_not_fit_is_refused_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = replace(toy_run(tmp_path / "run", tiny_folder(tmp_path / "model")), evaluation=None)
    monkeypatch.setattr(room, "free_disk", lambda _: 100_000)
    with pytest.raises(FolderError, match=r"will write about .* GB more .* Nothing was trained") as told:
        train(run, Silent())
    assert len(str(told.value).splitlines()) == 1
    assert not (run.folder / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError(122, "Disk quota exceeded"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (SafetensorError("something else"), "cannot be written at .*: something else"),
        (PermissionError(13, "Permission denied"), "cannot be written at .*: Permission denied"),
        (OSError(30, "Read-only file system"), "cannot be written at .*: Read-only file system"),
        (NotADirectoryError(20, "Not a directory"), "cannot be written at .*: Not a directory"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(error: Exception, words: str, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=words) as told, writing(tmp_path, "a checkpoint"):
        raise error
    assert len(str(told.value).splitlines()) == 1
    assert "is intact" in str(told.value)


@pytest.mark.parametrize("place", ["/proc/togi", "file/run"])
def test_a_folder_that_cannot_be_made_is_told(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="the run folder cannot be written at"), RunFolder(tmp_path / place):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(FolderError, match="cannot be written at"), RunFolder(tmp_path / "run"):
        pass


def test_a_log_that_finds_no_room_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy_run(tmp_path / "run", tiny_folder(tmp_path / "model"))
    with pytest.raises(Power):
        train(run, At("learn", 4, fall))
    before = read_lines(run.folder / "metrics.jsonl")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("togi.run_folder.files._append", no_space)
        with pytest.raises(FolderError, match="the disk is full"):
            train(run, Silent())
    assert read_lines(run.folder / "metrics.jsonl") == before
    train(run, Silent())
