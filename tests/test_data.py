"""Sources to tasks, bad input to errors that name the place, and the order of training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from togi.data import (
    DataError,
    Generated,
    Prompting,
    ReasoningGym,
    Rows,
    Tasks,
    disjoint,
    load_tasks,
    mixed,
    row_files as files,
    row_tables as tables,
    row_values as values,
    stream,
)
from togi.graders.reasoning_gym_scorer import LIBRARY
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*rows: Any, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"\n".join(lines))
        return path

    return write


def load(path: Path, prompting: Prompting | None = None, **fields: Any) -> Tasks:
    return load_tasks(Rows(path=path, **fields), prompting, split="train")


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


# Columns --------------------------------------------------------------------------------------------------------------


def test_a_plain_prompt_is_asked_through_system_and_template(write: Write) -> None:
    path = write({"prompt": "2+2?", "answer": "4", "level": 3})
    (task,) = load(path, Prompting(system="Be brief.", template="Q: {prompt}"))
    assert task.prompt == (Message(role="system", content="Be brief."), user("Q: 2+2?"))
    assert (task.id, task.answer, task.recorded, task.info) == ("train:1", "4", (), {"level": 3})


def test_the_answer_never_enters_the_prompt_through_a_template(write: Write) -> None:
    path = write({"prompt": "2+2?", "answer": "four"})
    (task,) = load(path, Prompting(template=r"{prompt} Write \boxed{answer}."))
    assert task.prompt[0].content == r"2+2? Write \boxed{answer}."


def test_raw_text_format_keeps_plain_strings_out_of_chats(write: Write) -> None:
    path = write({"prompt": "Once", "completion": " upon a time"})
    (task,) = load(path, Prompting(format="text"))
    assert task.prompt == (Message(role="text", content="Once"),)
    assert task.recorded == ((assistant(" upon a time"),),)


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize(
    ("row", "prompt", "recorded"),
    [
        ({"prompt": "Hi", "completion": "Hello"}, (user("Hi"),), ((assistant("Hello"),),)),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, (user("Hi"),), ((assistant("Hello"),),)),
        ({"messages": CHAT}, (user("Hi"),), ((assistant("Hello"),),)),
        ({"messages": CHAT[:1]}, (user("Hi"),), ()),
        ({"text": "raw"}, (Message(role="text", content=""),), ((assistant("raw"),),)),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b"}, (user("Hi"),), ((assistant("a"),), (assistant("b"),))),
        (
            {"chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "Go"}]},
            (user("Hi"),),
            ((assistant("Hello"),), (assistant("Go"),)),
        ),
        (
            {"prompt": CHAT[:1], "chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "Go"}]},
            (user("Hi"),),
            ((assistant("Hello"),), (assistant("Go"),)),
        ),
    ],
)
def test_trl_columns(write: Write, row: dict[str, Any], prompt: tuple[Message, ...], recorded: Any) -> None:
    (task,) = load(write(row))
    assert task.prompt == prompt
    assert task.recorded == recorded


def test_columns_of_other_names(write: Write) -> None:
    (task,) = load(write({"prompt": "a", "solution": 7}), columns={"answer": "solution"})
    assert (task.answer, task.info) == (7, {"solution": 7})
    with pytest.raises(DataError, match=r'columns.answer: the row has no "result"; it has prompt, solution'):
        load(write({"prompt": "a", "solution": 7}), columns={"answer": "result"})


def test_a_system_message_of_the_row_is_kept(write: Write) -> None:
    own = {"role": "system", "content": "Mine"}
    (task,) = load(write({"prompt": [own, CHAT[0]]}), Prompting(system="Other"))
    assert task.prompt[0].content == "Mine"


# Bad input ------------------------------------------------------------------------------------------------------------


def test_bom_crlf_blank_lines_and_a_missing_last_newline_are_fine(write: Write) -> None:
    path = write(b'\xef\xbb\xbf{"prompt": "a"}\r', b"", b'{"prompt": "b"}\r', b'  {"prompt": "\xc3\xa9"}')
    tasks = load(path)
    assert [task.prompt[0].content for task in tasks] == ["a", "b", "é"]
    assert [task.id for task in tasks] == ["train:1", "train:3", "train:4"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b'{"prompt": "a', "not JSON"),
        (b'{"prompt": "a", "answer"', "delimiter at column 25"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "a", "x": NaN}', "NaN is not JSON"),
        (b'{"prompt": "a", "prompt": "b"}', "stands twice"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'["prompt"]', "an object"),
        (b"7", "an object"),
        (b"[" * 100_000, "JSON"),
        (b'{"question": "a"}', "no prompt"),
        (b'{"prompt": ""}', "empty"),
        (b'{"prompt": 7}', "this is 7"),
        (b'{"prompt": []}', "not empty"),
        (b'{"prompt": ["a"]}', "role and content"),
        (b'{"prompt": [{"from": "robot", "value": "a"}]}', "robot"),
        (b'{"prompt": [{"from": "human", "text": "a"}]}', "from and value"),
        (b'{"prompt": [{"role": "user", "content": [1]}]}', "content of a message is text"),
        (b'{"prompt": [{"role": "robot", "content": "a"}]}', "robot"),
        (b'{"prompt": [{"role": "user", "content": "a", "tool_calls": [1]}]}', "a tool call of"),
        (b'{"prompt": [{"role": "assistant", "content": "a"}]}', "not the assistant's"),
        (b'{"prompt": "a", "completion": ""}', "recorded answer is empty"),
        (b'{"prompt": "a", "chosen": "b"}', "both chosen and rejected"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write: Write, bad: bytes, message: str) -> None:
    path = write({"prompt": "fine"}, bad)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert f"{path}:2: " in str(caught.value)
    assert caught.value.count == 1


def test_columns_of_mixed_types_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match='"prompt" is a list here and text in row 1'):
        load(write({"prompt": "a"}, {"prompt": CHAT[:1]}))
    with pytest.raises(DataError, match='"completion" is missing here and text in row 1'):
        load(write({"prompt": "a", "completion": "b"}, {"prompt": "a"}))


def test_a_hundred_bad_rows_are_shown_and_all_counted(write: Write) -> None:
    with pytest.raises(DataError) as caught:
        load(write({"prompt": "fine"}, *[b"{"] * 250))
    assert caught.value.count == 250
    assert len(caught.value.diagnostics) == 100
    assert "250 bad rows" in str(caught.value)
    assert "and 150 more" in str(caught.value)


def test_files_that_hold_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        load(tmp_path / "absent.jsonl")
    for name, content, message in [
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\n \n", "has no tasks"),
        ("zipped.jsonl", b"\x1f\x8b\x08\x00", "gzip-compressed"),
        ("wide.jsonl", '{"prompt": "x"}'.encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        ("pointer.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "git lfs pull"),
        ("page.jsonl", b"<!DOCTYPE html>\n<html>\n", "is a page of the web"),
        ("list.json", b'[\n {"prompt": "x"}\n', "is not JSON lines, and as one JSON value: this is not JSON"),
        ("words.json", b'[\n "x"\n]\n', "row 1: a row is an object such as"),
        ("two.json", b'{\n "a": [{"prompt": "x"}], "b": [{"prompt": "y"}]}', "several lists of objects, a, b"),
        ("many.json", b'{\n "prompt": "x"\n}\n{\n "prompt": "y"\n}\n', "Extra data at line 4"),
        ("none.jsonl", b"{}\n", "this has nothing"),
        ("question.jsonl", b'{"question": "x", "answer": "1"}\n', 'write columns = { prompt = "question" }'),
        (
            "other.jsonl",
            b'{"instruction": "x", "solution": "1"}\n',
            'prompt = "instruction", completion = "solution" }',
        ),
        ("long.jsonl", b'{"prompt": "x", "answer": ' + b"9" * 5000 + b"}\n", "a number of 5,000 digits"),
        ("pipe", None, "neither a file nor a folder"),
        ("folder", None, "not a folder saved by `datasets`"),
        ("table.csv", b"prompt\na\n", "ends in .jsonl, .json or .parquet"),
        ("broken.parquet", b"not parquet", "not a readable parquet file"),
    ]:
        if content is None:
            os.mkfifo(tmp_path / name) if name == "pipe" else (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(tmp_path / name)


def test_prompting_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match=r"{prompt}"):
        Prompting(template="Question:")
    with pytest.raises(ValueError, match="system"):
        Prompting(format="text", system="x")


# Token budgets --------------------------------------------------------------------------------------------------------

STATED = Prompting(template="{prompt} Think for {budget} tokens.", budget=(10, 19))


def test_a_budget_is_drawn_for_the_question_stated_and_kept(write: Write) -> None:
    path = write(*({"prompt": f"{number}+1?"} for number in range(300)))
    tasks = load(path, STATED)
    drawn = [task.info["budget"] for task in tasks]
    assert [task.prompt[0].content for task in tasks] == [
        f"{number}+1? Think for {budget} tokens." for number, budget in enumerate(drawn)
    ]
    assert set(drawn) == set(range(10, 20))
    assert 14 < sum(drawn) / len(drawn) < 15  # uniform, both ends included
    test = load_tasks(Rows(path=write({"prompt": "7+1?", "level": 2}, name="t.jsonl")), STATED, split="test")
    assert test[0].info == {"level": 2, "budget": drawn[7]}  # whatever else stands in the row, and in another split
    with pytest.raises(DataError, match="train:8 = test:1"):
        disjoint(tasks, test)


@pytest.mark.parametrize(
    ("prompting", "row", "content", "budget"),
    [
        (STATED, {"prompt": "2+2?", "budget": 44}, "2+2? Think for 44 tokens.", 44),
        (Prompting(template="{budget}|{prompt}"), {"prompt": "{budget}", "budget": 7}, "7|{budget}", 7),
        (Prompting(system="Use {budget}.", budget=(3, 3)), {"prompt": "2+2?"}, "Use 3.", 3),
        (
            Prompting(system="Use {budget}.", budget=(3, 3)),
            {"prompt": [{"role": "user", "content": "Hi"}]},
            "Use 3.",
            3,
        ),
        (Prompting(template="{prompt} {budget}", format="text", budget=(5, 5)), {"prompt": "2+2:"}, "2+2: 5", 5),
    ],
)
def test_where_a_budget_is_stated(
    prompting: Prompting, row: dict[str, Any], content: str, budget: int, write: Write
) -> None:
    (task,) = load(write(row), prompting)
    assert (task.prompt[0].content, task.info["budget"]) == (content, budget)


def test_a_budget_that_is_not_stated_is_the_row_s_own_column(write: Write) -> None:
    (task,) = load(write({"prompt": "2+2?", "budget": "cheap"}))
    assert task.info == {"budget": "cheap"}


@pytest.mark.parametrize(
    ("prompting", "row", "expected"),
    [
        (Prompting(template="{prompt} {budget}"), {"prompt": "2+2?"}, "set budget = "),
        (STATED, {"prompt": "2+2?", "budget": 0}, "at least 1; this is 0"),
        (STATED, {"prompt": "2+2?", "budget": "40"}, "whole number"),
        (STATED, {"prompt": "2+2?", "budget": True}, "whole number"),
        (STATED, {"prompt": [{"role": "user", "content": "Hi"}]}, "no budget can be stated"),
        (STATED, {"messages": [{"role": "user", "content": "Hi"}]}, "no budget can be stated"),
        (Prompting(system="{budget}", budget=(3, 3)), {"prompt": "Hi", "system": "Own."}, "no budget can be stated"),
        (
            Prompting(system="{budget}", budget=(3, 3)),
            {"prompt": [{"role": "system", "content": "Own."}, {"role": "user", "content": "Hi"}]},
            "no budget can be stated",
        ),
    ],
)
def test_a_budget_that_cannot_be_stated_is_refused(
    prompting: Prompting, row: dict[str, Any], expected: str, write: Write
) -> None:
    with pytest.raises(DataError, match=expected):
        load(write(row), prompting)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"budget": (5, 9)}, "write {budget} into template or system"),
        ({"template": "{prompt} {budget}", "budget": (9, 5)}, r"got \[9, 5\]"),
        ({"template": "{prompt} {budget}", "budget": (0, 5)}, r"from 1 upwards"),
    ],
)
def test_a_budget_and_its_statement_belong_together(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Prompting(**fields)


def test_a_template_on_conversations_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="template"):
        load(write({"prompt": CHAT[:1]}), Prompting(template="Q: {prompt}"))


# Other files ----------------------------------------------------------------------------------------------------------


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"messages": [CHAT, CHAT], "score": [1.5, float("nan")]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    first, second = load(tmp_path / "rows.parquet")
    assert first.recorded == ((assistant("Hello"),),)
    assert (first.info, second.info) == ({"score": 1.5}, {"score": None})


@pytest.mark.slow
def test_a_datasets_folder_with_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    train = datasets.Dataset.from_list([{"prompt": "a", "answer": "1"}])
    datasets.DatasetDict({"train": train}).save_to_disk(str(tmp_path / "set"))
    (task,) = load(tmp_path / "set")
    assert task.answer == "1"
    with pytest.raises(DataError, match='no split "test"; it has train'):
        load_tasks(Rows(path=tmp_path / "set"), split="test")


# Generators -----------------------------------------------------------------------------------------------------------

MAKER = """
import random
def add(rng: random.Random):
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return {"question": f"{a}+{b}", "answer": a + b, "completion": f"<answer>{a + b}</answer>", "terms": (a, b)}
def broken(rng):
    raise KeyError("oops")
