"""``togi data difficulty`` and ``answers``: which rows a model's attempts leave, which answers of a teacher stay."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from judge_doubles import Scripted
from judge_server import good, said, serving

from togi.askers.asker import Reply
from togi.cli import run_command
from togi.corpora.difficulty import keep_between
from togi.corpora.pass_rates import PassRate, _mark
from togi.corpora.recipe_rows import RowsBehind, rows_behind, table_of
from togi.corpora.teacher_answers import Asking, teacher_answers
from togi.data import DataError, Prompting, Rows, Tasks, load_tasks
from togi.data.lineage import Source, lineage_path, read_lineage
from togi.models.load_model import load_tokenizer
from togi.recipe.read_toml import read_recipe, read_text
from togi.report import write_report
from togi.rewards.algebra import Leaf
from togi.tokenization import Chat
from togi.types import Sampling, Score, Task, Trajectory

RECIPES = Path(__file__).parent.parent / "recipes"
SOLVER = Source(name="a model", sha256="0" * 64)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Difficulty -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "mark"),
    [
        ({"status": "ok", "value": 1.0, "parts": {}}, 1.0),
        ({"status": "ok", "value": 0.99, "parts": {}}, 0.0),
        ({"status": "ok", "value": 1.4, "parts": {"correct": 0.0}}, 0.0),
        ({"status": "ok", "value": -0.2, "parts": {"correct": 1.0}}, 1.0),
        ({"status": "timeout", "value": None, "parts": {}}, None),
        ({"status": "ok", "value": None, "parts": {}}, None),
        ({"status": "ok", "value": 1.0}, 1.0),
        (None, None),
    ],
)
def test_an_attempt_is_right_by_the_verifiers_else_for_full_marks(score: Any, mark: float | None) -> None:
    assert _mark(score) == mark


def asked(tmp_path: Path, *rows: dict[str, Any]) -> tuple[RowsBehind, Tasks]:
    path = written(tmp_path / "rows.jsonl", rows)
    by_id = {f"train:{number}": row for number, row in enumerate(rows, start=1)}
    source = Source(name="rows.jsonl", sha256="1" * 64, rows=len(rows))
    return RowsBehind(sources=(source,), by_id=by_id, by_question={}), load_tasks(Rows(path=path), split="train")


def test_rows_between_two_pass_rates_stay_as_they_were_with_the_rate(tmp_path: Path) -> None:
    behind, tasks = asked(tmp_path, *({"prompt": f"{number}+1?", "level": number} for number in range(5)))
    rates = {f"train:{number}": PassRate(right=(number - 1) / 4, attempts=4) for number in (1, 2, 3, 5)}
    out = tmp_path / "out.jsonl"
    made = keep_between(behind, tasks, rates, out, least=0.25, most=0.5, solver=SOLVER, settings={"attempts": 4})
    assert rows_of(out) == [
        {"prompt": "1+1?", "level": 1, "pass_rate": 0.25},
        {"prompt": "2+1?", "level": 2, "pass_rate": 0.5},
    ]
    assert {dropped.why: dropped.rows for dropped in made.dropped} == {
        "solved too seldom": 1,
        "no attempt at it was scored": 1,
        "solved too often": 1,
    }
    assert made.consulted == (SOLVER,)


def test_a_band_that_no_row_is_in_writes_nothing(tmp_path: Path) -> None:
    behind, tasks = asked(tmp_path, {"prompt": "1+1?"})
    rates = {"train:1": PassRate(right=0.5, attempts=4)}
    with pytest.raises(DataError, match=r"no row is left \(1 solved too often\)"):
        keep_between(behind, tasks, rates, tmp_path / "o.jsonl", least=0, most=0.4, solver=SOLVER, settings={})


SOURCES = [
    'file = "rows.jsonl"',
    'sources = [{ file = "rows.jsonl" }, { generate = "made.py:make", size = 3, seed = 1 }]',
    'generate = "made.py:make"\nsize = 3\nseed = 1',
]


@pytest.mark.parametrize("source", SOURCES)
def test_the_row_behind_each_task_is_found_before_it_was_asked(source: str, tmp_path: Path) -> None:
    written(tmp_path / "rows.jsonl", [{"prompt": "1+1?", "answer": "2"}, {"prompt": "1+2?", "answer": "3"}])
    (tmp_path / "made.py").write_text(
        "def make(rng):\n    number = rng.randrange(4)\n    return {'question': f'{number}+9?', 'answer': number + 9}\n"
    )
    (tmp_path / "r.toml").write_text(
        f'name = "r"\n[model]\nsource = "smollm2-135m"\n[prompt]\ntemplate = "Q: {{prompt}}"\n[data.train]\n{source}\n'
        '[reward]\nscore = "number()"\n[[stage]]\nalgorithm = "grpo"\nsteps = 1\nlearning_rate = 1e-5\n'
    )
    from togi.recipe import load_recipe

    loaded = load_recipe(tmp_path / "r.toml")
    tasks = loaded.run.stages[0].tasks
    behind = rows_behind(read_recipe(tmp_path / "r.toml"), loaded.reading.recipe.data.train, tasks)
    rows = [behind.of(task) for task in tasks]
    assert [f"Q: {row['prompt']}" for row in rows] == [task.prompt[0].content for task in tasks]
    assert [row["answer"] for row in rows] == [task.answer for task in tasks]
    assert len(behind.sources) == 1 + source.startswith("sources")


# A teacher's answers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Says(Leaf):
    """Pays an answer that ends in the task's own; one that says "lost" gets no score. Counts the tokens it saw."""

    name: str = "says"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [
            self._score(task, trajectory.turns[-1].text, len(trajectory.turns[-1].completion))
            for trajectory in trajectories
        ]

    def _score(self, task: Task, text: str, tokens: int) -> Score:
        if "lost" in text:
            return Score(value=math.nan, status="timeout", note="lost")
        assert tokens == len(text) + 1  # each character is a token of the model that learns, and so is the end
        return Score(value=float(text.endswith(str(task.answer))))


