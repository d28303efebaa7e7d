"""What the README and the guides show does what they say: every code block is run, built or read.

The blocks of a page run in their order, in one folder. An HTML comment before a block says more: ``file: NAME`` that
the reader saves it under that name (the page says so too), ``slow`` that it needs the bundled model, and
``illustration`` that it only shows something.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_text import byte_level

from togi.cli import app
from togi.data import Rows, load_tasks
from togi.envs.constitution import read_principles
from togi.evidence.before.row_answers import cases_of
from togi.models.load_model import Loaded
from togi.recipe import load_recipe
from togi.recipe.build import build
from togi.recipe.read_toml import read_values
from togi.rewards import REWARDS, parse_reward, python
from togi.rewards.algebra import leaves_of
from togi.rewards.expression import parameters
from togi.rewards.potential_shaping import Potential
from togi.run import Silent
from togi.tokenization import Chat
from togi.train import train

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?(```+)(\w*)\n(.*?)^\2$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`((?:\w+=\S+ )?(?:togi|make|pip|python|pytest|bash) [^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block; ``line`` is that of its fence."""

    page: str
    line: int
    mark: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        return self.mark.partition("file: ")[2]


BLOCKS = [
    Block(page=page, line=text.count("\n", 0, at.start(2)) + 1, mark=at[1] or "", language=at[3], text=at[4])
    for page, text in TEXTS.items()
    for at in FENCE.finditer(text)
]
SENTENCES = {page: FENCE.sub("", text) for page, text in TEXTS.items()}
COMMANDS = sorted(
    {(page, " ".join(at[1].split())) for page, text in SENTENCES.items() for at in COMMAND.finditer(text)}
)
SPANS = sorted({(page, at[1]) for page, text in SENTENCES.items() for at in re.finditer(r"`([^`\n]+)`", text)})
EXPRESSIONS = [(page, span) for page, span in SPANS if (at := re.match(r"(\w+)\(", span)) and at[1] in REWARDS]
ROW = '{"prompt": "What is 17 + 25?", "answer": "42"}\n'
READERS = {
    "train.jsonl": ROW,
    "test.jsonl": ROW.replace("17", "18"),
    "mine.py": "def score(task, completion): return 0.0",
    "file.json": "{}",
}
"""Files that are the reader's own, where a page does not write them itself."""
RECIPE: Mapping[str, Any] = {
    "name": "fragment",
    "model": {"source": "smollm2-135m"},
    "data": {"train": {"file": "train.jsonl"}, "test": {"file": "test.jsonl"}},
    "reward": {"score": "exact()"},
    "stage": [{"algorithm": "grpo"}],
}
STAGE = {"steps": 1, "learning_rate": 1e-6}
CHAT = Chat(byte_level(), frozenset({2}))


def shown(*languages: str) -> Any:
    some = [block for block in BLOCKS if block.language in languages and block.mark != "illustration"]
    return pytest.mark.parametrize("block", some, ids=str)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder: a checkout's recipes, and nothing else yet."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_files(page: str, folder: Path) -> None:
    written = {block.file: block.text for block in BLOCKS if block.page == page and block.file}
    for name, text in (READERS | written).items():
        (folder / name).write_text(text, encoding="utf-8")


def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    known = ("json", "toml", "python", "sh")
    assert not [str(b) for b in BLOCKS if b.language not in known and not b.file and b.mark != "illustration"]
    assert not [str(b) for b in BLOCKS if b.mark not in ("", "slow", "illustration") and not b.file]


@shown("json")
def test_rows_can_be_loaded(block: Block, folder: Path) -> None:
    if block.file.endswith(".json"):
        json.loads(block.text)
        return
    (folder / "rows.jsonl").write_text(block.text, encoding="utf-8")
    tasks = load_tasks(Rows(path=folder / "rows.jsonl"), split="train")
    assert (len(tasks), dict(tasks.skipped)) == (len(block.text.splitlines()), {})


@shown("toml")
def test_recipes_can_be_built(block: Block, folder: Path) -> None:
    """A whole recipe as it stands; a part of one within a recipe that is whole."""
    write_files(block.page, folder)
    values = tomllib.loads(block.text)
    if block.file and block.file != f"{values.get('name')}.toml":
        return  # no recipe
    if "model" not in values:
        whole = copy.deepcopy(dict(RECIPE))
        whole["data"] |= values.pop("data", {})
        values = whole | values
        values["stage"] = [STAGE | stage for stage in values["stage"]]
    base = folder / "recipes" if block.page == "README.md" else folder
    run = build(read_values(values, base=base), folder / "run")
    for stage in run.stages:
        for leaf in leaves_of(stage.reward) if stage.reward else ():
            own = leaf.by if isinstance(leaf, Potential) else leaf
            if isinstance(own, python):  # the page's function
                scores = [each.score for case in cases_of(stage.tasks[:2], own, CHAT) for each in case.attempts]
                assert [score.note for score in scores if score.status != "ok"] == []


