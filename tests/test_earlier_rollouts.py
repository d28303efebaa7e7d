"""An earlier stage's attempts as tasks: whatever characters a model writes, a row stays one row."""

from __future__ import annotations

from pathlib import Path

import pytest

from togi.data import Collected, DataError, Tasks, load_collected
from togi.data.equations import equations
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
    [task] = load_collected(Collected(stages=("pairs",)), asked, tmp_path)
    assert [message.content for (message,) in task.recorded] == [f"one{mark}0", f"one{mark}1"]
    assert task.worth == (0.0, 1.0)


ASKED = Tasks([Task(id=name, prompt=(Message(role="user", content=name),), info={"n": 1}) for name in ("t", "u")])


def keep(folder: Path, stage: str, *rows: tuple[str, int, str, float], **fields: object) -> None:
    """One step of a stage: task, group, completion and score of each attempt."""
    (folder / "rollouts").mkdir(exist_ok=True)
    written = [
        {"step": 1, "group": group, "task": task, "completion": text, "stop": "eos", **fields,
         "score": {"status": "ok", "value": value}}
        for task, group, text, value in rows
    ]  # fmt: skip
    (folder / "rollouts" / f"{stage}-000001.jsonl").write_text("".join(dumps(row) + "\n" for row in written))


def told(tasks: Tasks) -> list[tuple[str, list[str], tuple[float, ...]]]:
    return [(task.id, [answer[0].content for answer in task.recorded], task.worth) for task in tasks]


def test_demonstrations_are_those_of_a_score_all_alike(tmp_path: Path) -> None:
    keep(tmp_path, "a", ("t", 0, "good", 1.1), ("t", 0, "right", 1.0), ("t", 0, "bad", 0.9), ("u", 1, "bad", 0.0))
    found = load_collected(Collected(stages=("a",), at_least=1.0), ASKED, tmp_path)
    assert told(found) == [("t@1", ["good", "right"], ())]
    assert found.dropped == 1


def test_what_a_limit_has_cut_is_no_demonstration_but_can_be_compared(tmp_path: Path) -> None:
    keep(tmp_path, "a", ("t", 0, "right, and then", 1.0), stop="length")
    assert told(load_collected(Collected(stages=("a",)), ASKED, tmp_path)) == [("t@1", ["right, and then"], (1.0,))]
    with pytest.raises(DataError, match="stage a kept no attempt with a score of 1 or more, whole and not empty"):
        load_collected(Collected(stages=("a",), at_least=1.0), ASKED, tmp_path)


def test_the_same_equations_in_other_words_are_one_solution(tmp_path: Path) -> None:
    """F2.rft_dedup: equation lists a, a, b, c of four right paths; three are kept."""
    paths = ["3 + 4 = 7, so 7.", "First 3+4=7. It is 7.", "4 + 3 = 7.", "3 + 4 = 7 and 7 + 0 = 7"]
    keep(tmp_path, "a", *(("t", number, path, 1.0) for number, path in enumerate(paths)))
    found = load_collected(Collected(stages=("a",), at_least=1, distinct="equations"), ASKED, tmp_path)
    assert [row[1] for row in told(found)] == [[paths[0]], [paths[2]], [paths[3]]]
    assert len(load_collected(Collected(stages=("a",), at_least=1, distinct="texts"), ASKED, tmp_path)) == 4


def test_solutions_without_equations_are_told_apart_by_their_words(tmp_path: Path) -> None:
    keep(tmp_path, "a", ("t", 0, "seven", 1.0), ("t", 0, "it is seven", 1.0), ("t", 0, " seven\n", 1.0))
    found = load_collected(Collected(stages=("a",), distinct="equations"), ASKED, tmp_path)
    assert told(found)[0][1] == ["seven", "it is seven"]


def test_most_and_distinct_count_all_attempts_at_a_task_in_all_stages(tmp_path: Path) -> None:
    keep(tmp_path, "a", ("t", 0, "1", 1.0), ("t", 0, "2", 1.0), ("u", 1, "1", 1.0))
    keep(tmp_path, "b", ("t", 0, "2", 1.0), ("t", 0, "3", 1.0), ("t", 0, "4", 1.0))
    collected = Collected(stages=("a", "b"), at_least=1, distinct="texts", most=3)
    assert told(load_collected(collected, ASKED, tmp_path)) == [
        ("t@a:1", ["1", "2"], ()),
        ("u@a:1", ["1"], ()),
        ("t@b:1", ["3"], ()),
    ]


def test_together_all_attempts_at_a_task_can_be_compared(tmp_path: Path) -> None:
    keep(tmp_path, "a", ("t", 0, "wrong", 0.0), ("u", 1, "x", 0.0))
    keep(tmp_path, "b", ("t", 0, "right", 1.0))
    found = load_collected(Collected(stages=("a", "b"), together=True), ASKED, tmp_path)
    assert told(found) == [("t", ["wrong", "right"], (0.0, 1.0)), ("u", ["x"], (0.0,))]


def test_a_stage_whose_name_begins_as_another_one_is_another_one(tmp_path: Path) -> None:
    keep(tmp_path, "a", ("t", 0, "own", 1.0))
    keep(tmp_path, "a-b", ("t", 0, "other", 1.0))
    keep(tmp_path, "a-1", ("t", 0, "other", 1.0))
    assert told(load_collected(Collected(stages=("a",)), ASKED, tmp_path))[0][1] == ["own"]


EQUATIONS = [
    ("3 + 4 = 7 apples, 7 * 2 = $14.", ("3+4=7", "7*2=14")),
    ("4+5=9+2=11>11", ("4+5=9+2", "9+2=11")),
    ("1,200 + 300 = 1,500. Then 5 = 5", ("1200+300=1500", "5=5")),
    ("(2 + 3) × 4 = 20", ("(2+3)*4=20",)),
    ("10 − 4 = 6 and 10 - 4 = 6", ("10-4=6", "10-4=6")),
    ("12 = 7 + 5", ("12=7+5",)),
    ("4+4=8 4+4=8", ("4+4=8", "4+4=8")),
    ("x = 5, a = b, 3 4", ()),
    ("no equation", ()),
    ("=", ()),
]


@pytest.mark.parametrize(("text", "expected"), EQUATIONS)
def test_the_equations_of_a_text(text: str, expected: tuple[str, ...]) -> None:
    assert equations(text) == expected
