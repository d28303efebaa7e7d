"""Several learners do what one does: the same gradients, metrics and checkpoints; and who is lost is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_policy import samples
from torch.distributed import HashStore  # type: ignore[attr-defined]

from togi.learners.following import follows
from togi.learners.starting import LearnerLost, Others, check_world
from togi.models.microbatch import divided
from togi.models.ranks import IN_VAIN, of_talk
from togi.models.sample_bytes import packed_samples, unpacked_samples
from togi.models.trie import packed_length
from togi.run import ModelChoice, Run, Scale
from togi.types import Sample

HERE = Path(__file__).parent


def test_groups_stay_whole_and_every_sample_has_one_learner() -> None:
    made = samples(groups=7)
    parts = divided(made, 3)
    assert sorted(i for part in parts for i in part) == list(range(len(made)))
    owners = {made[i].group: number for number, part in enumerate(parts) for i in part}
    assert all(owners[made[i].group] == number for number, part in enumerate(parts) for i in part)
    lengths = [packed_length([made[i] for i in part]) for part in parts]
    longest = max(packed_length([s for s in made if s.group == group]) for group in range(7))
    assert max(lengths) - min(lengths) <= longest


@pytest.mark.parametrize(("groups", "count", "empty"), [(1, 1, 0), (1, 2, 1), (2, 2, 0), (2, 4, 2), (0, 3, 3)])
def test_with_few_groups_some_learners_have_none(groups: int, count: int, empty: int) -> None:
    assert sum(not part for part in divided(samples(groups=groups), count)) == empty


def test_one_learner_has_all_samples_in_their_order() -> None:
    assert divided(samples(groups=3), 1) == [list(range(12))]


FULL = replace(
    samples(groups=1, attempts=1)[0],
    state_keys=("a", "b"),
    shares={"right": 0.5},
    baseline=0.25,
    weight=np.float32(0.5),  # type: ignore[arg-type]
    old_logp=np.array([0.0, -1.5], np.float32),
    steps=np.array([np.nan, 1.0], np.float32),
    role="white",
    recorded=True,
    stop="length",
)


@pytest.mark.parametrize("sample", [FULL, *samples(groups=1, attempts=2)])
def test_a_sample_is_what_it_was_after_its_journey(sample: Sample) -> None:
    (again,), words = unpacked_samples(packed_samples([sample], {"verb": "learn", "needs": ["old_logp"]}))
    assert words == {"verb": "learn", "needs": ["old_logp"]}
    for name, value in vars(sample).items():
        other = getattr(again, name)
        if isinstance(value, np.ndarray):
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value)
        else:
            assert other == value, name


@dataclass
class Process:
    """A learner of which is known whether it lives."""

    how: str = ""
    host: str = "127.0.0.1"

    def alive(self) -> bool:
        return not self.how

    def ending(self) -> str:
        return self.how

    def end(self, seconds: float) -> None:
        raise AssertionError("nobody ends here")


class Noted:
    """Ranks of which only the notes are asked."""

    def __init__(self, *notes: str) -> None:
        self._notes = notes

    def notes(self) -> list[tuple[str, float]]:
        return [(what, 0.0) for what in self._notes]


TALK = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:61234")
LOST: dict[str, tuple[list[Process], tuple[str, ...], RuntimeError, str | None]] = {
    "one died": ([Process("signal 9"), Process()], ("learn", "learn", "learn"), TALK, "learner 1 died (signal 9)"),
    "one died, and another was left alone by it": (
        [Process("exit code 1"), Process("signal 9")],
        ("learn", IN_VAIN, "learn, pass 2 of 3"),
        TALK,
        "learner 2 died (signal 9)",
    ),
    "one hangs": (
        [Process("exit code 1"), Process()],
        ("learn", IN_VAIN, "learn, pass 2 of 3"),
        RuntimeError("Timed out waiting 600000ms for recv operation to complete"),
        "learner 2 does not answer (learn, pass 2 of 3",
    ),
    "the first has a fault of its own": ([Process()], ("learn", "learn"), RuntimeError("out of memory"), None),
}


@pytest.mark.parametrize("case", LOST)
def test_who_is_lost_is_named(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes, notes, error, wanted = LOST[case]
    monkeypatch.setattr("togi.learners.starting._SETTLE", 0.0)
    others = Others(tmp_path)
    others.started = dict(enumerate(processes, 1))
    others.ranks = Noted(*notes)  # type: ignore[assignment]
    (tmp_path / "1.log").write_text("the log of learner 1")
    (tmp_path / "2.log").write_text("the log of learner 2")
    why = others.blame(error)
    assert (why is None) == (wanted is None)
    if why and wanted:
        assert why.startswith(wanted)
        assert f"the log of learner {wanted.split()[1]}" in why
        assert f"the log of learner {3 - int(wanted.split()[1])}" not in why


def test_a_learner_that_dies_before_it_is_there_ends_the_wait(tmp_path: Path) -> None:
    others = Others(tmp_path)
    others.started = {1: Process("exit code 2")}
    (tmp_path / "1.log").write_text("ModuleNotFoundError: No module named 'togi'")
    with pytest.raises(LearnerLost, match=r"(?s)learner 1 died \(exit code 2\).*No module named"):
        others.wait_for(HashStore(), 2, deadline=60)


def test_a_learner_that_does_not_come_is_named(tmp_path: Path) -> None:
    store = HashStore()
    store.set("here/1", "")
    with pytest.raises(LearnerLost, match="learner 2 did not start within 0 s"):
        Others(tmp_path).wait_for(store, 3, deadline=0)


@pytest.mark.parametrize(
    ("said", "talk"),
    [
        ("Timed out waiting 3000ms for recv operation to complete", True),
        ("[gloo/transport/tcp/pair.cc:538] Connection reset by peer", True),
        ("The size of tensor a (3) must match the size of tensor b (4)", False),
    ],
)
def test_a_broken_talk_is_told_from_other_faults(said: str, talk: bool) -> None:
    assert of_talk(RuntimeError(said)) is talk


def test_torchrun_has_to_start_as_many_as_the_recipe_says() -> None:
    check_world(2, {"WORLD_SIZE": "2"})
    with pytest.raises(ValueError, match=r"scale.learners is 2, and torchrun has started 3 processes"):
        check_world(2, {"WORLD_SIZE": "3"})


@pytest.mark.parametrize(
    ("learners", "rank", "wanted"), [(2, "1", True), (2, "0", False), (2, None, False), (1, "1", False)]
)
def test_who_follows(
    learners: int, rank: str | None, wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    run = Run(name="x", folder=tmp_path, model=ModelChoice(source="m"), stages=(), scale=Scale(learners=learners))
    assert follows(run) is wanted


def apart(count: int, out: Path, *more: str) -> Any:
    """What several learners of `learners_apart.py` found."""
    command = [sys.executable, str(HERE / "learners_apart.py"), str(count), str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def close(one: Any, other: Any) -> None:
    """Equal but for the order in which numbers were added: a norm's layer adds its weights' gradients in float32."""
    if isinstance(one, Mapping):
        assert one.keys() == other.keys()
        for name in one:
            close(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            close(a, b)
    else:
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_learners_do_what_one_does(count: int, tmp_path: Path) -> None:
    """Losses of every family, with adapters, critics and references, in float64; checkpoints go from one to several and
    back."""
    found = apart(count, tmp_path / "found.json")
    for name, result in found.items():
        if name.endswith("resumed"):
            close(result["steps"], result["expected"])
            close(result["left"], result["wanted"])
            assert sum(file.endswith(".safetensors") for file in result["files"]) == count
        else:
            alone, together = result
            close(together, alone)


@pytest.mark.slow
@pytest.mark.parametrize("goes", ["SIGKILL", "SIGSTOP"])
def test_a_learner_that_goes_is_missed(goes: str, tmp_path: Path) -> None:
    found = apart(2, tmp_path / "found.json", goes)
    assert found["talk"]
    assert found["notes"][1][0] == "about to learn"