@pytest.fixture(scope="module")
def chat() -> Chat:
    tokenizer, _ = load_tokenizer(str(RECIPES / "little_model.py:turns"))
    return Chat(tokenizer, frozenset({tokenizer.eos_token_id}))


def answered(
    tmp_path: Path, chat: Chat, rows: Sequence[dict[str, Any]], reply: Callable[[str, int], Reply], **asking: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    behind, tasks = asked(tmp_path, *rows)
    votes: dict[str, int] = {}

    def say(prompt: str) -> Reply:
        votes[prompt] = votes.get(prompt, -1) + 1
        return reply(prompt, votes[prompt])

    out = tmp_path / "out.jsonl"
    how = Asking(**({"attempts": 4, "keep": 1, "least": 1.0, "sampling": Sampling(max_tokens=20)} | asking))
    made = teacher_answers(Scripted(say), behind, tasks, Says(), chat, out, asking=how, who=SOLVER, settings={})
    return rows_of(out), {dropped.why: dropped.rows for dropped in made.dropped}


def test_the_first_right_answers_of_a_teacher_become_demonstrations(tmp_path: Path, chat: Chat) -> None:
    rows = [{"prompt": "1+1:", "answer": 2, "level": "easy"}, {"prompt": "1+2:", "answer": 3, "level": "easy"}]
    replies = ["its7", "so2", "so2 ", "then2"]
    made, dropped = answered(tmp_path, chat, rows, lambda _, vote: Reply(text=replies[vote]), keep=2)
    assert made == [
        {"prompt": "1+1:", "answer": 2, "completion": "so2", "level": "easy"},
        {"prompt": "1+1:", "answer": 2, "completion": "then2", "level": "easy"},
    ]
    assert dropped == {"given before": 2, "scores too little": 4}
    again = load_tasks(Rows(path=tmp_path / "out.jsonl"), Prompting(template="Q: {prompt}"), split="train")
    assert [task.recorded[0][0].content for task in again] == ["so2", "then2"]
    assert again[0].prompt[0].content == "Q: 1+1:"


NOT_KEPT: list[tuple[str, Reply, str]] = [
    ("cut", Reply(text="so2", cut=True), "cut at the longest length"),
    ("failed", Reply(status="error", note="down"), "not given"),
    ("beyond the cap", Reply(status="abstain", note="cap"), "not given"),
    ("empty", Reply(text=" \n"), "empty"),
    ("wrong", Reply(text="so3"), "scores too little"),
    ("not scored", Reply(text="lost2"), "could not be scored"),
]


@pytest.mark.parametrize(("reply", "why"), [row[1:] for row in NOT_KEPT], ids=[row[0] for row in NOT_KEPT])
def test_answers_that_are_not_kept_are_counted_by_reason(reply: Reply, why: str, tmp_path: Path, chat: Chat) -> None:
    replies = [Reply(text="so2"), reply]
    made, dropped = answered(
        tmp_path, chat, [{"prompt": "1+1:", "answer": 2}], lambda _, vote: replies[vote], attempts=2
    )
    assert (len(made), dropped) == (1, {why: 1})


@pytest.mark.parametrize(
    "row",
    [
        {"question": "1+1:", "answer": "one more\n#### 2"},
        {"instruction": "1+1:", "input": "", "output": "old", "answer": 2},
        {"messages": [{"role": "user", "content": "1+1:"}, {"role": "assistant", "content": "old"}], "answer": 2},
        {"prompt": "1+1:", "chosen": "old", "rejected": "older", "answer": 2, "margin": 3},
        {"prompt": "1+1:", "completion": "old", "answer": 2, "system": "count."},
    ],
    ids=lambda row: next(iter(row)),
)
def test_a_row_s_own_answer_gives_way_to_the_teacher_s(row: dict[str, Any], tmp_path: Path, chat: Chat) -> None:
    answered(tmp_path, chat, [row], lambda prompt, vote: Reply(text="so2"))
    (task,) = load_tasks(Rows(path=tmp_path / "out.jsonl"), split="train")
    assert [message.content for answer in task.recorded for message in answer] == ["so2"]
    assert task.prompt[-1].content == "1+1:"
    assert (str(task.answer), task.worth) == ("2", ())
    assert len(task.prompt) == 1 + ("system" in row)


# A whole road ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_on_rows_with_a_lineage_shows_and_checks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("datasketch")
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{a}+{b}", "answer": f"{a + b}", "completion": f"{a + b}"} for a in range(6) for b in range(6)]
    written(tmp_path / "raw.jsonl", [*rows, rows[0]])
    recipe = RECIPE.replace("MODEL", str(RECIPES / "little_model.py:turns"))
    (tmp_path / "r.toml").write_text(recipe)
    assert run_command(["data", "dedup", "raw.jsonl", "--out", "train.jsonl", "--license", "cc0-1.0"]) == 0
    assert run_command(["train", "r.toml"]) == 0
    assert run_command(["verify", "runs/r"]) == 0
    assert "train.jsonl: the rows are as their lineage says" in capsys.readouterr().out
    page = write_report(Path("runs/r")).read_text(encoding="utf-8")
    for shown in ("Where the rows of sft, grpo come from", "togi data dedup", "raw.jsonl", "cc0-1.0"):
        assert shown in page

    assert run_command(["data", "difficulty", "runs/r", "--least", "0", "--most", "1", "--out", "kept.jsonl"]) == 0
    kept = read_lineage(lineage_path(Path("kept.jsonl")))
    assert kept.rows == 4  # the tasks of one step
    assert kept.sources[0].lineage is not None
    arguments = ["difficulty", "r.toml", "--attempts", "2", "--least", "0", "--most", "1", "--out", "sampled.jsonl"]
    assert run_command(["data", *arguments]) == 0
    assert {row["pass_rate"] for row in rows_of(Path("sampled.jsonl"))} <= {0, 0.5, 1}
    assert len(rows_of(Path("sampled.jsonl"))) == 36

    with serving(good(said("7"))) as server:
        arguments = ["answers", "r.toml", "--teacher", "wise", "--base-url", server.url, "--out", "taught.jsonl"]
        assert run_command(["data", *arguments, "--attempts", "1"]) == 0
    assert {row["answer"] for row in rows_of(Path("taught.jsonl"))} == {"7"}
    assert read_lineage(lineage_path(Path("taught.jsonl"))).settings["solved"] == len(rows_of(Path("taught.jsonl")))

    with Path("train.jsonl").open("a") as file:
        file.write('{"prompt": "8+8", "answer": "16", "completion": "16"}\n')
    capsys.readouterr()
    assert run_command(["verify", "runs/r"]) == 1
    assert "✗" in (told := capsys.readouterr().out)
    assert "train.jsonl: the rows were changed since the run began" in told
    Path("train.jsonl").unlink()
    assert run_command(["verify", "runs/r"]) == 0
    assert "its rows are no longer there" in capsys.readouterr().out


RECIPE = """
name = "r"
[model]
source = "MODEL"
dtype = "float32"
[data.train]
file = "train.jsonl"
[reward]
score = "exact()"
[sampling]
max_tokens = 4
[[stage]]
algorithm = "sft"
steps = 1
tasks_per_step = 4
learning_rate = 1e-3
[[stage]]
algorithm = "grpo"
attempts = 4
steps = 1
tasks_per_step = 4
learning_rate = 1e-3
stop_on_collapse = false
"""


def test_a_stage_that_learns_rollouts_names_the_stages_to_ask() -> None:
    text = (
        'name = "r"\n[model]\nsource = "smollm2-135m"\n[data.train]\ngenerate = "t.py:f"\nsize = 4\n'
        '[[stage]]\nname = "a"\nalgorithm = "collect"\nsteps = 1\ntasks_per_step = 1\n'
        '[[stage]]\nname = "learn"\nalgorithm = "sft"\nsteps = 1\ntasks_per_step = 1\nlearning_rate = 1e-5\n'
        'data = { rollouts = ["a", "b"] }\n'
    )
    with pytest.raises(DataError, match="stage learn asks what a and b asked"):
        table_of(read_text(text, name="r.toml", base=Path(__file__).parent), "learn")
