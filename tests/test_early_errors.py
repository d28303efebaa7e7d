"""Mistakes are told before torch is imported: one process, in which it cannot be, makes them all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

QUICKSTART = Path(__file__).parent.parent / "recipes" / "quickstart.toml"
JUDGE = 'judge(model="m", base_url="https://h/v1", key_env="NOT_SET", most_tokens=9)'
FAULTS = [
    (["train", "nowhere.toml"], "no such recipe"),
    (["train", "q.toml", "model.sorce=x"], "did you mean 'source'"),
    (["train", "q.toml", "model.source=smollm2-134m"], "did you mean 'smollm2-135m'"),
    (["train", "q.toml", "model.source=./nowhere"], "there is no"),
    (["train", "q.toml", "model.source=./empty"], "holds no *.safetensors"),
    (["train", "q.toml", "model.source=./bomb"], "no sound header"),
    (["train", "q.toml", "data.train={file='no.jsonl'}"], "there is no"),
    (["train", "q.toml", "data.train={file='rows.jsonl', columns={answer='solution'}}"], 'no "solution"'),
    (["train", "q.toml", "data.train={generate='q.py:nothing', size=3}"], 'no function "nothing"'),
    (["train", "q.toml", "reward.score='nuber()'"], 'did you mean "number"'),
    (["train", "q.toml", "reward.score='number(tollerance=1)'"], 'did you mean "tolerance"'),
    (["train", "q.toml", "reward.score='python(\"q.py:nothing\")'"], 'no function "nothing"'),
    (["train", "q.toml", "stage.grpo.algorithm=grop"], "did you mean 'grpo'"),
    (["train", "q.toml", "stage.grpo.settings={kll=1}"], "did you mean 'kl'"),
    (["train", "q.toml", "stage.grpo.attempts=1"], "every advantage is 0"),
    (["train", "q.toml", "stage.grpo.num_generations=8"], "attempts in [[stage]]"),
    (["train", "q.toml", f"reward.score='{JUDGE}'"], "NOT_SET is not set"),
    (["train", "q.toml", "--folder", "rows.jsonl"], "cannot be a run's folder"),
    (["preview", "q.toml", "sampling.top_p=0.9"], "leaves out tokens"),
    (["doctor", "q.toml", "evaluation.attempts=0"], "at least 1"),
    (["redteam", "number()", "--data", "no.jsonl"], "there is no"),
    (["redteam", "nuber()", "--data", "rows.jsonl"], 'did you mean "number"'),
    (["eval", "empty"], "not a run folder"),
    (["report", "empty"], "empty"),
    (["export", "nowhere", "out"], "there is no model"),
    (["export", "smollm2-135m", "empty"], "exists already"),
    (["chat", "nowhere"], "there is no model"),
    (["serve", "nowhere", "--port", "0"], "there is no model"),
    (["serve", "smollm2-135m", "--host", "0.0.0.0"], "--open-to-network"),
    (["serve", "smollm2-135m", "--key-env", "NOT_SET"], "NOT_SET is not set"),
]  # fmt: skip
PROGRAM = """
import contextlib, io, json, os, sys
from togi.cli import run_command
sys.modules["torch"] = sys.modules["transformers"] = None
told = []
for folder, arguments in json.load(sys.stdin):
    os.chdir(folder)
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        code = run_command(arguments)
    told.append([code, errors.getvalue()])
print(json.dumps(told))
"""


def commands(asked: Sequence[tuple[Path, list[str]]]) -> list[tuple[int, str]]:
    """Run commands, each in a folder, in one process without torch: exit code and error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([(str(folder), arguments) for folder, arguments in asked]),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return [(code, error) for code, error in json.loads(done.stdout)]


def test_mistakes_are_told_without_torch(tmp_path: Path) -> None:
    for name in ("empty", "bomb"):
        (tmp_path / name).mkdir()
    (tmp_path / "bomb" / "model.safetensors").write_bytes(b"\xff" * 8)
    (tmp_path / "bomb" / "config.json").write_text('{"num_hidden_layers": 1000000}')
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
    (tmp_path / "q.toml").write_text(QUICKSTART.read_text().replace("quickstart.py", "q.py"))
    (tmp_path / "q.py").write_text(QUICKSTART.with_suffix(".py").read_text())
    told = commands([(tmp_path, arguments) for arguments, _ in FAULTS])
    for (arguments, expected), (code, error) in zip(FAULTS, told, strict=True):
        assert code == 2, (arguments, error)
        assert expected in error, arguments
    assert not (tmp_path / "runs").exists()
