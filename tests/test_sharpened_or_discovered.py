"""Tasks told apart by whether the model leant to the right answer at first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from togi.evidence.after.sharpened_or_discovered import sharpening
from togi.evidence.read_run import RunData
from togi.report.over_optimisation_section import leanings_of, leant


def rows(task: str, answers: str, right: str) -> list[dict[str, Any]]:
    """One attempt a letter; a dash gives no answer."""
    texts = ["<think>endless" if one == "-" else f"<answer> {one}</answer>" for one in answers]
    return [
        {"task": task, "completion": text, "gold": float(one == right)}
        for one, text in zip(answers, texts, strict=True)
    ]


FIRST = [
    *rows("a", "rrx-", "r"),
    *rows("b", "rrrx", "r"),
    *rows("c", "xxry", "r"),
    *rows("d", "xxrr", "r"),
    *rows("e", "----", "r"),
]
LAST = [
    *rows("a", "rrrr", "r"),
    *rows("b", "rrrx", "r"),
    *rows("c", "xxxx", "r"),
    *rows("d", "rrrr", "r"),
    *rows("e", "rxrx", "r"),
    *rows("f", "rx", "r"),
]


def test_tasks_are_told_apart_by_what_was_leant_to_at_first() -> None:
    right, wrong, torn = sharpening(FIRST, LAST)
    assert (right.lean, right.tasks, right.truth_start, right.truth_end) == ("right", 2, 0.625, 0.875)
    assert (right.agreement_start, right.agreement_end) == (0.625, 0.875)
    assert (wrong.lean, wrong.tasks, wrong.truth_start, wrong.truth_end) == ("wrong", 1, 0.25, 0.0)
    assert (wrong.agreement_start, wrong.agreement_end) == (0.5, 1.0)
    assert (torn.lean, torn.tasks, torn.truth_end) == ("torn", 2, 0.75)


def test_too_few_common_tasks_say_nothing() -> None:
    assert sharpening(FIRST, LAST[:10]) == []
    assert sharpening([{**row, "gold": math.nan} for row in FIRST], LAST) == []


def test_the_report_says_whether_a_stage_only_sharpened(tmp_path: Path) -> None:
    data = RunData(folder=tmp_path, rollouts={("s", 1): FIRST, ("s", 9): LAST, ("other", 3): LAST})
    assert "of a wrong answer where most were wrong" in leant(leanings_of(data, "s"))
    assert leanings_of(data, "other") == []
    learned = [*LAST[:8], *rows("c", "rrrr", "r"), *LAST[12:]]
    assert "also at tasks where most were wrong" in leant(sharpening(FIRST, learned))
    broken = [*rows("a", "xxxx", "r"), *rows("b", "xxxx", "r"), *LAST[8:]]
    assert "did not become right more often" in leant(sharpening(FIRST, broken))
    assert leant([]) == ""
