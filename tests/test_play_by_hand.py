"""An episode played by a person or a script: what is shown and counted is what a model would see and learn from."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tiny_text import tiny_folder

from togi.cli import run_command
from togi.evidence.before.cost_estimate import rates
from togi.evidence.before.play_by_hand import play_by_hand, scripted
from togi.evidence.before.preview import preview
from togi.models import load_model as loading
from togi.recipe import load_recipe
from togi.run import Run

ENV = """
class Twice:
    def __init__(self, task):
        self.task, self.turn, self.counts = task, 0, {"asked": 0}

    def start(self):
        return self.task.prompt

    def step(self, message):
        self.turn += 1
        if message.content == "boom":
            raise RuntimeError("broken")
        if message.content == self.task.answer:
            return "well done", 1.0 / self.turn, True
        self.counts["asked"] += 1
        return "again <|im_end|>", 0.0, False
"""
RECIPE = """
name = "played"
[model]
source = "model"
[data.train]
file = "rows.jsonl"
[env]
use = "env.py:Twice"
[reward]
score = "turns()"
[sampling]
max_tokens = 12
stop = ["STOP"]
[[stage]]
algorithm = "grpo"
steps = 1
attempts = 2
learning_rate = 1e-6
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("played")
    tiny_folder(path / "model")
    (path / "rows.jsonl").write_text(
        '{"prompt": "say red", "answer": "red"}\n{"prompt": "say blue", "answer": "blue"}\n'
    )
    (path / "env.py").write_text(ENV)
    (path / "r.toml").write_text(RECIPE)
    return path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(folder)
    return load_recipe(folder / "r.toml").run


def played(run: Run, says: Callable[[], str], *, row: int = 1, stage: str = "") -> tuple[bool, str]:
    said = io.StringIO()
    console = Console(file=said, width=200, color_system=None)
    return play_by_hand(run, says, console, row=row, stage=stage), said.getvalue()


def script(*turns: str) -> Callable[[], str]:
    following = iter(turns)

    def says() -> str:
        for each in following:
            return each
        raise EOFError

    return says


def test_an_episode_is_shown_and_counted_without_weights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_read_base", lambda *_, **__: pytest.fail("weights were loaded"))
    ended, told = played(run, script("blue", "red"))
    assert ended
    assert told.count(", masked\n") == 2
    assert told.count(", learned\n") == 2
    for line in ("say red", "again <|im_end|>", "last reply: well done", "paid by turn: 0, 0.5", "counted: asked 1"):
        assert line in told
    assert "score: 0.5" in told
    assert "1 sample, 8 tokens learned and 58 masked" in told


def test_limits_are_those_of_training(run: Run, folder: Path) -> None:
    limited = load_recipe(folder / "r.toml", ["env.turns=1"]).run
    assert "over after 1 turns, end: turns" in played(limited, script("blue", "red"))[1]


def test_another_row_and_a_stage_by_name(run: Run) -> None:
    assert "score: 1" in played(run, script("blue"), row=2, stage="grpo")[1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("red STOP and more", "red"), "ended by a stop string"),
        (("x" * 50, "red"), "12 tokens, learned, cut at max_tokens"),
        (("boom",), "broke off: environment: RuntimeError: broken (the model's own fault: error)"),
        (("<|im_end|>", "red"), "paid by turn: 0, 0.5"),
        (tuple("x" * 11 for _ in range(40)), "end: context"),
    ],
)
def test_what_ends_a_turn_or_an_episode_is_told(run: Run, said: tuple[str, ...], told: str) -> None:
    assert told in played(run, script(*said))[1]


def test_a_script_that_ends_too_early_is_a_finding(run: Run) -> None:
    ended, told = played(run, script("blue"))
    assert not ended
    assert "the episode was not over" in told


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("a\n---\nb\n", ["a", "b"]),
        ("a\n\nb", ["a\n\nb"]),
        ("---\na\n", ["", "a"]),
        ("", [""]),
        ("a\n --- \n", ["a", ""]),
    ],
)
def test_a_script_is_cut_into_turns(tmp_path: Path, text: str, turns: list[str]) -> None:
    (tmp_path / "s.txt").write_text(text)
    says = scripted(tmp_path / "s.txt")
    assert [says() for _ in turns] == turns
    with pytest.raises(EOFError):
        says()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--play", "--row", "3"), "row 3: grpo has rows 1 to 2"),
        (("--play", "--stage", "gpro"), "there is no stage 'gpro' to play: there are grpo"),
        (("--script", "none.txt"), "the script none.txt cannot be read"),
        (("--row", "2"), "add --play or --script FILE"),
    ],
)
def test_what_cannot_be_played_is_said(
    folder: Path,
    words: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run_command(["preview", "r.toml", *words]) == 2
    assert told in capsys.readouterr().err


def test_the_command_plays_a_script(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "s.txt").write_text("red\n")
    assert run_command(["preview", "r.toml", "--script", "s.txt"]) == 0
    assert "score: 1" in capsys.readouterr().out


def test_a_preview_says_what_an_honest_attempt_earns(run: Run, folder: Path) -> None:
    (look,) = preview(run, speed=rates(1000, 1.0)).looks
    titles = [finding.title for finding in look.findings]
    assert titles == ["an honest attempt at row 1 earns 1 in 1 turn, and one that says nothing 0"]
