"""An earlier stage's attempts as tasks: whatever characters a model writes, a row stays one row."""

from __future__ import annotations

from pathlib import Path

import pytest

from togi.data import Collected, Tasks, load_collected
from togi.run_folder.files import dumps
from togi.types import Message, Task


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x1c", "\r", "\n"])
def test_a_mark_that_ends_a_line_somewhere_does_not_end_a_row(tmp_path: Path, mark: str) -> None:
    (tmp_path / "rollouts").mkdir()
    rows = [
        {"step": 1, "group": 0, "task": "t", "completion": f"one{mark}{i}", "score": {"status": "ok", "value": i}}
        for i in range(2)
    ]
    (tmp_path / "rollouts" / "pairs-000001.jsonl").write_text("".join(dumps(row) + "\n" for row in rows))
    asked = Tasks([Task(id="t", prompt=(Message(role="user", content="Say it."),))])
    [task] = load_collected(Collected(stage="pairs"), asked, tmp_path)
    assert [message.content for (message,) in task.recorded] == [f"one{mark}0", f"one{mark}1"]
    assert task.worth == (0.0, 1.0)