def test_constitutions_can_be_read(folder: Path) -> None:
    write_files("docs/constitution.md", folder)
    assert read_principles(folder / "constitution.txt")


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.language == "python"}))
def test_python_runs(page: str, folder: Path) -> None:
    run_python(page, folder, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.mark == "slow"}))
def test_python_with_a_model_runs(page: str, folder: Path, smollm2: Loaded) -> None:
    run_python(page, folder, slow=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_task_of_your_own_is_learned(folder: Path, smollm2: Loaded) -> None:
    run_python("docs/getting_started.md", folder, slow=False)  # which writes the rows
    train(load_recipe("reviews.toml", ["evaluation.tasks=2"]).run, Silent())
    rewards = [json.loads(line)["reward"] for line in Path("runs/reviews/metrics.jsonl").read_text().splitlines()]
    assert rewards[0] < 0.3 < 0.9 < rewards[-1]


def run_python(page: str, folder: Path, *, slow: bool) -> None:
    write_files(page, folder)
    scope: dict[str, Any] = {}
    for block in BLOCKS:
        if block.page == page and block.language == "python" and (slow or block.mark != "slow"):
            assert block.mark != "illustration", f"{block}: Python is run"
            exec(compile("\n" * block.line + block.text, page, "exec"), scope)


@shown("sh")
def test_commands_can_be_given(block: Block, folder: Path) -> None:
    write_files(block.page, folder)
    for line in block.text.replace("\\\n", "").splitlines():
        for command in line.split(" && "):
            give(command)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_in_sentences_can_be_given(page: str, command: str, folder: Path) -> None:
    write_files(page, folder)
    give(command)


def give(command: str) -> None:
    """What can be known of a command without running it: it exists, with these flags, and its recipe can be built."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    match words:
        case []:
            pass
        case ["togi", name]:
            assert name in app, f"there is no command {name}"
        case ["togi", *rest]:
            _, bound, _ = app.parse_args(rest, exit_on_error=False, print_error=False)
            recipe = bound.arguments.get("recipe")
            if recipe is not None and recipe.suffix == ".toml":
                load_recipe(recipe, bound.arguments.get("overrides", ()))
        case ["make", target]:
            assert f"\n{target}:" in (ROOT / "Makefile").read_text()
        case ["pip", "install", *rest]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert rest[:3] == ["-c", "constraints.txt", "-e"], "Togi is not published"
            assert re.fullmatch(rf"\.(\[({'|'.join(extras)})\])?", rest[3])
        case ["python" | "python3", "-m", module, *_]:
            assert find_spec(module)
        case ["python", file, *_]:
            assert Path(file).is_file() or (ROOT / file).is_file()
        case _:
            assert words[0] in ("pytest", ".", "bash", "apt"), f"who runs {command!r}?"


@pytest.mark.parametrize(("page", "expression"), EXPRESSIONS)
def test_rewards_in_sentences_and_tables_are_as_they_are_written(page: str, expression: str, folder: Path) -> None:
    """One with values can be parsed; where a parameter's name or ``…`` stands for a value, the reward has them so."""
    write_files(page, folder)
    tree = ast.parse(expression.replace("…", "..."), mode="eval")
    stand_ins = False
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        assert isinstance(call.func, ast.Name), "only names are called"
        wanted = list(parameters(call.func.id))
        names = [each.id for each in call.args if isinstance(each, ast.Name)]
        assert sorted(names, key=wanted.index) == names, f"{call.func.id} has {wanted}, in this order"
        assert {keyword.arg for keyword in call.keywords} <= set(wanted)
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        stand_ins |= any(isinstance(each, ast.Name) and each.id not in ("true", "false") for each in values)
    if not stand_ins and "…" not in expression:
        parse_reward(expression, folder)


def test_links_lead_somewhere() -> None:
    lost = []
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?:)([^)\s]*)\)", text):
            path, _, anchor = target.partition("#")
            place = os.path.normpath(Path(page).parent / path) if path else page
            titles = re.findall(r"^#+ (.*)$", TEXTS.get(place, ""), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            if not (ROOT / place).exists() or (anchor and anchor not in anchors):
                lost.append(f"{page}: {target}")
    assert lost == []


def test_the_readme_s_map_names_what_is_there() -> None:
    (tree,) = [block.text for block in BLOCKS if block.text.startswith("togi/\n")]
    named = re.findall(r"^(  )?([\w/.]+)  ", tree, re.MULTILINE)
    missing = [name for inner, name in named if not (ROOT / ("togi" if inner else "") / name).exists()]
    assert missing == []
    listed = {name.rstrip("/") for inner, name in named if inner}
    silent = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    assert listed == {path.name for path in (ROOT / "togi").iterdir()} - silent
