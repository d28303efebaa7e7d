"""The page of a reward design: what was found stands on it, hostile text stays text, and a half-done design has one."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_eureka_search import Trainer, Writer, program, run, trainer  # noqa: F401

from togi.report.reward_design_page import changed, write_design_report
from togi.reward_design.archive import Archive
from togi.reward_design.run_design import card, reward_file
from togi.reward_design.told import answer, read_outcome
from togi.run_folder.files import RunFolder

HOSTILE = "</pre><script>alert(1)</script>\x1b[2J"


def hostile(fitness: float) -> str:
    return program(fitness).replace("def compute", f"TEXT = {HOSTILE!r}\ndef compute")


def test_the_page_shows_what_was_found(tmp_path: Path, trainer: Trainer) -> None:  # noqa: F811
    writer = Writer([hostile(0.2), "```python\nimport os\n```", program(0.9), program(0.0)])
    run(tmp_path, trainer, writer, f"design.task={HOSTILE}", "search.parents=1")
    with RunFolder(tmp_path / "run") as held:
        Archive(tmp_path / "run", held).add_bytes("frames/00012.png", b"\x89PNG", "drawn")
    (tmp_path / "run" / "frames" / "00013.png").write_bytes(b"\x89PNG")
    page = write_design_report(tmp_path / "run").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "step 13" not in page
    for shown in (
        "Generation 2",
        "2-01",
        "fitness 90%",
        "hacked",
        "step 12",
        "data:image/png;base64,",
        "img-src data:",
    ):
        assert shown in page
    assert '<span class="gone">    fitness_20 = 0</span>' in page
    assert '<span class="new">    fitness_90 = 0</span>' in page


def test_a_design_that_has_just_begun_has_a_page(tmp_path: Path, trainer: Trainer) -> None:  # noqa: F811
    run(tmp_path, trainer, Writer([program(0.2), program(0.3)]), one_generation=True)
    assert "The last comparison is not done yet." in write_design_report(tmp_path / "run").read_text()


def test_the_winner_is_a_file_with_its_card(tmp_path: Path, trainer: Trainer) -> None:  # noqa: F811
    run(tmp_path, trainer, Writer([program(0.2), program(0.3), program(0.9), program(0.0)]), "design.task=Reach\n1.")
    outcome = read_outcome(Archive(tmp_path / "run"))
    names: dict[str, object] = {}
    exec(compile(reward_file(outcome), "reward.py", "exec"), names)
    assert callable(names["compute_reward"])
    assert "# A reward for: Reach 1." in reward_file(outcome)
    assert "| written by the model | 90%" in card(outcome)
    assert "solve the task to 90%" in answer(outcome)


def test_a_best_program_that_teaches_nothing_is_called_so(tmp_path: Path, trainer: Trainer) -> None:  # noqa: F811
    run(tmp_path, trainer, Writer([program(0.0)] * 4))
    assert answer(read_outcome(Archive(tmp_path / "run"))).startswith("No written program teaches the task")


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("a\nb\n", "a\nc\n", [("same", "a"), ("gone", "b"), ("new", "c")]),
        ("", "a\n", [("new", "a")]),
        ("a\n", "a\n", [("same", "a")]),
        ("a\n" * 501, "a\n", [("new", "a")]),
    ],
)
def test_what_changed(before: str, after: str, wanted: list[tuple[str, str]]) -> None:
    assert [(each.kind, each.line) for each in changed(before, after)] == wanted