def text(rng):
    return "a"
def show(row):
    return "it is " + str(row["answer"])
"""


@pytest.fixture
def maker(tmp_path: Path) -> str:
    (tmp_path / "maker.py").write_text(MAKER)
    return str(tmp_path / "maker.py")


def test_a_function_makes_different_prompts_by_its_seed(maker: str) -> None:
    one = load_tasks(Generated(function=f"{maker}:add", size=80, seed=1), split="train")
    again = load_tasks(Generated(function=f"{maker}:add", size=80, seed=1), split="train")
    other = load_tasks(Generated(function=f"{maker}:add", size=80, seed=2), split="train")
    assert len({task.prompt for task in one}) == len(one) == 80
    assert one.digest == again.digest != other.digest
    assert one[0].info == {"terms": [int(digit) for digit in one[0].prompt[0].content.split("+")]}
    assert one[0].recorded[0][0].content == f"<answer>{one[0].answer}</answer>"


def test_held_out_questions_are_made_until_there_are_enough_new_ones(maker: str) -> None:
    train = load_tasks(Generated(function=f"{maker}:add", size=70, seed=1), split="train")
    test = load_tasks(Generated(function=f"{maker}:add", size=25, seed=2), split="test", exclude=train)
    assert len(test) == 25
    assert test.dropped > 0
    disjoint(train, test)
    with pytest.raises(DataError, match=r"only 30 different prompts that are not in another split .* 31 were wanted"):
        load_tasks(Generated(function=f"{maker}:add", size=31, seed=2), split="test", exclude=train)


def test_shared_questions_are_refused_and_named(maker: str) -> None:
    tasks = load_tasks(Generated(function=f"{maker}:add", size=5, seed=1), split="train")
    with pytest.raises(DataError, match=r"5 of 5 held-out tasks .*train:1 = train:1"):
        disjoint(tasks, tasks)


def test_rows_of_a_file_that_stand_in_another_split_are_dropped(write: Write) -> None:
    train = load(write({"prompt": "a"}, {"prompt": "b"}))
    test = load_tasks(
        Rows(path=write({"prompt": "b"}, {"prompt": "c"}, name="test.jsonl")), split="test", exclude=train
    )
    assert ([task.prompt[0].content for task in test], test.dropped) == (["c"], 1)
    with pytest.raises(DataError, match="has no tasks: 1 row was left out: their prompt stands in another split"):
        load_tasks(Rows(path=write({"prompt": "b"}, name="same.jsonl")), split="test", exclude=train)


def test_functions_that_fail_are_named(maker: str) -> None:
    with pytest.raises(DataError, match=r"maker.py:broken raised KeyError"):
        load_tasks(Generated(function=f"{maker}:broken", size=1, seed=1), split="train")
    with pytest.raises(DataError, match=r"maker.py:text gave str"):
        load_tasks(Generated(function=f"{maker}:text", size=1, seed=1), split="train")
    with pytest.raises(ValueError, match='no function "ad"; did you mean "add"'):
        load_tasks(Generated(function=f"{maker}:ad", size=1, seed=1), split="train")


def test_demonstrations_are_written_from_the_row(maker: str, write: Write) -> None:
    (task,) = load(write({"prompt": "3+4", "answer": "7"}), Prompting(demonstrate=f"{maker}:show"))
    assert task.recorded == ((assistant("it is 7"),),)
    with pytest.raises(DataError, match=r"rows.jsonl:1: demonstrate raised KeyError"):
        load(write({"prompt": "3+4"}), Prompting(demonstrate=f"{maker}:show"))


SMALL = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def test_reasoning_gym_by_name_config_and_seed() -> None:
    pytest.importorskip("reasoning_gym")
    train = load_tasks(ReasoningGym(name="chain_sum", size=60, seed=1, config=SMALL), split="train")
    test = load_tasks(ReasoningGym(name="chain_sum", size=30, seed=2, config=SMALL), split="test", exclude=train)
    disjoint(train, test)
    assert len(test) == 30
    assert test.dropped > 0  # neighbouring seeds of reasoning-gym make mostly the same questions
    question = train[0].info["question"]
    assert train[0].prompt == (user(question),)
    assert train[0].answer == str(eval(question.removesuffix("=").rpartition(":")[2]))
    assert train[0].info["metadata"]["num_terms"] == 2


@pytest.mark.parametrize("name", ["isomorphic_strings", "ransom_note", "polynomial_multiplication"])
def test_a_question_that_hangs_on_string_hashes_is_the_same_where_it_is_scored(name: str) -> None:
    """These draw in the order of a set; Python's hashes differ between processes unless they are fixed."""
    pytest.importorskip("reasoning_gym")
    tasks = load_tasks(ReasoningGym(name=name, size=3, seed=1), split="train")
    with Pool(workers=1, tier="process") as pool:
        for task in tasks:
            arguments = {"origin": task.info["reasoning_gym"], "question": task.info["question"], "tag": "answer"}
            grader = "togi.graders.reasoning_gym_scorer:score"
            mark = pool.call(grader, {**arguments, "text": task.answer, "marker": "", "partial": False}, LIBRARY).value
            assert "bad_gold" not in mark


