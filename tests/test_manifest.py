"""What a run was made from: whatever says what it pays for and asks under is part of it, wherever it lies."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from togi.find_function import resolve
from togi.recipe.build import build
from togi.recipe.read_toml import read_recipe
from togi.rewards.judge.grade import judge
from togi.rewards.judge.rubric import rubric
from togi.rewards.verifiers import json_schema
from togi.run import Run
from togi.run_folder.files import FolderError, RunFolder, read_lines, write_text
from togi.run_folder.integrity import check
from togi.run_folder.links import PARTS
from togi.run_folder.manifest import claim
from togi.run_folder.run_description import files_read

RECIPE = """
name = "paid"
[model]
source = "smollm2-135m"
dtype = "float32"
[data.train]
file = "tasks.jsonl"
[reward]
score = 'python("reward.py:pay")'
[[stage]]
algorithm = "sft_revised"
name = "revise"
constitution = "rules.txt"
steps = 1
learning_rate = 1e-5
[[stage]]
algorithm = "grpo"
steps = 1
attempts = 2
learning_rate = 1e-6
"""
RULES = "[kind]\ncritique: Was it kind?\nrevision: Make it kind.\nquestion: Which is kinder?\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "tasks.jsonl").write_text(json.dumps({"prompt": "1 + 1", "answer": "2"}) + "\n")
    (folder / "reward.py").write_text("def pay(task, completion):\n    return 1.0\n")
    (folder / "rules.txt").write_text(RULES)
    return folder / "recipe.toml"


def run_of(recipe: Path, folder: Path) -> Run:
    return build(read_recipe(recipe), folder)


def claim_and_learn(recipe: Path, folder: RunFolder) -> None:
    """A run that has taken its first step."""
    claim(run_of(recipe, folder.path), folder, allow_changes=False)
    folder.append("metrics.jsonl", {"stage": "revise", "step": 1})


def test_a_changed_reward_is_refused_naming_its_file(recipe: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        claim_and_learn(recipe, folder)
        claim(run_of(recipe, folder.path), folder, allow_changes=False)
        (recipe.parent / "reward.py").write_text("def pay(task, completion):\n    return 2.0\n")
        with pytest.raises(FolderError, match=r"files\.grpo\.reward\.py: '\w+' -> '\w+'"):
            claim(run_of(recipe, folder.path), folder, allow_changes=False)
        claim(run_of(recipe, folder.path), folder, allow_changes=True)
        claim(run_of(recipe, folder.path), folder, allow_changes=False)


def test_what_a_reward_imports_from_its_own_folder_is_part_of_it(recipe: Path, tmp_path: Path) -> None:
    folder = recipe.parent
    (folder / "reward.py").write_text("import json\nfrom marks import best\npay = lambda task, completion: best\n")
    (folder / "marks.py").write_text("import reward\nfrom grades.top import best\n")  # in a circle, as Python allows
    (folder / "grades").mkdir()
    (folder / "grades" / "top.py").write_text("best = 1.0\n")
    (folder / "grades" / "other.py").write_text("def (\n")
    (folder / "unrelated.py").write_text("")
    with RunFolder(tmp_path / "run") as open_folder:
        run = run_of(recipe, open_folder.path)
        assert list(files_read(run)["grpo"]) == ["reward.py", "marks.py", "grades/other.py", "grades/top.py"]
        claim_and_learn(recipe, open_folder)
        (folder / "grades" / "top.py").write_text("best = 2.0\n")
        with pytest.raises(FolderError, match=r"files\.grpo\.grades/top\.py"):
            claim(run_of(recipe, open_folder.path), open_folder, allow_changes=False)


def test_a_changed_constitution_is_refused(recipe: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        claim_and_learn(recipe, folder)
        (recipe.parent / "rules.txt").write_text(RULES.replace("Was it kind?", "Was it short?"))
        with pytest.raises(FolderError, match=r"files\.revise\.principles"):
            claim(run_of(recipe, folder.path), folder, allow_changes=False)


def test_a_recipe_that_was_moved_with_its_files_goes_on(recipe: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        claim_and_learn(recipe, folder)
        moved = recipe.parent.rename(tmp_path / "elsewhere") / recipe.name
        claim(run_of(moved, folder.path), folder, allow_changes=False)


def test_every_reward_says_which_files_it_reads(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    reward = (
        rubric("criteria.toml", base=tmp_path)
        + judge("be kind", template="ask.txt", principles="rules.txt", base=tmp_path)
        + json_schema("schema.json", base=tmp_path)
    )
    run = run_of(recipe, tmp_path / "run")
    paid = replace(run.stages[1], reward=reward)
    run = replace(run, stages=(paid,), recipe={"relative_to": str(tmp_path)})
    assert {name: digest is None for name, digest in files_read(run)["grpo"].items()} == {
        "criteria.toml": True,
        "ask.txt": True,
        "rules.txt": True,
        "schema.json": False,
    }


def test_a_folder_without_a_step_gives_way_to_a_corrected_recipe(recipe: Path, tmp_path: Path) -> None:
    """What the old one made is put away, told in the events, and the folder is whole."""
    with RunFolder(tmp_path / "run") as folder:
        claim(run_of(recipe, folder.path), folder, allow_changes=False)
        write_text(folder.path / "evaluations" / "base.json", "{}")
        folder.event("evaluated", files=folder.marks(folder.path / "evaluations" / "base.json"))
        claim(run_of(recipe, folder.path), folder, allow_changes=False)
        assert (folder.path / "evaluations" / "base.json").exists()
        recipe.write_text(RECIPE.replace("learning_rate = 1e-6", "learning_rate = 2e-6"))
        claim(run_of(recipe, folder.path), folder, allow_changes=False)
        assert not (folder.path / "evaluations" / "base.json").exists()
        assert "2e-06" in (folder.path / "recipe.toml").read_text()
    assert check(folder.path).faults == ()


@pytest.mark.parametrize("name", [*PARTS, "metrics.jsonl"])
def test_what_is_no_run_folder_is_left_alone(name: str, recipe: Path, tmp_path: Path) -> None:
    """A user's own folder may hold models, and is named by mistake."""
    mine = tmp_path / "run" / name / "mine" if name in PARTS else tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    refused = pytest.raises(FolderError, match=f"holds {name} but no manifest.json")
    with RunFolder(tmp_path / "run") as folder, refused:
        claim(run_of(recipe, folder.path), folder, allow_changes=False)
    assert mine.read_text() == "mine"


