"""Whatever is changed in a run folder after it was written is noticed, by name; nothing outside of it is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_train import At, Power, contents, fall
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.cli import run_command
from togi.evidence.after.eval_command import evaluate_run
from togi.evidence.read_run import read_run
from togi.report import render
from togi.run import Silent
from togi.run_folder.files import FolderError, RunFolder, append_event, digest, dumps, read_lines, write_text
from togi.run_folder.integrity import SHORTEST_HEAD, check, find_head, named_files, read_chain
from togi.run_folder.links import LOGS, PARTS
from togi.train import train

ROLLOUTS = "rollouts/grpo-000002.jsonl"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Change the lines of a file."""

    def act(folder: Path) -> None:
        (folder / name).write_text("".join(change(lines(folder / name))))

    return act


def first(old: str, new: str) -> Callable[[list[str]], list[str]]:
    """Replace a text where it stands first."""
    return lambda found: "".join(found).replace(old, new, 1).splitlines(keepends=True)


def flip(name: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return act


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def add(name: str, like: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copy(folder / like, folder / name) and None


def copy(name: str, like: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copytree(folder / like, folder / name) and None


def binary(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(b"\xff\x00\n") and None


def swap(one: str, other: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        (folder / one).rename(folder / "aside")
        (folder / other).rename(folder / one)
        (folder / "aside").rename(folder / other)

    return act


def recomputed(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Change events and compute their hashes anew, as somebody does who knows how they are made."""

    def act(folder: Path) -> None:
        before, rows = "", []
        for line in change(lines(folder / "events.jsonl")):
            row = {**json.loads(line), "before": before}
            del row["hash"]
            before = row["hash"] = digest(row)
            rows.append(dumps(row) + "\n")
        (folder / "events.jsonl").write_text("".join(rows))

    return act


def without_step_2(found: list[str]) -> list[str]:
    return [line for line in found if ROLLOUTS not in line]


def nothing_but_steps(found: list[str]) -> list[str]:
    return [line for line in found if '"event": "step"' in line]


ATTACKS = [
    ("an evaluation edited", edit("evaluations/grpo.json", first('"value": ', '"value": 1')), "evaluations/grpo.json"),
    ("an evaluation deleted", delete("evaluations/base.json"), "evaluations/base.json"),
    ("an evaluation added", add("evaluations/best.json", "evaluations/grpo.json"), "evaluations/best.json"),
    ("evaluations exchanged", swap("evaluations/base.json", "evaluations/grpo.json"), "evaluations/base.json"),
    ("an evaluation's white space", edit("evaluations/sft.json", lambda found: [*found, "\n"]), "evaluations/sft.json"),
    ("rollouts edited", edit(ROLLOUTS, first('"score"', '"scare"')), ROLLOUTS),
    ("rollouts deleted", delete(ROLLOUTS), ROLLOUTS),
    ("the last rollouts deleted", delete("rollouts/grpo-000004.jsonl"), "rollouts/grpo-000004.jsonl"),
    ("rollouts added", add("rollouts/grpo-000009.jsonl", ROLLOUTS), "rollouts/grpo-000009.jsonl"),
    ("rollouts copied", add("rollouts/grpo-000001.jsonl", ROLLOUTS), "rollouts/grpo-000001.jsonl"),
    ("rollouts exchanged", swap("rollouts/grpo-000001.jsonl", ROLLOUTS), ROLLOUTS),
    ("a rollout deleted", edit(ROLLOUTS, lambda found: found[1:]), ROLLOUTS),
    ("a rollout duplicated", edit(ROLLOUTS, lambda found: [found[0], *found]), ROLLOUTS),
    ("rollouts reordered", edit(ROLLOUTS, lambda found: found[::-1]), ROLLOUTS),
    ("a metric edited", edit("metrics.jsonl", first('"loss": ', '"loss": 1')), "metrics.jsonl"),
    ("a metrics row deleted", edit("metrics.jsonl", lambda found: found[:2] + found[3:]), "metrics.jsonl"),
    ("the last metrics row deleted", edit("metrics.jsonl", lambda found: found[:-1]), "metrics.jsonl"),
    ("a metrics row added", edit("metrics.jsonl", lambda found: [*found, found[-1]]), "metrics.jsonl"),
    ("a metrics row duplicated", edit("metrics.jsonl", lambda found: [found[0], *found]), "metrics.jsonl"),
    ("metrics reordered", edit("metrics.jsonl", lambda found: found[::-1]), "metrics.jsonl"),
    ("metrics emptied", edit("metrics.jsonl", lambda found: []), "metrics.jsonl"),
    ("metrics deleted", delete("metrics.jsonl"), "metrics.jsonl"),
    ("timings edited", edit("timings.jsonl", first("tokens", "tokans")), "timings.jsonl"),
    ("the recipe edited", edit("recipe.toml", first("toy", "joy")), "recipe.toml"),
    ("the recipe deleted", delete("recipe.toml"), "recipe.toml"),
    ("the manifest edited", edit("manifest.json", first('"seed": 3', '"seed": 4')), "manifest.json"),
    ("the manifest deleted", delete("manifest.json"), "manifest.json"),
    ("weights edited", flip("models/grpo/model.safetensors"), "models/grpo"),
    ("weights of a stage deleted", delete("models/sft"), "models/sft"),
    ("a file added to a model", add("models/sft/more.json", "manifest.json"), "models/sft"),
    ("a model added", copy("models/x", "models/sft"), "models/x"),
    ("a checkpoint edited", flip("checkpoints/000006/policy.safetensors"), "checkpoints/000006"),
    ("a checkpoint's manifest", edit("checkpoints/000006/manifest.json", first(" ", "")), "checkpoints/000006"),
    ("a checkpoint added", copy("checkpoints/000009", "checkpoints/000006"), "checkpoints/000009"),
    ("an event edited", edit("events.jsonl", first('"step": 2', '"step": 5')), "events.jsonl"),
    ("an event deleted", edit("events.jsonl", lambda found: found[:3] + found[4:]), "events.jsonl"),
    ("the first event deleted", edit("events.jsonl", lambda found: found[1:]), "events.jsonl"),
    ("events reordered", edit("events.jsonl", lambda found: [found[1], found[0], *found[2:]]), "events.jsonl"),
    ("an event duplicated", edit("events.jsonl", lambda found: [*found[:3], found[2], *found[3:]]), "events.jsonl"),
    ("an event written otherwise", edit("events.jsonl", first('{"time"', '{ "time"')), "events.jsonl"),
    ("a key written twice", edit("events.jsonl", first('"event"', '"event": "x", "event"')), "events.jsonl"),
    ("an event that is none", edit("events.jsonl", lambda found: [*found, "[1]\n"]), "events.jsonl"),
    ("events deleted", delete("events.jsonl"), "events.jsonl"),
    ("events that are binary", binary("events.jsonl"), "events.jsonl"),
    ("the events' tail cut", edit("events.jsonl", lambda found: found[:-4]), "checkpoints/000007"),
    ("half the events cut", edit("events.jsonl", lambda found: found[: len(found) // 2]), "rollouts/grpo-000001.jsonl"),
    ("a step taken out, hashes anew", recomputed(without_step_2), ROLLOUTS),
    ("only steps left, hashes anew", recomputed(nothing_but_steps), "manifest.json"),
    ("a link for an evaluation", lambda folder: ((folder / "evaluations/x.json").symlink_to("/etc/hosts")), "."),
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody touched."""
    folder = tmp_path_factory.mktemp("whole")
    train(toy_run(folder, model), Silent())
    return folder


@pytest.fixture(scope="module")
def killed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that lost its power between a step's rollouts and its event, after a checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Power):
        train(toy_run(folder, model), At("sample", 7, fall))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def test_a_run_that_nobody_touched_holds(whole: Path) -> None:
    found = check(whole)
    assert (found.faults, found.pending, found.chain.broken) == ((), (), None)
    assert found.held == {
        **{"recipe.toml": 1, "manifest.json": 1, "metrics.jsonl": 1, "timings.jsonl": 1},
        **{"rollouts": 7, "evaluations": 3, "models": 2, "checkpoints": 2},
    }


@pytest.mark.parametrize(("attack", "path"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
def test_every_change_is_noticed(attack: Callable[[Path], None], path: str, folder: Path) -> None:
    attack(folder)
    assert path in [fault.path for fault in check(folder).faults]
    assert run_command(["verify", str(folder)]) == 1


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        pytest.param(edit("metrics.jsonl", first('"loss": ', '"loss": 1')), "metrics.jsonl was changed", id="metrics"),
        pytest.param(edit("metrics.jsonl", lambda found: found[1:]), "metrics.jsonl", id="cut metrics"),
        pytest.param(delete("rollouts/sft-000002.jsonl"), "rollouts/sft-000002.jsonl is missing", id="rollouts"),
        pytest.param(
            edit("evaluations/sft.json", lambda found: [*found, " "]), "sft.json was changed", id="evaluation"
        ),
        pytest.param(edit("recipe.toml", first("toy", "joy")), "recipe.toml was changed", id="recipe"),
        pytest.param(edit("manifest.json", first('"cores"', '"pores"')), "manifest.json was changed", id="manifest"),
        pytest.param(edit("events.jsonl", first('"step": 2', '"step": 5')), "events.jsonl was changed", id="events"),
        pytest.param(flip("models/sft/model.safetensors"), "no checkpoint in .* can be used", id="weights"),
        pytest.param(delete("models/sft"), "no checkpoint in .* can be used", id="no weights"),
        pytest.param(delete("events.jsonl"), "changed after it was written", id="no events"),
    ],
)
def test_a_changed_folder_is_not_continued_and_nothing_is_lost(
    attack: Callable[[Path], None], words: str, killed: Path, model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    attack(folder)
    before = contents(folder)
    run = replace(toy_run(folder, model), keep=1)
    with pytest.raises(FolderError, match=words) as told:
        train(run, Silent())
    assert len(str(told.value).splitlines()) == 1
    assert contents(folder) == before


def test_a_change_that_is_accepted_stays_told(killed: Path, model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    delete("rollouts/sft-000002.jsonl")(folder)
    train(toy_run(folder, model), Silent(), allow_changes=True)
    assert [str(fault) for fault in check(folder).faults] == ["rollouts/sft-000002.jsonl is missing"]


def test_a_deleted_evaluation_is_measured_again(killed: Path, whole: Path, model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    delete("evaluations/sft.json")(folder)
    train(toy_run(folder, model), Silent())
    assert contents(folder) == contents(whole)
    assert check(folder).faults == ()


def test_a_killed_run_waits_for_one_step_and_no_more(killed: Path, tmp_path: Path) -> None:
    """What lies between the writing of a step and its event is told as such; two steps are no accident."""
    folder = shutil.copytree(killed, tmp_path / "run")
    assert check(folder).pending == ()
    add("rollouts/grpo-000004.jsonl", "rollouts/grpo-000003.jsonl")(folder)
    (folder / "metrics.jsonl").open("a").write('{"stage": "grpo", "step": 4}\n{"stage"')
    found = check(folder)
    assert (found.faults, found.pending) == ((), ("rollouts/grpo-000004.jsonl", "metrics.jsonl"))
    assert run_command(["verify", str(folder)]) == 0
    (folder / "metrics.jsonl").open("a").write(': "grpo", "step": 5}\n')
    assert [fault.path for fault in check(folder).faults] == ["rollouts/grpo-000004.jsonl", "metrics.jsonl"]


def test_a_head_kept_elsewhere_shows_a_chain_that_was_made_anew(folder: Path) -> None:
    head = read_chain(folder).head
    append_event(folder, "evaluated", model="later")
    chain = read_chain(folder)
    assert chain.broken is None
    assert find_head(chain, head[:SHORTEST_HEAD].upper()) == len(chain.events) - 1
    assert run_command(["verify", str(folder), "--head", head]) == 0
    recomputed(edit_time)(folder)
    assert check(folder).faults == (), "without a head nobody can tell"
    assert run_command(["verify", str(folder)]) == 0
    assert run_command(["verify", str(folder), "--head", head]) == 1


def edit_time(found: list[str]) -> list[str]:
    return [found[0].replace('"time": "2', '"time": "1'), *found[1:]]


@pytest.mark.parametrize("head", ["", "abc", "z" * 64, "0" * 15])
def test_a_head_that_is_none_is_refused(head: str, whole: Path) -> None:
    with pytest.raises(FolderError, match="hexadecimal digits"):
        find_head(read_chain(whole), head)


def test_an_event_cut_off_by_a_kill_is_no_damage(folder: Path) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"time": "2030')
    assert read_chain(folder).broken is None
    append_event(folder, "evaluated", model="later")
    assert read_chain(folder).broken is None
    assert len(read_lines(folder / "events.jsonl")) == len(read_chain(folder).events)


def outside(tmp_path: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (tmp_path / "outside").rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*PARTS, *LOGS, "events.jsonl", "manifest.json", "recipe.toml", ".lock"])
def test_links_are_refused_before_anything_is_touched(name: str, killed: Path, model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    (tmp_path / "outside").mkdir()
    there = tmp_path / "outside" / name
    if not (folder / name).exists():
        (folder / name).mkdir() if name in PARTS else (folder / name).write_text("x")
    (folder / name).rename(there)
    (folder / name).symlink_to(there)
    before = outside(tmp_path)
    with pytest.raises(FolderError, match=f"{name} is a symbolic link"):
        train(toy_run(folder, model), Silent(), allow_changes=True)
    assert outside(tmp_path) == before


def test_files_are_found_by_what_events_name(tmp_path: Path) -> None:
    paths = ("a/1.json", "a/b/1.json", "a/2.json", "b/a/1.json", "a/3.txt", "a/gone.json")
    marks = {path: write_text(tmp_path / path, path) for path in paths}
    append_event(tmp_path, "written", files=marks)
    (tmp_path / "a/gone.json").unlink()
    (tmp_path / "a/added.json").write_text("{}")
    assert [path.name for path in named_files(tmp_path, "a/*.json")] == ["1.json", "2.json"]
    assert named_files(tmp_path, "a/added.json") == []


@pytest.mark.parametrize("name", ["rollouts/x.jsonl", "models/sft/model.safetensors", "checkpoints/000009", "models/x"])
def test_links_inside_the_folders_are_refused(name: str, killed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path)
    with pytest.raises(FolderError, match=f"{name} is a symbolic link"), RunFolder(folder):
        pass


@pytest.mark.parametrize("name", [*LOGS, "events.jsonl", ".lock"])
def test_files_that_grow_may_have_one_name_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "run").mkdir()
    os.link(tmp_path / "outside", tmp_path / "run" / name)
    with pytest.raises(FolderError, match="one file with 2 names"), RunFolder(tmp_path / "run"):
        pass
    assert (tmp_path / "outside").read_text() == "kept"


@pytest.mark.parametrize("name", [*LOGS, "events.jsonl", "manifest.json", "recipe.toml"])
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_told(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir() if kind == "folder" else os.mkfifo(tmp_path / name)
    with pytest.raises(FolderError, match=f"{name} is wanted as a file and is none"), RunFolder(tmp_path):
        pass


def test_a_check_waits_for_nothing_and_reads_no_link(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    os.mkfifo(tmp_path / "events.jsonl")
    assert [fault.path for fault in check(tmp_path).faults] == ["."]
    assert "is wanted as a file and is none" in render(read_run(tmp_path))


def test_a_whole_run_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with RunFolder(tmp_path / "run") as folder:
        folder.event("started")


def test_a_partial_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    from togi.run_folder.files import write_text

    (tmp_path / "outside").write_text("kept")
    (tmp_path / ".manifest.json.partial").symlink_to(tmp_path / "outside")
    write_text(tmp_path / "manifest.json", "new")
    assert (tmp_path / "outside").read_text() == "kept"
    assert (tmp_path / "manifest.json").read_text() == "new"


def test_two_processes_may_add_events(tmp_path: Path) -> None:
    """An evaluation that is made while the run trains joins the same chain."""
    with RunFolder(tmp_path) as folder:
        folder.event("started")
        append_event(tmp_path, "evaluated")
        folder.event("finished")
    assert read_chain(tmp_path).broken is None


DAMAGE = {
    "empty": b"",
    "cut": b'{"stage": "grpo", "st',
    "binary": b"\xff\xfe\x00\x80\n\x00",
    "text": b"hello\nworld\n",
    "deep": b"[" * 100_000 + b"\n",
    "list": b"[1]\n[2]\n",
    "null": b"null\nnull\n",
    "types": b'{"stage": 3, "step": "x", "event": [], "files": 7, "logs": [], "removed": {}, "cut": 1, "hash": {}}\n',
    "digits": b'{"stage": "grpo", "step": 1, "loss": ' + b"9" * 5000 + b"}\n",
}
DAMAGED = [
    "events.jsonl",
    "metrics.jsonl",
    "timings.jsonl",
    "manifest.json",
    "recipe.toml",
    ROLLOUTS,
    "evaluations/grpo.json",
]


def everything(folder: Path) -> dict[Path, bytes]:
    """All files of a run but its events, which may say what was tried."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "events.jsonl"}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_of_any_kind_is_told_and_nothing_falls_over(name: str, whole: Path, model: Path, tmp_path: Path) -> None:
    """In the check, on the page and when the run is to go on: clear words in one line, and the other files stay."""
    for kind, content in DAMAGE.items():
        folder = shutil.copytree(whole, tmp_path / kind)
        (folder / name).write_bytes(content)
        assert name in [fault.path for fault in check(folder).faults], kind
        assert run_command(["verify", str(folder)]) == 1
        assert "not as it was written" in render(read_run(folder))
        before = everything(folder)
        with pytest.raises(FolderError) as told:
            train(toy_run(folder, model), Silent())
        assert len(str(told.value).splitlines()) == 1, kind
        assert everything(folder) == before


def test_a_run_built_in_python_is_reported_continued_and_measured_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(tmp_path / "run", model)
    run = replace(run, recipe={}, stages=run.stages[:1])
    train(run, Silent())
    assert "learning rate" in render(read_run(run.folder))
    assert check(run.folder).faults == ()
    faster = replace(run.stages[0], optimiser=replace(run.stages[0].optimiser, learning_rate=0.5))
    with pytest.raises(FolderError, match=r"stage\.0\.learning_rate: 0.01 -> 0.5"):
        train(replace(run, stages=(faster,)), Silent())
    train(run, Silent())
    evaluate_run(run, "sft")
    assert check(run.folder).faults == ()
    assert run_command(["eval", str(run.folder)]) == 2
    assert "built in Python" in capsys.readouterr().err
