"""Folders that foreign code wrote in are emptied, however they were left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from togi.sandbox.confine.scratch import empty, remove


def test_what_lay_in_it_is_named_and_gone(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "d").mkdir()
    (tmp_path / "a" / "b" / "file").write_text("x")
    (tmp_path / "0.moved").mkdir()
    (tmp_path / "1.moved").write_text("x")
    (tmp_path / "out").symlink_to(Path(__file__).parent)
    (tmp_path / "a" / "out").symlink_to(Path(__file__).parent)
    assert empty(tmp_path) == ["0.moved", "1.moved", "a", "out"]
    assert list(tmp_path.iterdir()) == []
    assert Path(__file__).exists()
    assert empty(tmp_path) == []


def test_folders_within_folders_within_folders_are_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "scratch"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for _ in range(3000):  # deeper than Python calls and than the system's names reach
        Path("d" * 20).mkdir()
        os.chdir("d" * 20)
    monkeypatch.chdir(tmp_path)
    remove(inside)
    assert not inside.exists()


def test_rights_that_were_taken_away_are_taken_back(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "a" / "b").mkdir(parents=True)
    (tmp_path / "scratch" / "a" / "file").write_text("x")
    for path in ("scratch/a/b", "scratch/a"):
        (tmp_path / path).chmod(0)
    remove(tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "scratch").symlink_to(tmp_path / "kept")
    remove(tmp_path / "scratch")
    assert (tmp_path / "kept" / "file").exists()


def test_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    remove(tmp_path / "absent")