def test_a_data_set_that_fails_says_why() -> None:
    """It has no task of such a size; the process that made it ends with an error of the library's own."""
    pytest.importorskip("reasoning_gym")
    with pytest.raises(DataError, match="composite"):
        load_tasks(ReasoningGym(name="composite", size=1, seed=1), split="train")


def test_reasoning_gym_refusals() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(DataError, match="did you mean chain_sum"):
        load_tasks(ReasoningGym(name="chain_sums", size=1, seed=1), split="train")
    with pytest.raises(DataError, match=r"refuses its config.*digits_max"):
        load_tasks(ReasoningGym(name="chain_sum", size=1, seed=1, config={"digits_max": 1}), split="train")


# Order ----------------------------------------------------------------------------------------------------------------


def some(count: int) -> Tasks:
    return Tasks([Task(id=str(index), prompt=(user(str(index)),)) for index in range(count)])


def test_an_epoch_holds_every_task_once_and_orders_differ() -> None:
    ids = [task.id for task in islice(stream(some(20), 3), 60)]
    epochs = [ids[:20], ids[20:40], ids[40:]]
    assert all(sorted(epoch, key=int) == [str(index) for index in range(20)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [task.id for task in islice(stream(some(20), 3), 60)] == ids
    assert [task.id for task in islice(stream(some(20), 4), 20)] != epochs[0]


def test_sources_are_mixed_by_weight_and_each_goes_round() -> None:
    tasks = mixed([some(3), some(20)], [2, 1])
    drawn = [task.id for task in islice(stream(tasks, 1), 3 * 23)]
    first = [each for each in drawn if each.endswith(".1:")]
    second = [each for each in drawn if each not in first]
    assert (len(first), len(second)) == (3 * 15, 3 * 8)
    assert (len(set(second[:16])), len(set(second))) == (16, 20), "a source is gone through before it begins again"
    assert {drawn.count(each) for each in first} == {15}
    restored = stream(tasks, 1)
    restored.restore({"epoch": 1, "position": 5})
    assert [task.id for task in islice(restored, 20)] == drawn[28:48]
    assert mixed([some(3), some(20)], [1, 1]).digest != tasks.digest
    assert len(tasks[2:5].sources) == 3


@pytest.mark.parametrize("drawn", [0, 1, 6, 7, 8, 20])
def test_a_restored_stream_goes_on_as_if_uninterrupted(drawn: int) -> None:
    whole = stream(some(7), 1)
    list(islice(whole, drawn))
    restored = stream(some(7), 1)
    restored.restore(json.loads(json.dumps(whole.state())))
    assert list(islice(restored, 15)) == list(islice(whole, 15))


def test_a_state_of_another_set_is_refused() -> None:
    with pytest.raises(ValueError, match="position 9"):
        stream(some(3), 1).restore({"epoch": 0, "position": 9})
    with pytest.raises(DataError, match="no tasks"):
        stream([], 1)


def test_the_digest_speaks_of_contents_and_order() -> None:
    tasks = some(3)
    assert tasks.digest == some(3).digest
    assert len({tasks.digest, tasks[:2].digest, Tasks(list(reversed(tasks))).digest}) == 3
    changed = Tasks([Task(id="0", prompt=(user("0"),), answer=1), *tasks[1:]])
    assert changed.digest != tasks.digest


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"prompt": "' + b"x" * 500 + b'"}', "the line has more than"),
        (b"x" * 5000, "the line has more than"),
        (b'{"a": ' + b"[" * 90 + b"]" * 90 + b"}", None),
        (b'{"prompt": "x", "answer": 1e400}', "1e400 is too large"),
        (b'{"prompt": "x", "answer": -1e999}', "-1e999 is too large"),
        (b'{"prompt": "a\x00b"}', "not JSON"),
        (b'{"prompt": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\udfff": 1, "prompt": "x"}', "half of a surrogate pair"),
        (b'{"prompt": "\xed\xa0\x80"}', "is not UTF-8"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', 'the key "a" stands twice'),
        (b'{"prompt": "x"} {"prompt": "y"}', "Extra data"),
    ],
    ids=range(12),
)
def test_lines_of_strangers(line: bytes, problem: str | None, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST", 300)
    path = write(line, {"prompt": "next"})
    with pytest.raises(DataError) as error:
        load(path)
    told = str(error.value)
    assert ((f"{path}:1: " in told) and (problem or "there is no prompt") in told) or problem is None
    assert f"{path}:2" not in told, "a bad line ends where it ends"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "judged.jsonl", "folder"])
