"""Runs side by side: what is comparable is paired by task, what is not is said, and curves stand in one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from togi.cli import run_command
from togi.report.compare_runs import compared, differences, in_parts, page, sentences


def write(folder: Path, right: Sequence[int], *, recipe: dict[str, Any] | None = None, first: str = "t0") -> Path:
    """A run folder whose last model was right in so many of four attempts at each task."""
    (folder / "evaluations").mkdir(parents=True)
    values = {"name": folder.name, "reward": {"score": "number()"}, "stage": [{"name": "grpo", "steps": 3}]}
    (folder / "recipe.toml").write_text(tomli_w.dumps(values | (recipe or {})))
    (folder / "manifest.json").write_text(json.dumps({"name": folder.name, "files": {}}))
    rows = [{"stage": "grpo", "step": step, "reward": step / 3, "kl": 0.1} for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [
        {
            "id": first if number == 0 else f"t{number}",
            "prompt": "?",
            "answer": "1",
            "attempts": [
                {
                    "completion": "1",
                    "tokens": 2,
                    "stop": "eos",
                    "score": {"value": float(index < passed), "parts": {}, "status": "ok", "note": ""},
                }
                for index in range(4)
            ],
        }
        for number, passed in enumerate(right)
    ]
    record = {"model": "grpo", "step": 3, "attempts": 4, "pass_mark": 1.0, "sampling": {"max_tokens": 8}}
    made = record | {"tasks": tasks, "seconds": 1.0, "tokens": 8}
    (folder / "evaluations" / "grpo.json").write_text(json.dumps(made))
    return folder


def test_a_curve_in_a_cell_is_all_of_it() -> None:
    assert in_parts([1.0, 3.0, 5.0, 7.0, 0.0], 3) == [2.0, 6.0, 0.0]
    assert in_parts([1.0, 2.0]) == [1.0, 2.0]


def test_results_are_paired_with_the_first_run(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", [0, 1, 2, 1, 0, 1]), write(tmp_path / "two", [2, 3, 4, 3, 2, 3])
    runs = compared([one, two])
    against = runs[1].against
    assert not isinstance(against, str)
    assert (against.difference.point, against.tasks, against.better) == (pytest.approx(0.5), 6, 6)
    assert "two against one: better, +50.0 points" in sentences(runs)[0]


REFUSED = [
    ({"recipe": {"reward": {"score": "exact()"}}}, "paid by another reward"),
    ({"recipe": {"evaluation": {"reward": {"score": "exact()"}}}}, "paid by another reward"),
    ({"recipe": {"env": {"use": "a.py:A"}}}, "paid by another reward"),
    ({"first": "other"}, "evaluated on different tasks"),
]


@pytest.mark.parametrize(("changed", "why"), REFUSED)
def test_what_is_not_comparable_is_said(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    runs = compared([write(tmp_path / "one", [1, 2]), write(tmp_path / "two", [1, 2], **changed)])
    assert why in str(runs[1].against)
    assert why in sentences(runs)[0]


def test_a_run_without_a_result_still_has_curves(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", [1, 2]), write(tmp_path / "two", [1, 2])
    (two / "evaluations" / "grpo.json").unlink()
    runs = compared([one, two])
    assert "has no held-out result" in str(runs[1].against)
    assert page(runs).count("KL to the reference, nats a token") >= 1


def test_recipes_are_told_apart(tmp_path: Path) -> None:
    slower = {"stage": [{"name": "grpo", "steps": 3, "learning_rate": 1e-6}]}
    runs = compared([write(tmp_path / "one", [1, 2]), write(tmp_path / "two", [1, 2], recipe=slower)])
    assert list(differences(runs)) == [("stage.grpo.learning_rate", ["left out", "1e-06"])]


def test_the_page_escapes_names(tmp_path: Path) -> None:
    runs = compared([write(tmp_path / "<b>one", [1, 2]), write(tmp_path / "two", [1, 2])])
    assert "<b>one" not in page(runs)
    assert "&lt;b&gt;one" in page(runs)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "one", [0, 1, 2]), write(tmp_path / "two", [2, 3, 4])
    assert run_command(["compare", str(one), str(two), "--html", str(tmp_path / "both.html")]) == 0
    assert "two against one" in capsys.readouterr().out
    assert "<script" not in (tmp_path / "both.html").read_text()
    assert run_command(["compare", str(one)]) == 2
    assert "takes 2 to 5 run folders, got 1" in capsys.readouterr().err
    assert run_command(["compare", str(one), str(one)]) == 2
