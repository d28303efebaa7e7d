"""Process reward models in the report: the table, the answers step by step, and files that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from togi.evidence.after.measure_process_model import StepsRecord, read_steps, write_steps
from togi.report.process_models_section import steps_view

RECORD: StepsRecord = {
    "name": "prm",
    "step": 40,
    "accuracy": {"point": 0.9, "low": 0.7, "high": 0.97, "n": 20},
    "first_error": {"point": 0.5, "low": 0.2, "high": 0.8, "n": 4},
    "constant": 0.25,
    "answers": [
        {"task": "a<b>", "labels": [1.0, 0.0, 0.0], "chances": [0.8, 0.3, 0.125]},
        {"task": "c", "labels": [1.0], "chances": [0.9]},
    ],
}


def test_the_table_and_the_answers_with_an_error() -> None:
    view = steps_view([RECORD])
    assert view is not None
    rows = dict(view.rows)
    assert rows["Finds the first error"] == ["50.0% (20.0–80.0) of 4"]
    assert rows["Always naming the same step"] == ["25.0%"]
    ((title, heads, answer),) = view.answers
    assert (title, heads) == ("prm, a<b>", ("step 1", "step 2", "step 3"))
    assert dict(answer)["chance that it is right"] == ["80.0%", "30.0%", "12.5%"]
    assert "always naming the same step finds 25%, so there is no evidence" in view.sentences[0]
    assert RECORD["first_error"] is not None
    surer = steps_view([{**RECORD, "first_error": {**RECORD["first_error"], "low": 0.3}}])
    assert surer is not None
    assert "no evidence" not in surer.sentences[0]


def test_nothing_measured_is_nothing_shown() -> None:
    assert steps_view([]) is None
    view = steps_view([{**RECORD, "first_error": None, "constant": None, "answers": []}])
    assert view is not None
    assert dict(view.rows)["Finds the first error"] == ["not recorded"]


def test_a_file_is_read_as_it_was_written_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    write_steps(tmp_path, RECORD)
    path = tmp_path / "steps" / "prm.json"
    assert read_steps(path) == RECORD
    with pytest.raises(ValueError, match="may not contain a path"):
        write_steps(tmp_path, {**RECORD, "name": "../prm"})
    faults: list[tuple[object, str]] = [
        ({"name": "prm"}, r"prm\.json: not a readable measurement of steps: it needs step, accuracy"),
        ({**RECORD, "answers": [{"task": "a"}]}, "answer 0 needs task, labels, chances"),
        ({**RECORD, "accuracy": {"point": 1.0}}, '"accuracy" needs point, low, high, n'),
    ]
    for content, says in faults:
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=says):
            read_steps(path)
