"""Rows as other tools write them: each format is read, or answered with the line of a recipe that reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from togi.data import DataError, HubRows, Rows, Tasks, load_tasks
from togi.types import Message, Task

WORDS = (
    *("why", "Ω", "sum:", "3,5", "\n\n", "Human:", "<b>", "«ja»", "####", "4", "x=1", "{prompt}"),
    *("\t", "数", "É", "|", "-", "*", "\\frac{1}{2}", "'", '"', "end"),
)
Draw = random.Random


def text(rng: Draw) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 12))).strip() or "x"


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def gsm8k(rng: Draw) -> tuple[dict[str, Any], Any]:
    question, number = text(rng), f"{rng.randint(-9999, 9999):,}"
    answer = f"{text(rng)} <<3*4=12>>\n#### {number}"
    return {"question": question, "answer": answer}, (question, answer, number)


def alpaca(rng: Draw) -> tuple[dict[str, Any], Any]:
    instruction, about, output = text(rng), rng.choice(["", text(rng)]), text(rng)
    row = {"instruction": instruction, "input": about, "output": output, "text": "### Instruction: …"}
    return row, (f"{instruction}\n\n{about}" if about else instruction, output, None)


def dolly(rng: Draw) -> tuple[dict[str, Any], Any]:
    instruction, about, output = text(rng), rng.choice(["", text(rng)]), text(rng)
    row = {"instruction": instruction, "context": about, "response": output, "category": "open_qa"}
    return row, (f"{instruction}\n\n{about}" if about else instruction, output, None)


def sharegpt(rng: Draw) -> tuple[dict[str, Any], Any]:
    question, answer = text(rng), text(rng)
    human, gpt = rng.choice([("human", "gpt"), ("user", "assistant"), ("human", "chatgpt")])
    turns = [{"from": human, "value": question, "weight": None}, {"from": gpt, "value": answer}]
    return {"id": text(rng), "conversations": turns}, (question, answer, None)


def openai(rng: Draw) -> tuple[dict[str, Any], Any]:
    question, answer = text(rng), text(rng)
    asked = rng.choice([question, [{"type": "text", "text": question}]])
    return {"messages": [{"role": "user", "content": asked}, said("assistant", answer)]}, (question, answer, None)


def verl(rng: Draw) -> tuple[dict[str, Any], Any]:
    question, answer = text(rng), text(rng)
    row = {
        "data_source": "openai/gsm8k",
        "prompt": [said("user", question)],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"split": "train", "index": rng.randint(0, 9)},
    }
    return row, (question, None, answer)


def ultrafeedback(rng: Draw) -> tuple[dict[str, Any], Any]:
    question, chosen = text(rng), "good " + text(rng)
    pair = {name: [said("user", question), said("assistant", each)] for name, each in
            (("chosen", chosen), ("rejected", "bad " + text(rng)))}  # fmt: skip
    row = {"prompt": question, "prompt_id": "7", **pair, "messages": pair["chosen"]}
    return row | {"score_chosen": 8.5, "score_rejected": 3.0}, (question, chosen, None)


def openorca(rng: Draw) -> tuple[dict[str, Any], Any]:
    question, answer = text(rng), text(rng)
    return {"id": "cot.1", "system_prompt": text(rng), "question": question, "response": answer}, (
        question,
        answer,
        None,
    )


FORMATS: dict[str, tuple[Callable[[Draw], tuple[dict[str, Any], Any]], dict[str, str]]] = {
    "GSM8K": (gsm8k, {}),
    "Alpaca": (alpaca, {}),
    "Dolly": (dolly, {}),
    "ShareGPT": (sharegpt, {}),
    "OpenAI": (openai, {}),
    "verl": (verl, {}),
    "UltraFeedback": (ultrafeedback, {}),
    "OpenOrca": (openorca, {"prompt": "question", "completion": "response", "system": "system_prompt"}),
}


def load(path: Path, **fields: Any) -> Tasks:
    return load_tasks(Rows(path=path, **fields), split="train")


def write(path: Path, rows: list[Any], *, indent: int | None = None) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
    return path


def summary(task: Task) -> tuple[str, str | None, Any]:
    asked = [message for message in task.prompt if message.role != "system"]
    return asked[-1].content, task.recorded[0][-1].content if task.recorded else None, task.answer


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "pretty.json", "rows.parquet"])
@pytest.mark.parametrize("kind", FORMATS)
def test_forty_rows_of_each_format(kind: str, name: str, tmp_path: Path) -> None:
    make, columns = FORMATS[kind]
    rng = random.Random(kind)
    rows, expected = zip(*(make(rng) for _ in range(40)), strict=True)
    path = tmp_path / name
    if name == "rows.parquet":
        if kind == "OpenAI":
            pytest.skip("a column of a table holds one type")
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(list(rows)), path)
    else:
        write(path, list(rows), indent=2 if name == "pretty.json" else None)
    tasks = load(path, columns=columns)
    assert [summary(task) for task in tasks] == list(expected)
    if kind == "UltraFeedback":
        assert {task.worth for task in tasks} == {(8.5, 3.0)}
    if kind == "OpenOrca":
        assert tasks[0].prompt[0] == Message(role="system", content=rows[0]["system_prompt"])


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"question": "a", "answer": "b"}, 'columns = { prompt = "question" }'),
        ({"problem": "a", "solution": "b", "answer": "c"}, 'columns = { prompt = "problem", completion = "solution" }'),
        ({"query": "a", "response": "b"}, 'columns = { prompt = "query", completion = "response" }'),
        ({"question": "a", "final_answer": "b"}, 'columns = { prompt = "question", answer = "final_answer" }'),
        ({"instruction": "a", "ground_truth": 3}, 'columns = { prompt = "instruction", answer = "ground_truth" }'),
        ({"question": "a", "chosen": "b", "rejected": "c"}, 'columns = { prompt = "question" }'),
        ({"instruction": "a", "output": "b", "history": [["q", "a"]]}, "write the row as messages"),
    ],
)
def test_other_columns_are_answered_with_the_line_to_write(row: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(write(tmp_path / "rows.jsonl", [row]))
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"a": {"b": {"c": "hi"}}}, {"prompt": "a.b.c"}, ("hi", None, None)),
        ({"a.b": "dotted", "a": {"b": "nested"}}, {"prompt": "a.b"}, ("dotted", None, None)),
        ({"q": "hi", "answers": {"text": ["1", "2"]}}, {"prompt": "q", "answer": "answers.text.0"}, ("hi", None, "1")),
        ({"q": "hi", "answers": [{"v": 1}, {"v": 2}]}, {"prompt": "q", "answer": "answers.v"}, ("hi", None, [1, 2])),
        ({"q": "hi", "gold": None}, {"prompt": "q", "answer": "gold.x"}, ("hi", None, None)),
        ({"prompt": "no", "q": "yes"}, {"prompt": "q"}, ("yes", None, None)),
        ({"instruction": "q", "output": "a", "gold": 4}, {"answer": "gold"}, ("q", "a", 4)),
        (
            {"q": "hi", "all": [{"text": "a", "score": 1}, {"text": "b", "score": 4}]},
            {"prompt": "q", "completions": "all.text", "scores": "all.score"},
            ("hi", "a", None),
        ),
    ],
)
def test_columns_by_path(row: dict[str, Any], columns: dict[str, str], expected: Any, tmp_path: Path) -> None:
    (task,) = load(write(tmp_path / "rows.jsonl", [row]), columns=columns)
    assert summary(task) == expected


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"prompt": "a.x"}, 'columns.prompt: a has no "x"; it has b, c'),
        ({"prompt": "x"}, 'columns.prompt: the row has no "x"; it has a, d'),
        ({"prompt": "a.b.c"}, "columns.prompt: a.b is 'hi', which has no \"c\""),
        ({"prompt": "d.3"}, "columns.prompt: d has 1 members, and number 3 was wanted"),
    ],
)
def test_paths_that_lead_nowhere(columns: dict[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(write(tmp_path / "rows.jsonl", [{"a": {"b": "hi", "c": 1}, "d": ["x"]}]), columns=columns)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        '{"data": [{"prompt": "a"}, {"prompt": "b"}]}',
        '{\n  "version": 1,\n  "data": [\n    {"prompt": "a"},\n    {"prompt": "b"}\n  ]\n}\n',
        '\ufeff[\n{"prompt": "a"},\n{"prompt": "b"}]',
        ' \n [ {"prompt": "a"}, {"prompt": "b"} ]',
        '[{"prompt": "a"}, {"prompt": "b"}]',
    ],
)
def test_files_that_are_one_json_value(content: str, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(content, encoding="utf-8")
    tasks = load(tmp_path / "rows.json")
    assert [(task.id, task.prompt[0].content) for task in tasks] == [("train:1", "a"), ("train:2", "b")]


def test_a_single_row_is_no_list_of_rows(tmp_path: Path) -> None:
    row = {"messages": [said("user", "q"), said("assistant", "a")]}
    for indent in (None, 1):
        (tmp_path / "one.json").write_text(json.dumps(row, indent=indent))
        assert [summary(task) for task in load(tmp_path / "one.json")] == [("q", "a", None)]


def test_thumbs_may_be_numbers(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": str(n), "label": n} for n in (0, 1)]
    tasks = load(write(tmp_path / "rows.jsonl", rows))
    assert [task.worth for task in tasks] == [(0.0,), (1.0,)]
    assert all("label" not in task.info for task in tasks)


def test_all_answers_of_a_conversation_by_choice(tmp_path: Path) -> None:
    roles = ("system", "assistant", "user", "assistant", "user", "assistant")
    path = write(tmp_path / "rows.jsonl", [{"messages": [said(role, f"{role} {n}") for n, role in enumerate(roles)]}])
    (last,), (every,) = load(path), load(path, turns="all")
    assert [len(last.prompt), len(last.recorded[0])] == [5, 1]
    assert [message.role for message in every.prompt] == ["system", "assistant", "user"]
    assert [message.content for message in every.recorded[0]] == ["assistant 3", "user 4", "assistant 5"]


CARD = """---
configs:
- config_name: main
  default: true
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train-*}
---
# A data set
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the hub has them: a card that names subsets and splits, and parquet files."""
    datasets = pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "mirror"
    for place in ("main/train", "main/test", "socratic/train"):
        file = folder / f"{place}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        row = {"question": f"{place}?", "answer": "It is so.\n#### 7"}
        parquet.write_table(pyarrow.Table.from_pylist([row]), file)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.mark.slow
def test_a_hub_data_set_from_a_local_copy(mirror: Path) -> None:
    def asked(named: str = "train", **fields: Any) -> list[str]:
        return [task.prompt[0].content for task in load_tasks(HubRows(name=str(mirror), **fields), split=named)]

    assert asked() == ["main/train?"]
    assert asked("test") == ["main/test?"]
    assert asked("test", subset="socratic", split="train") == ["socratic/train?"]
    (task,) = load_tasks(HubRows(name=str(mirror)), split="train")
    assert task.answer == "7"
    for fields, problem in (({"subset": "other"}, "subset ="), ({"split": "dev"}, "split =")):
        with pytest.raises(DataError, match=problem):
            asked(**fields)
