"""[[repeat]]: rounds are ordinary stages, whose names, starts and rollouts are those of their round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from togi.recipe import RecipeError
from togi.recipe.read_toml import Reading, read_text

HEAD = """
name = "rounds"
model.source = "smollm2-135m"
data.train = { file = "tasks.jsonl" }
reward.score = "number()"
"""
ROUNDS = """
[[stage]]
name = "answers"
algorithm = "star"
steps = 10

[[stage]]
name = "learn"
algorithm = "sft"
start = "base"
steps = 10
learning_rate = 1e-5
data = { rollouts = "answers", at_least = 1 }
"""
LAST = """
[[stage]]
name = "verifier"
algorithm = "v_star"
start = "learn"
steps = 2
learning_rate = 1e-6
data = { rollouts = "answers", together = true }
"""
TWICE = '[[repeat]]\nstages = ["answers", "learn"]\ntimes = 2\n'


def read(text: str, *overrides: str, name: str = "rounds.toml") -> Reading:
    return read_text(HEAD + text, name=name, base=Path(__file__).parent, overrides=overrides)


def told(reading: Reading) -> list[tuple[Any, ...]]:
    return [
        (stage.name, stage.start, stage.data.rollouts if stage.data else None, stage.steps)
        for stage in reading.recipe.stage
    ]


def test_rounds_are_stages_of_their_own_and_what_follows_means_them_all() -> None:
    assert told(read(ROUNDS + LAST + TWICE)) == [
        ("answers_1", None, None, 10),
        ("learn_1", "base", ("answers_1",), 10),
        ("answers_2", None, None, 10),
        ("learn_2", "base", ("answers_2",), 10),
        ("verifier", "learn_2", ("answers_1", "answers_2"), 2),
    ]
    assert read(ROUNDS + TWICE).recipe.repeat is None


STARTS = [  # of a stage of the group -> what it means in rounds 1 and 2
    ("answers", "learn", (None, "learn_1")),  # stands after it: the round before, if there was one
    ("answers", "answers", (None, "answers_1")),
    ("learn", "answers", ("answers_1", "answers_2")),
    ("learn", "learn", (None, "learn_1")),
    ("learn", "base", ("base", "base")),
]


@pytest.mark.parametrize(("stage", "start", "meant"), STARTS)
def test_a_stage_of_a_round_means_those_before_it_in_the_same_round(
    stage: str, start: str, meant: tuple[str | None, ...]
) -> None:
    reading = read(ROUNDS + TWICE, f"stage.{stage}.start={start}")
    assert tuple(each.start for each in reading.recipe.stage if (each.name or "").startswith(stage)) == meant


def test_earlier_rounds_are_learned_from_as_well_where_that_is_wanted() -> None:
    reading = read(ROUNDS + TWICE.replace("2", "3"), "stage.learn.data.earlier_rounds=true")
    learned = [row[2] for row in told(reading)[1::2]]
    assert learned == [("answers_1",), ("answers_1", "answers_2"), ("answers_1", "answers_2", "answers_3")]


def test_steps_grow_from_round_to_round() -> None:
    reading = read(ROUNDS + TWICE.replace("2", "4") + "growth = { learn = 1.2 }")
    assert [row[3] for row in told(reading)] == [10, 10, 10, 12, 10, 14, 10, 17]


def test_a_key_of_a_round_is_told_where_it_was_written() -> None:
    reading = read(ROUNDS + TWICE, "stage.learn.steps=7")
    line = (HEAD + ROUNDS).split("\n").index('start = "base"') + 1
    for number in (1, 3):
        assert reading.origin(("stage", number, "start")) == f"rounds.toml:{line}"
        assert reading.origin(("stage", number, "steps")) == "command line"
    assert [row[3] for row in told(reading)] == [10, 7, 10, 7]


def test_one_stage_alone_can_be_repeated() -> None:
    one = '[[stage]]\nalgorithm = "grpo"\nsteps = 3\nlearning_rate = 1e-6\n[[repeat]]\nstages = "grpo"\ntimes = 2'
    assert [row[0] for row in told(read(one))] == ["grpo_1", "grpo_2"]


FAULTS = [
    ('stages = ["answer", "learn"]\ntimes = 2', "repeat.0.stages", "did you mean 'answers'?"),
    ('stages = ["learn", "answers"]\ntimes = 2', "repeat.0.stages", "in their order: answers, learn"),
    ('stages = ["answers", "verifier"]\ntimes = 2', "repeat.0.stages", "in their order: answers, learn, verifier"),
    ('stages = ["learn", "learn"]\ntimes = 2', "repeat.0.stages", "in their order: learn"),
    ('stages = ["answers", "learn"]\ntimes = 0', "repeat.0.times", "at least 1"),
    ('stages = ["answers", "learn"]\ntimes = 60', "repeat", "121 stages"),
    ('stages = ["learn"]\ntimes = 2\ngrowth = { answers = 2 }', "repeat.0.growth", "no stage of this group"),
    ('stages = ["learn"]\ntimes = 2\n[[repeat]]\nstages = ["learn"]\ntimes = 2', "repeat.1.stages", "two groups"),
    ("stages = []\ntimes = 2", "repeat.0.stages", "at least one"),
    ('stages = ["learn"]', "repeat.0.times", "is needed"),
    ('stages = ["learn"]\ntimes = 2\nround = 1', "repeat.0.round", "unknown key"),
]


@pytest.mark.parametrize(("table", "key", "said"), FAULTS)
def test_a_group_that_cannot_be_is_refused_at_its_line(table: str, key: str, said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        read(f"{ROUNDS}{LAST}\n[[repeat]]\n{table}")
    [problem] = refused.value.problems
    assert problem.startswith("rounds.toml:")
    assert f" {key}: " in problem
    assert said in problem
