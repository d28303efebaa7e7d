"""Eureka as it is used, in the jail: programs of a recording are tried and trained with, attackers among them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from togi.askers.asker import Reply, Request
from togi.cli import run_command
from togi.reward_design.archive import Archive
from togi.reward_design.told import read_outcome
from togi.transcript import Transcript
from togi.types import Message

pytest.importorskip("stable_baselines3")
WORLD = f"{Path(__file__).parent}/line_world.py"
HEAD = "def compute_reward(obs, action, next_obs, info):\n"
GOOD = HEAD + "    gained = next_obs[0] - obs[0]\n    return gained, {'gained': gained}\n"
ATTACKERS = {
    "turns back": HEAD + "    return obs[0] - next_obs[0], {}\n",
    "hangs": HEAD + "    while True:\n        pass\n",
    "eats memory": HEAD + "    x = [1]\n    while True:\n        x.extend(x)\n",
    "is nan now and then": HEAD + "    return (next_obs[0] if next_obs[0] < 0.3 else float('nan')), {}\n",
}


class Listed:
    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        return [Reply(text=f"```python\n{self.texts.pop(0)}```") for _ in questions]


def recording(path: Path, texts: Sequence[str]) -> None:
    asked = [
        Request(messages=(Message(role="user", content="x"),), tokens=False, vote=vote) for vote in range(len(texts))
    ]
    Transcript(path, lambda: Listed(texts), model="scripted").ask(asked)


def design(folder: Path, **more: str) -> Path:
    keys = {
        "design.task": '"Reach place 1."',
        "design.environment": f'"{WORLD}:make"',
        "design.fitness": f'"{WORLD}:fitness"',
        "writer.recorded": '"replies.jsonl"',
        "search.generations": "1",
        "search.seeds": "1",
        "search.episodes": "3",
        "train.steps": "768",
        "train.environments": "2",
        "train.checks": "1",
        "train.seconds": "120",
        "train.workers": "1",
        "train.settings": "{ n_steps = 128, learning_rate = 0.01 }",
        "final.seeds": "1",
        "final.episodes": "3",
        "compare.random": "false",
        "compare.sparse": "true",
        **more,
    }
    path = folder / "line.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in keys.items()))
    return path


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_whole_design_with_attackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.reward_design.training.measure.TRY_SECONDS", 6.0)
    recording(tmp_path / "replies.jsonl", [GOOD, *ATTACKERS.values()])
    path = design(tmp_path, **{"search.candidates": str(1 + len(ATTACKERS))})
    run = tmp_path / "run"
    assert run_command(["eureka", str(path), "--folder", str(run), "--debug"]) == 0
    outcome = read_outcome(Archive(run))
    said = dict(zip(ATTACKERS, list(outcome.found.values())[1:], strict=False))
    assert outcome.best is not None
    assert outcome.best.candidate.name == "1-01"
    assert outcome.best.fitness == 1.0
    assert "took too long" in said["hangs"].fault
    assert said["eats memory"].state == "unusable"
    assert "is nan" in said["is nan now and then"].fault
    assert said["turns back"].fitness == 0
    assert (outcome.arms[0].kind, outcome.arms[0].fitness.point) == ("written", 1.0)
    assert "def compute_reward" in (run / "reward.py").read_text()
    assert "| the environment's own |" in (run / "reward.md").read_text()
    assert run_command(["report", str(run)]) == 0
    assert "hacked" in (run / "report.html").read_text()
    assert run_command(["verify", str(run)]) == 0
    before = (run / "events.jsonl").read_text()
    assert run_command(["eureka", str(path), "--folder", str(run)]) == 0
    more = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text()[len(before) :].splitlines()]
    assert set(more) <= {"exported"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("design.fitness", f'"{WORLD}:wild"', "gave 2.0, and a number from 0 to 1 is wanted"),
        ("train.settings", "{ n_stops = 3 }", "n_stops"),
        ("train.settings", "{ seed = 3 }", "seed is not for settings"),
    ],
)
def test_what_is_no_candidates_fault_stops_before_anybody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, said: str
) -> None:
    recording(tmp_path / "replies.jsonl", [GOOD])
    path = design(tmp_path, **{key: value})
    assert run_command(["eureka", str(path), "--folder", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "replies.jsonl").exists()
