"""Checkpoints prove that they are whole; anything else is passed over, loudly, for the one before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from togi.run_folder.checkpoint import checkpoints, find_fault, manifest_mark, newest_good, save_checkpoint
from togi.run_folder.files import FolderError


def fill(folder: Path) -> None:
    (folder / "policy.safetensors").write_bytes(bytes(range(256)) * 4)


def sound(_: dict[str, Any]) -> None:
    return None


def marks(root: Path) -> dict[str, set[str]]:
    return {path.name: {manifest_mark(path)} for path in root.iterdir() if path.name.isdecimal()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for step in (10, 20):
        save_checkpoint(tmp_path / "checkpoints", step, {"step": step}, fill, lambda _: None, keep=2)
    return tmp_path / "checkpoints"


@pytest.fixture
def announced(root: Path) -> dict[str, set[str]]:
    return marks(root)


def test_the_newest_is_taken_and_old_ones_go(root: Path) -> None:
    announced: list[str] = []
    save_checkpoint(root, 30, {"step": 30}, fill, announced.append, keep=2)
    assert announced == [manifest_mark(root / "000030")]
    assert sorted(path.name for path in root.iterdir()) == ["000020", "000030"]
    found = newest_good(root, marks(root), pytest.fail, sound)
    assert found is not None
    assert found[1] == {"step": 30}


@pytest.mark.parametrize("name", ["policy.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "remove"])
def test_any_damaged_file_falls_back_and_says_so(
    root: Path, announced: dict[str, set[str]], name: str, harm: str
) -> None:
    file = root / "000020" / name
    content = bytearray(file.read_bytes())
    if harm == "cut":
        file.write_bytes(content[:-5])
    elif harm == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif harm == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
    heard: list[str] = []
    found = newest_good(root, announced, heard.append, sound)
    assert found is not None
    assert found[1] == {"step": 10}
    assert len(heard) == 1
    assert "000020" in heard[0]


def test_every_flipped_byte_of_the_manifest_is_noticed(root: Path, announced: dict[str, set[str]]) -> None:
    manifest = root / "000020" / "manifest.json"
    content = manifest.read_bytes()
    for index in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[index] ^= 1
        manifest.write_bytes(damaged)
        same_meaning = content[index : index + 1].isspace()
        assert find_fault(root / "000020", announced["000020"]) is not None or same_meaning, f"byte {index}"


def test_what_was_never_announced_is_no_checkpoint(root: Path, announced: dict[str, set[str]]) -> None:
    """Whole in itself, and put there by somebody else; or with a file that was not written."""
    save_checkpoint(root, 30, {"step": 30}, fill, lambda _: None, keep=3)
    (root / "000020" / "more.json").write_text("{}")
    heard: list[str] = []
    found = newest_good(root, announced, heard.append, sound)
    assert found is not None
    assert found[1] == {"step": 10}
    assert "no event names its manifest.json as it is" in heard[0]
    assert "more.json was added" in heard[1]


def test_checkpoints_are_in_order_of_their_steps(root: Path) -> None:
    for step in (999_999, 1_000_000):
        save_checkpoint(root, step, {"step": step}, fill, lambda _: None, keep=2)
    assert [path.name for path in checkpoints(root)] == ["999999", "1000000"]


def test_a_fault_outside_the_folder_counts(root: Path, announced: dict[str, set[str]]) -> None:
    found = newest_good(
        root, announced, lambda _: None, lambda state: "models/sft is gone" if state["step"] == 20 else None
    )
    assert found is not None
    assert found[1] == {"step": 10}


def test_leftovers_of_a_killed_write_are_removed(root: Path, announced: dict[str, set[str]]) -> None:
    shutil.copytree(root / "000020", root / ".000030.partial")
    assert newest_good(root, announced, pytest.fail, sound) is not None
    assert not (root / ".000030.partial").exists()


def test_no_good_checkpoint_at_all(root: Path, announced: dict[str, set[str]]) -> None:
    for path in root.iterdir():
        (path / "manifest.json").unlink()
    heard: list[str] = []
    assert newest_good(root, announced, heard.append, sound) is None
    assert len(heard) == 2


def test_too_little_space_is_said_before_anything_is_written(root: Path) -> None:
    with pytest.raises(FolderError, match="the disk is full"):
        save_checkpoint(root, 30, {"step": 30}, fill, pytest.fail, keep=1, needed=10**18)
    assert sorted(path.name for path in root.iterdir()) == ["000010", "000020"]
