"""Patterns, JSON schemas and the fields of JSON answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from togi.graders.texts import parse_json
from togi.rewards import Composable, exact, field, fields, json_schema, matches, number, parse_reward, set_of
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Score, Task, Trajectory, Turn


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=5.0) as pool:
        yield pool


def grade(reward: Composable, gold: Any, *texts: str, **info: Any) -> list[Score]:
    task = Task(id="train:1", prompt=(Message(role="user", content="?"),), answer=gold, info=info)
    turns = [Turn(prompt=(1,), completion=(2,), text=text, stop="eos") for text in texts]
    return reward(task, [Trajectory(turns=(turn,), stop="eos") for turn in turns])


def marks(scores: list[Score]) -> list[float | None]:
    """1 right, 0 wrong, None no answer."""
    assert all(score.status == "ok" for score in scores), scores
    return [score.value if score.parts["parsed"] else None for score in scores]


def test_the_whole_answer_matches(pool: Pool) -> None:
    date = matches(r"\d{4}-\d{2}-\d{2}", pool=pool)
    texts = ["2024-02-30", "<answer>2024-02-30</answer>", "on 2024-02-30", "2024-02-30 or so", "<think>2024-02-30"]
    assert marks(grade(date, None, *texts)) == [1, 1, 0, 0, None]
    assert marks(grade(matches(pool=pool), "(?i)yes!*", "YES!!", "no")) == [1, 0]
    assert grade(matches(pool=pool), "(", "x")[0].status == "unparseable"
    assert grade(matches(pool=pool), None, "x")[0].status == "unparseable"
    with pytest.raises(ValueError, match="no regular expression"):
        matches("(")


def test_a_text_that_makes_a_pattern_backtrack_for_ever_is_its_own_fault() -> None:
    with Pool(workers=1, seconds=0.5) as pool:
        scores = grade(matches("(a+)+b", pool=pool), None, "a" * 60, "aab")
    assert [(score.value, score.own_fault) for score in scores] == [(0, "time"), (1, None)]


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": 1} {"a": 2}', 'so {"a": 1}', '{"a": 1, "a": 2}', "NaN", "[" * 100_000, "{'a': 1}", "9" * 5000],
)
def test_doubtful_json_is_none(text: str) -> None:
    assert parse_json(text) == (None, False)


def test_json_may_stand_in_a_fence() -> None:
    assert parse_json('```json\n{"a": [1]}\n```') == parse_json(' {"a": [1]} ') == ({"a": [1]}, True)


PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}


def test_a_schema_stands_in_a_file_or_in_the_row(pool: Pool, tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    (tmp_path / "person.json").write_text(json.dumps(PERSON))
    texts = [
        '{"age": 7}',
        '```\n{"age": 7}\n```',
        '{"age": "7"}',
        '{"age": 7, "x": 1}',
        "age: 7",
        '{"age": 7} {"age": 7}',
    ]
    wanted = [1, 1, 0, 0, None, None]
    assert marks(grade(json_schema("person.json", base=tmp_path, pool=pool), None, *texts)) == wanted
    assert marks(grade(json_schema(pool=pool), None, *texts, schema=PERSON)) == wanted
    assert grade(json_schema(pool=pool), None, "{}", schema={"type": "nonsense"})[0].status == "unparseable"
    assert grade(json_schema(pool=pool), None, "{}")[0].status == "unparseable"
    with pytest.raises(ValueError, match="cannot be read"):
        json_schema("missing.json", base=tmp_path)
    assert json_schema().leaves[0].right(Task(id="a", prompt=(), answer={"age": 7})) == '{"age": 7}'  # type: ignore[attr-defined]


def test_a_schema_opens_no_address(pool: Pool) -> None:
    pytest.importorskip("jsonschema")
    (score,) = grade(json_schema(pool=pool), None, "{}", schema={"$ref": "http://localhost:9/schema.json"})
    assert score.status == "error"
    assert "localhost:9" in score.note


GOLD = {"name": "Ada", "age": 36, "tags": [1, 2], "home": {"city": "London"}}


def test_every_field_has_its_verifier(pool: Pool) -> None:
    checks = (
        field("name", exact(pool=pool), pool=pool),
        field("age", number(pool=pool), pool=pool),
        field("tags", set_of(pool=pool, name="set"), pool=pool),
        field("home", field("city", exact(pool=pool), pool=pool), pool=pool),
    )
    right = json.dumps({**GOLD, "name": "ada", "age": "36", "tags": "2, 1"})
    half = '{"name": "Ada", "age": 37, "tags": "1, 2"}'
    scores = grade(fields(*checks), GOLD, right, half, "Ada, 36", f"{half} or {right}")
    assert marks(scores) == [1, None, None, None]
    assert [score.value for score in scores] == [1, 0, 0, 0]
    assert dict(scores[1].parts) == {
        "field/name": 1, "field/age": 0, "field/tags": 1, "field/home": 0, "fields": 0, "correct": 0, "parsed": 0,
    }  # fmt: skip
    partial = grade(fields(*checks, partial=True), GOLD, right, half, "")
    assert [score.value for score in partial] == [1, 0.5, 0]
    assert [score.parts["correct"] for score in partial] == [1, 0, 0]
    assert grade(checks[0], {"age": 1}, right)[0].status == "unparseable"
    assert grade(checks[1], {"age": "old"}, right)[0].status == "unparseable"
    with pytest.raises(ValueError, match="once for each field"):
        fields(checks[0], checks[0])


def test_fields_are_written_in_a_recipe(pool: Pool) -> None:
    reward = parse_reward('fields(field("name", exact()), field("age", number()), partial=true)', Path(), pool)
    assert [score.value for score in grade(reward, GOLD, '{"name": "Ada", "age": 1}')] == [0.5]
    with pytest.raises(ValueError, match="checks"):
        parse_reward("fields(exact())", Path(), pool)
