"""The command line: exit codes, error form, help and schema without torch, dry runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from togi.cli import app, run_command
from togi.interrupt import Interrupted
from togi.recipe import load_recipe

ROAD = [
    "demo",
    "data",
    "preview",
    "doctor",
    "redteam",
    "train",
    "experiment",
    "eureka",
    "saycan",
    "voyager",
    "eval",
    "compare",
    "report",
    "verify",
    "export",
    "chat",
    "serve",
    "scale",
    "schema",
]
QUICKSTART = Path(__file__).parent.parent / "recipes" / "quickstart.toml"
BROKEN = 'name = "x"\n[model]\nsorce = "y"\n'


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.toml"
    path.write_text(BROKEN)
    return path


def test_help_shows_the_road_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[1] for line in lines if line.startswith("│ ") and line[2].isalpha()]
    assert shown == ROAD


def test_help_and_schema_need_no_torch() -> None:
    code = (
        "import sys, json\nfrom togi.cli import run_command\n"
        "assert run_command(['--help']) == 0\nassert run_command(['schema']) == 0\n"
        "assert run_command(['train', 'missing.toml']) == 2\n"
        "heavy = {'torch', 'transformers'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert {"model", "data", "stage"} <= set(schema["required"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], 'Did you mean "train"?'),
        (["train"], "requires an argument"),
        (["train", "x.toml", "--dryrun"], "Did you mean --dry-run?"),
        (["train", "nowhere.toml"], "nowhere.toml: no such recipe"),
        (["eval", "nowhere"], "nowhere: no such run folder"),
        (["eval", str(QUICKSTART)], "no such run folder"),
        (["eval", str(QUICKSTART.parent)], "not a run folder"),
        (["verify", "nowhere"], "nowhere: no such run folder"),
        (["verify", str(QUICKSTART.parent)], "not a run folder"),
        (["report", "nowhere"], "no such run folder"),
        (["export", "x", "y", "--dtype", "float64"], "float64"),
    ],
)
def test_bad_usage_is_2_without_traceback(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert expected in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_traceback_only_when_asked(
    broken: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOGI_DEBUG", raising=False)
    assert run_command(["train", str(broken)]) == 2
    told = capsys.readouterr().err
    assert f"{broken}:3: model.sorce: unknown key; did you mean 'source'?" in told
    assert "Traceback" not in told
    assert run_command(["--debug", "train", str(broken)]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("TOGI_DEBUG", "1")
    assert run_command(["train", str(broken)]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ValueError("a [bad] thing"), 2, "error: a [bad] thing"),
        (KeyboardInterrupt(), 130, "error: stopped"),
        (Interrupted(15), 143, "the same command resumes"),
        (ZeroDivisionError("x"), 3, "run again with --debug"),
    ],
)
def test_exit_codes(error: BaseException, code: int, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    app.command(fail, name="fail-on-purpose")
    try:
        assert run_command(["fail-on-purpose"]) == code
    finally:
        del app["fail-on-purpose"]
    assert expected in capsys.readouterr().err


def test_dry_run_prints_a_recipe_that_gives_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", str(QUICKSTART), "stage.grpo.steps=3", "--dry-run"]
    assert run_command(command) == 0
    printed = capsys.readouterr().out
    assert 'dtype = "auto"                          # default' in printed
    assert "steps = 3                               # command line" in printed
    assert f"# {QUICKSTART}:" in printed
    again = tmp_path / "again.toml"
    again.write_text(printed)
    assert load_recipe(again).run.recipe == load_recipe(QUICKSTART, ["stage.grpo.steps=3"]).run.recipe
    assert not (tmp_path / "runs").exists()


def test_dry_run_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["train", str(QUICKSTART), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stage.grpo.settings.clip_low"] == {"value": 0.2, "origin": "default"}
    assert run_command(["train", str(QUICKSTART), "--json"]) == 2
