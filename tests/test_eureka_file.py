"""The file of a reward design: every mistake is told with what to do, before anything is asked or trained."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from togi.askers.asker import Reply
from togi.cli import run_command
from togi.reward_design.asked import FIELDS, PROMPTS, first_question, program_of
from togi.reward_design.programs.dialects import STEPS
from togi.reward_design.read_design import DesignError, read_design
from togi.reward_design.told import plan_told
from togi.reward_design.training.environment import open_environment
from togi.writer import read_prompts

pytest.importorskip("stable_baselines3")
HERE = Path(__file__).parent
WORLD = f"{HERE}/line_world.py"
BASE = {
    "design.task": '"Reach place 1."',
    "design.environment": f'"{WORLD}:make"',
    "design.fitness": f'"{WORLD}:fitness"',
}


def file(folder: Path, **changes: str | None) -> Path:
    """A design's file, with keys (dots written as two underscores) set, or left out for None."""
    values: dict[str, str] = {**BASE}
    for key, value in changes.items():
        name = key.replace("__", ".")
        values.pop(name, None)
        if value is not None:
            values[name] = value
    path = folder / "line.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    return path


def test_a_design_is_read(tmp_path: Path) -> None:
    found = read_design(file(tmp_path, design__info='["place"]'), ["search.candidates=3", "train.settings.n_steps=64"])
    assert (found.name, found.file.search.candidates, found.file.train.settings) == ("line", 3, {"n_steps": 64})
    question = first_question(found)[1].content
    assert "Observation Space: One number, the place on the line." in question
    assert "a dictionary with the numbers place" in question
    assert "fitness" not in question
    assert any("6 programs" in line or "15 programs" in line for line in plan_told(found))


MISTAKES: list[tuple[dict[str, str | None], str]] = [
    ({"design__task": None}, "design.task: is needed and not there"),
    ({"design__fitness": f'"{WORLD}:fit"'}, 'no function "fit"; did you mean "fitness"?'),
    ({"design__fitness": '"nowhere.py:fitness"'}, "there is no file"),
    ({"design__environment": '"MountainCarContinous-v0"'}, "MountainCarContinous-v0 cannot be opened"),
    ({"design__environment": '"FrozenLake-v1"'}, "a vector of numbers is wanted"),
    ({"design__environment": '"Blackjack-v1"'}, "FlattenObservation"),
    ({"design__environment": f'"{WORLD}:endless"'}, "no limit of steps"),
    ({"design__environment": f'"{WORLD}:fitness"'}, "cannot be opened: TypeError"),
    ({"design__environment": f'"{WORLD}:Episode"'}, "cannot be opened"),
    ({"design__environment": '"CartPole-v1"', "train__algorithm": '"sac"'}, "SAC is for actions that are numbers"),
    ({"design__described": '"nothing.md"'}, "design.described: there is no file"),
    ({"train__algorithm": '"dqn"'}, "train.algorithm"),
    ({"search__candidate": "3"}, "search.candidate"),
    ({"search__candidates": "0"}, "search.candidates"),
    ({"final__seeds": '"five"'}, "final.seeds"),
    ({"writer__prompts": '"prompts"'}, "there is no folder"),
    ({"writer__recorded": '"replies.jsonl"'}, "writer.recorded: there is no file"),
    ({"writer__key_env": '"WRITER_KEY"'}, "give its base_url"),
    ({"writer__base_url": '"https://host/v1"', "writer__key_env": '"WRITER_KEY"'}, "most_tokens or most_money"),
    ({"compare__human": '"human.py"'}, "compare.human: there is no file"),
    ({"compare__human": f'"{WORLD}"'}, "A person's reward goes the same way as a model's"),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    with pytest.raises(DesignError, match=re.escape(said)):
        read_design(file(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[design\n", "line.toml"),
        ('[model]\nsource = "x"\n', "togi train"),
        ('[experiment]\nquestion = "x"\n', "togi experiment"),
    ],
)
def test_what_is_no_design_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "line.toml").write_text(text)
    with pytest.raises(DesignError, match=said):
        read_design(tmp_path / "line.toml")
    with pytest.raises(DesignError, match="no such reward design"):
        read_design(tmp_path / "other.toml")


@pytest.mark.parametrize("change", ["candidates=3", "search", "=3", "search.=3", "design.task.more=3"])
def test_changes_that_are_none(tmp_path: Path, change: str) -> None:
    with pytest.raises(DesignError):
        read_design(file(tmp_path), [change])


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.reward_design.training.environment.find_spec", lambda name: None)
    with pytest.raises(DesignError, match=re.escape(".[reward_design]")):
        read_design(file(tmp_path))


@pytest.mark.skipif(find_spec("Box2D") is not None, reason="the simulator is there")
def test_a_missing_simulator_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("gymnasium[box2d]")):
        open_environment("LunarLander-v3")


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("You are brief.")
    found = read_prompts(tmp_path, PROMPTS, FIELDS)
    assert found["system"] == "You are brief."
    assert "{task}" in found["task"]
    (tmp_path / "task.txt").write_text("{fitness}")
    with pytest.raises(ValueError, match=re.escape("{fitness} cannot be filled in; there are {action}")):
        read_prompts(tmp_path, PROMPTS, FIELDS)
    (tmp_path / "task.txt").write_text("return {}}")
    with pytest.raises(ValueError, match="written twice"):
        read_prompts(tmp_path, PROMPTS, FIELDS)


FUNCTION = "def compute_reward(obs, action, next_obs, info):\n    return helped(), {}\n"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"Sure.\n```python\n{FUNCTION}```\nDone.", FUNCTION),
        (
            f"```\nimport math\n\ndef helped():\n    return 1\n\n{FUNCTION}```",
            f"import math\n\ndef helped():\n    return 1\n\n{FUNCTION}",
        ),
        (f"```python\nx = 1\n```\n```python\n{FUNCTION}```\n```\nbash\n```", FUNCTION),
        (f"```python\nx = 1\n{FUNCTION}```\nBetter:\n```py\n{FUNCTION}```", FUNCTION),
        (f"```python\n{FUNCTION}", FUNCTION),
        (FUNCTION, FUNCTION),
        ("I would write def compute_reward", ""),
        ("```python\nreward = 1\n```", ""),
        ("", ""),
    ],
)
def test_the_program_in_an_answer(text: str, program: str) -> None:
    found, fault = program_of(Reply(text=text), STEPS)
    assert found == program
    assert bool(fault) is not bool(program)


def test_no_answer_is_a_fault() -> None:
    assert program_of(Reply(status="timeout", note="late"), STEPS) == ("", "no answer: late")
    assert "before it was cut off" in program_of(Reply(text="Let us", cut=True), STEPS)[1]


def test_the_command_tells_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["eureka", str(file(tmp_path)), "--dry-run"]) == 0
    assert "24 questions of qwen2.5-coder-1.5b" in capsys.readouterr().out
    assert run_command(["eureka", str(tmp_path / "none.toml")]) == 2
    assert "no such reward design" in capsys.readouterr().err