def test_rows_that_memory_does_not_hold_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    row = {"prompt": "x" * 100, "answer": "1"}
    if name == "rows.parquet":
        table([row] * 50, path)
    elif name == "folder":
        pytest.importorskip("datasets").Dataset.from_list([row] * 50).save_to_disk(str(path))
    else:
        judged = {"schema": "togi.judgement.1"} if name.startswith("judged") else {}
        path.write_text(json.dumps(row | judged) + "\n" + (json.dumps(row | judged) + "\n\n") * 49)
    monkeypatch.setattr(values, "memory_limit", lambda: 2 * 49 * values.ROW)
    with pytest.raises(DataError, match=r"rows or more, which take .* GB in memory") as error:
        load(path)
    assert str(path) in str(error.value)


def test_parquet_files_that_unpack_to_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.parquet"
    table([{"prompt": "x" * 5000}] * 3000, path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(values, "memory_limit", lambda: 20 << 20)
    with pytest.raises(DataError, match="rows or more, which take"):
        load(path)
    monkeypatch.setattr(tables, "LONGEST", 4000)
    with pytest.raises(DataError, match="rows of more than"):
        load(path)
    monkeypatch.setattr(tables, "MOST_COLUMNS", 2)
    table([{"a": 1, "b": 2, "prompt": "3"}], path)
    with pytest.raises(DataError, match="has 3 columns, at most 2"):
        load(path)


@pytest.mark.parametrize("at", [0, 4, 60, -60, -9, -1])
def test_damaged_parquet_files_are_told(at: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table([{"prompt": f"what is {n}?", "answer": "1"} for n in range(9)], path)
    content = bytearray(path.read_bytes())
    for place in range(at, min(at + 8, 0) if at < 0 else at + 8):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.parquet"):
        load(path)


def table(rows: list[dict[str, Any]], path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize("depth", [700, 100_000])
def test_nesting_without_end(depth: int, write: Write) -> None:
    with pytest.raises(DataError, match="nested too deeply"):
        load(write(b'{"prompt": "x", "a": ' + b"[" * depth + b"]" * depth + b"}"))
