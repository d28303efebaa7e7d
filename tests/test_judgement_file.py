"""Judgements of people: the file format, torn lines and mixed writers, and the tasks they become."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from togi.data import DataError, Prompting, Rows, Tasks, load_tasks
from togi.data.judgement_file import (
    Answer,
    Judgement,
    Pair,
    Verdict,
    read_judgements,
    read_pairs,
    write_judgement,
    write_pairs,
)
from togi.data.judgement_tasks import agreement, pairs_to_judge, preference_rows, tasks_from_judgements
from togi.types import Message, Task


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


GOOD = Answer(id="a", author="runs/dpo", messages=(assistant("Hello é"),))
BAD = Answer(id="b", author="smollm2-135m", messages=(assistant("Go\n\naway"),))
PAIR = Pair(id="p1", prompt=(user("Hi"),), left=GOOD, right=BAD)
SWAPPED = replace(PAIR, left=BAD, right=GOOD)
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def judged(*verdicts: tuple[str, Pair, Verdict]) -> list[Judgement]:
    return [
        Judgement(id=f"j{i}", pair=pair, time=NOON, who=who, verdict=verdict)
        for i, (who, pair, verdict) in enumerate(verdicts)
    ]


# The file -------------------------------------------------------------------------------------------------------------


def test_a_judgement_is_one_line_that_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    ours = timezone(timedelta(hours=2))
    one = Judgement(
        id="j1", pair=PAIR, time=NOON.astimezone(ours), who="heron", verdict="left", comment="kinder", seconds=7.5
    )
    two = Judgement(id="j2", pair=SWAPPED, time=NOON, who="otter", verdict="both_bad")
    write_judgement(path, one)
    write_judgement(path, two)
    assert read_judgements(path) == [one, two]
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        "schema": "togi.judgement.1",
        "id": "j1",
        "pair": "p1",
        "time": "2026-01-31T12:00:00Z",
        "who": "heron",
        "verdict": "left",
        "comment": "kinder",
        "seconds": 7.5,
        "prompt": [{"role": "user", "content": "Hi"}],
        "left": {"id": "a", "author": "runs/dpo", "messages": [{"role": "assistant", "content": "Hello é"}]},
        "right": {"id": "b", "author": "smollm2-135m", "messages": [{"role": "assistant", "content": "Go\n\naway"}]},
    }


def test_many_writers_never_mix_lines(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    long = replace(PAIR, left=replace(GOOD, messages=(assistant("x" * 100_000),)))

    def write(who: int) -> None:
        for i in range(5):
            write_judgement(path, Judgement(id=f"{who}/{i}", pair=long, time=NOON, who=str(who), verdict="left"))

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_judgements(path)) == 20


def test_a_torn_last_line_is_left_out_loudly(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    first, second, third = judged(("x", PAIR, "left"), ("y", PAIR, "right"), ("z", PAIR, "tie"))
    write_judgement(path, first)
    whole = path.read_bytes()
    write_judgement(path, second)
    line = path.read_bytes()[len(whole) :]
    for end in (1, line.index("é".encode()) + 1, len(line) - 2):
        path.write_bytes(whole + line[:end])
        with pytest.warns(UserWarning, match=r"judgements.jsonl:2: the last line is not whole and is left out"):
            assert read_judgements(path) == [first]
        with pytest.warns(UserWarning, match="not whole and is removed"):
            write_judgement(path, third)
        assert read_judgements(path) == [first, third]
    path.write_bytes(whole + line.rstrip(b"\n"))  # whole, but for the end of the line
    write_judgement(path, third)
    assert read_judgements(path) == [first, second, third]
    path.write_bytes(whole + line[:50] + b"\n" + whole)
    with pytest.raises(DataError, match=r"judgements.jsonl:2: this is not JSON"):
        read_judgements(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "togi.judgement.2"}, 'is "togi.judgement.1" in files that this version reads; .*judgement.2'),
        ({"verdict": "better"}, "one of left, right, tie, both_bad, skip; this is 'better'"),
        ({"time": "yesterday"}, "a date and time such as"),
        ({"time": "2026-01-31T12:00:00+02:00"}, "in UTC and ends with Z"),
        ({"time": "2026-01-31T12:00:00"}, "in UTC"),
        ({"who": ""}, '"who" is empty'),
        ({"id": 7}, '"id" is text; this is 7'),
        ({"pair": ""}, "pair's id is text"),
        ({"seconds": -1}, "at least 0"),
        ({"coment": "x"}, 'unknown key "coment"; did you mean "comment"'),
        ({"prompt": []}, "not empty"),
        ({"left": {"id": "a"}}, '"left" has id, author and messages'),
        ({"left": {"id": "b", "author": "", "messages": [{"role": "assistant", "content": "x"}]}}, 'both have "b"'),
        ({"left": {"id": "a", "author": "", "messages": [{"role": "user", "content": "x"}]}}, "is the assistant's"),
        ({"left": {"id": "a", "author": "", "messages": [{"role": "assistant", "content": " "}]}}, "empty"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "judgements.jsonl"
    write_judgement(path, judged(("x", PAIR, "left"))[0])
    row = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**row, "id": "other", **change}) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_judgements(path)
    assert f"{path}:1: " in str(caught.value)
    missing = {name: value for name, value in row.items() if name != "verdict"}
    path.write_text(json.dumps(missing) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match='there is no "verdict"'):
        read_judgements(path)


def test_ids_and_pairs_that_contradict_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    one = judged(("x", PAIR, "left"))[0]
    write_judgement(path, one)
    write_judgement(path, one)
    other = replace(PAIR, prompt=(user("Ho"),))
    write_judgement(path, replace(one, id="j2", pair=other))
    with pytest.raises(DataError) as caught:
        read_judgements(path)
    assert f'{path}:2: the id "j0" stands already in line 1' in str(caught.value)
    assert f'{path}:3: the pair "p1" has another prompt or other answers in line 1' in str(caught.value)


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    one = judged(("x", PAIR, "left"))[0]
    for bad, message in [
        (replace(one, who=""), '"who" is empty'),
        (replace(one, time=NOON.replace(tzinfo=None)), "no time zone"),
        (replace(one, comment="\ud800"), "surrogate"),
    ]:
        with pytest.raises(DataError, match=message):
            write_judgement(path, bad)
    assert not path.exists()
    with pytest.raises(DataError, match="there is no file"):
        read_judgements(path)


# Judgements to tasks --------------------------------------------------------------------------------------------------

MANY = judged(("x", PAIR, "left"), ("y", SWAPPED, "right"), ("z", PAIR, "tie"), ("w", PAIR, "skip"))


@pytest.mark.parametrize(
    ("judgements", "p"),
    [
        (judged(("x", PAIR, "left")), 1),
        (judged(("x", SWAPPED, "right")), 1),
        (MANY, 2.5 / 3),
        (judged(("x", PAIR, "left"), ("y", PAIR, "both_bad")), 1.5 / 2),
        (judged(("x", PAIR, "right"), ("x", PAIR, "left")), 1),  # who judges again has changed their mind
        (judged(("x", PAIR, "left"), ("y", PAIR, "left"), ("z", SWAPPED, "left")), 2 / 3),
    ],
)
def test_soft_labels(judgements: Sequence[Judgement], p: float) -> None:
    (task,) = tasks_from_judgements(judgements)
    assert task.recorded == (GOOD.messages, BAD.messages)
    assert task.worth == pytest.approx((p, 1 - p))
    assert task.id == "train:p1"


def test_majority_and_each() -> None:
    judgements = judged(("x", PAIR, "left"), ("y", PAIR, "left"), ("z", PAIR, "right"), ("w", PAIR, "tie"))
    (task,) = tasks_from_judgements(judgements, combine="majority", split="test")
    assert (task.id, task.worth, task.info) == ("test:p1", (1, 0), {"pair": "p1", "judges": 4})
    each = tasks_from_judgements(judgements, combine="each")
    assert [task.recorded[0] for task in each] == [GOOD.messages, GOOD.messages, BAD.messages]
    assert [task.id for task in each] == ["train:j0", "train:j1", "train:j2"]
    assert each.skipped == {"the judges saw a tie, or were split evenly": 1}


def test_what_decides_nothing_is_counted() -> None:
    others = [replace(PAIR, id=f"q{i}") for i in range(4)]
    same = replace(PAIR, id="same", right=replace(BAD, messages=GOOD.messages))
    judgements = judged(
        ("x", others[0], "tie"),
        ("x", others[1], "left"),
        ("y", others[1], "right"),
        ("x", others[2], "skip"),
        ("x", others[3], "both_bad"),
        ("x", same, "left"),
        ("x", PAIR, "left"),
    )
    tasks = tasks_from_judgements(judgements, combine="majority")
    assert len(tasks) == 1
    assert tasks.skipped == {
        "the judges saw a tie, or were split evenly": 3,
        "every judge passed": 1,
        "chosen and rejected are the same": 1,
    }
    soft = tasks_from_judgements(judgements)
    assert [task.worth for task in soft] == [(0.5, 0.5)] * 3 + [(1, 0)]
    assert set(soft.skipped) == {"every judge passed", "chosen and rejected are the same"}


def test_a_file_of_judgements_is_a_file_of_tasks(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    for one in MANY:
        write_judgement(path, one)
    prompting = Prompting(system="Be brief.", template="Q: {prompt}")
    (task,) = load_tasks(Rows(path=path), prompting, split="train")
    assert task.prompt == (Message(role="system", content="Be brief."), user("Hi"))
    assert task.worth == pytest.approx((2.5 / 3, 0.5 / 3))
    each = load_tasks(Rows(path=path, combine="each"), split="train")
    assert [one.worth for one in each] == [(1, 0)] * 2
    with pytest.raises(DataError, match="1 row was left out: their prompt stands in another split"):
        load_tasks(Rows(path=path), split="test", exclude=[task])


def test_rows_for_other_tools_are_read_back_alike(tmp_path: Path) -> None:
    rows, skipped = preference_rows(MANY)
    assert skipped == {}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (task,), (same,) = load_tasks(Rows(path=path), split="train"), tasks_from_judgements(MANY)
    assert (task.prompt, task.recorded, task.worth) == (same.prompt, same.recorded, same.worth)


# Tasks to pairs -------------------------------------------------------------------------------------------------------


def tasks(count: int) -> Tasks:
    return Tasks(
        [
            Task(id=str(i), prompt=(user(f"q{i}"),), recorded=((assistant(f"a{i}"),), (assistant(f"b{i}"),)))
            for i in range(count)
        ]
    )


def test_sides_are_random_but_recorded_and_depend_on_the_pair_alone(tmp_path: Path) -> None:
    pairs = pairs_to_judge(tasks(400), seed=1, authors=("base", "dpo"))
    left = sum(pair.left.author == "base" for pair in pairs)
    assert 160 < left < 240
    assert all({pair.left.author, pair.right.author} == {"base", "dpo"} for pair in pairs)
    assert all((pair.left.messages[0].content[0] == "a") == (pair.left.author == "base") for pair in pairs)
    assert pairs_to_judge(tasks(400)[100:], seed=1, authors=("base", "dpo")) == pairs[100:]
    other = pairs_to_judge(tasks(400), seed=2)
    assert [pair.id for pair in other] == [pair.id for pair in pairs]
    assert 120 < sum(a.left.id != b.left.id for a, b in zip(pairs, other, strict=True)) < 280
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


def test_a_ranking_gives_every_two_answers_and_equal_answers_none() -> None:
    answers = tuple((assistant(text),) for text in ("x", "y", "x"))
    pairs = pairs_to_judge([Task(id="0", prompt=(user("q"),), recorded=answers)], seed=0)
    assert len(pairs) == 1  # x against y twice is one pair
    with pytest.raises(DataError, match="task 0 has 1 recorded answers"):
        pairs_to_judge([Task(id="0", prompt=(user("q"),), recorded=answers[:1])], seed=0)
    with pytest.raises(DataError, match="3 answers and there are 2 authors"):
        pairs_to_judge([Task(id="0", prompt=(user("q"),), recorded=answers)], seed=0, authors=("a", "b"))


Prefers = Callable[[Pair], Verdict]


def test_the_whole_way_to_people_and_back(tmp_path: Path) -> None:
    asked = tasks(20)
    write_pairs(tmp_path / "pairs.jsonl", pairs_to_judge(asked, seed=3))
    for number, pair in enumerate(read_pairs(tmp_path / "pairs.jsonl")):
        verdict: Verdict = "left" if pair.left.messages[0].content.startswith("b") else "right"
        write_judgement(
            tmp_path / "people.jsonl", Judgement(id=str(number), pair=pair, time=NOON, who="x", verdict=verdict)
        )
    back = load_tasks(Rows(path=tmp_path / "people.jsonl"), split="train")
    assert [task.prompt for task in back] == [task.prompt for task in asked]
    assert [task.recorded for task in back] == [task.recorded[::-1] for task in asked]
    assert {task.worth for task in back} == {(1, 0)}


# What they say of the judges ------------------------------------------------------------------------------------------


def test_agreement_of_people() -> None:
    others = [replace(PAIR, id=f"q{i}") for i in range(4)]
    verdicts: tuple[Verdict, ...] = ("left", "left", "right", "skip")
    first: list[tuple[str, Pair, Verdict]] = [("x", pair, "left") for pair in others]
    second = [("y", pair, verdict) for pair, verdict in zip(others, verdicts, strict=True)]
    everything = judged(*first, *second, ("x", SWAPPED, "right"))
    found = agreement(everything)
    assert (found.judgements, found.judges, found.pairs, found.shared_pairs) == (9, 2, 5, 3)
    assert found.raw == pytest.approx(2 / 3)
    assert found.alpha is not None
    # Five ratings of one kind and one of the other: D_o = 2 / 6, D_e = 2 * 5 * 1 / (6 * 5).
    assert found.alpha.value == pytest.approx(0)
    assert found.left is not None
    assert found.left.point == pytest.approx(6 / 8)
    assert found.verdicts == {"left": 6, "right": 2, "skip": 1}
    alone = agreement(judged(("x", PAIR, "tie")))
    assert (alone.raw, alone.alpha, alone.left) == (None, None, None)