PROGRAM = """
from dataclasses import dataclass
scale = 2.0
elsewhere = 1

@dataclass
class Pays:
    best: float

    def __call__(self, task, trajectories):
        return 1.0

def pays(task, trajectories):
    return 1.0

def made():
    return Pays(scale)

def same():
    return pays
"""


@pytest.mark.parametrize(
    ("made", "old", "new", "expected"),
    [
        ("made", "return 1.0", "return 2.0", r"stage\.1\.reward\.source\.Pays: '\w+' -> '\w+'"),
        ("same", "return 1.0", "return 2.0", r"stage\.1\.reward\.source\.pays: '\w+' -> '\w+'"),
        ("made", "scale = 2.0", "scale = 3.0", r"stage\.1\.reward\.score: 'Pays\(best=2\.0\)' -> 'Pays\(best=3\.0\)'"),
        ("made", "elsewhere = 1", "elsewhere = 2", None),
        ("same", "elsewhere = 1", "elsewhere = 2", None),
    ],
)
def test_a_reward_of_a_program_is_compared_by_its_source_and_values(
    made: str, old: str, new: str, expected: str | None, recipe: Path, tmp_path: Path
) -> None:
    def run() -> Run:
        built = run_of(recipe, tmp_path / "run")
        own = replace(built.stages[1], reward=resolve(f"program.py:{made}", tmp_path)())
        return replace(built, stages=(built.stages[0], own), recipe={})

    (tmp_path / "program.py").write_text(PROGRAM)
    with RunFolder(tmp_path / "run") as folder:
        claim(run(), folder, allow_changes=False)
        folder.append("metrics.jsonl", {"stage": "revise", "step": 1})
        claim(run(), folder, allow_changes=False)
        (tmp_path / "program.py").write_text(PROGRAM.replace(old, new))
        with pytest.raises(FolderError, match=expected) if expected else nullcontext():
            claim(run(), folder, allow_changes=False)


DAMAGE = [
    pytest.param(b"", "cannot be read", id="empty"),
    pytest.param(b'{"recipe": {', "cannot be read", id="cut"),
    pytest.param(b"\xff\xfe\x00", "cannot be read", id="binary"),
    pytest.param(b"[" * 100_000, "cannot be read", id="deep"),
    pytest.param(b"[1]", "a JSON object was wanted, this is list", id="list"),
    pytest.param(b"null", "a JSON object was wanted", id="null"),
    pytest.param(b"{}", "recipe is wanted as dict", id="keys"),
    pytest.param(b'{"recipe": 3}', "recipe is wanted as dict", id="types"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGE)
def test_a_damaged_manifest_is_told_and_nothing_is_lost(
    content: bytes, words: str, recipe: Path, tmp_path: Path
) -> None:
    with RunFolder(tmp_path / "run") as folder:
        claim_and_learn(recipe, folder)
        (folder.path / "manifest.json").write_bytes(content)
        with pytest.raises(FolderError, match=words) as told:
            claim(run_of(recipe, folder.path), folder, allow_changes=False)
        assert str(folder.path / "manifest.json") in str(told.value)
        assert len(str(told.value).splitlines()) == 1
        assert read_lines(folder.path / "metrics.jsonl") == [{"stage": "revise", "step": 1}]
        assert (folder.path / "manifest.json").read_bytes() == content
