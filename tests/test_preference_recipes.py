"""The task of the preference recipes: its truth cannot be cheated, and its annotator errs as often as it says."""

from __future__ import annotations

import math
import random
import sys
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_text import byte_level
from transformers import LlamaConfig, LlamaForCausalLM

from togi.askers.asker import AskerWarning, Reply, Request
from togi.recipe import load_recipe
from togi.rewards.judge import judge
from togi.rewards.judge.grade import OpenGrade
from togi.rewards.judge.judge_prompts import RUBRIC
from togi.run import Run, Silent
from togi.train import train
from togi.types import Message, Task, Trajectory, Turn

RECIPES = Path(__file__).parent.parent / "recipes"


def load(name: str) -> ModuleType:
    """A file of the recipes, which may import its neighbours."""
    sys.path.insert(0, str(RECIPES))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(RECIPES))


task = load("preferences")


def rows(count: int = 400) -> list[dict[str, Any]]:
    rng = random.Random(3)
    return [task.question(rng) for _ in range(count)]


def worth(row: dict[str, Any], answer: str) -> float:
    parts: dict[str, float] = task.parts(row["prompt"], row["answer"], row["topic"], answer)
    return math.prod(parts.values())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_there_are_many_different_requests_about_many_things() -> None:
    assert len({row["prompt"] for row in rows(3000)}) > 2000
    assert len(task.TOPICS) >= 60
    assert len({topic["topic"] for topic in task.TOPICS}) == len(task.TOPICS)


def test_what_people_wrote_is_worth_everything() -> None:
    wrong = [(row["prompt"], text) for row in rows(1000) if worth(row, text := task.demonstration(row)) < 1]
    assert wrong == []


@pytest.mark.parametrize(
    ("answer", "most"),
    [
        ("", 0.0),
        (" \n", 0.0),
        ("...", 0.0),
        ("I am sorry, but I cannot help you with that.", 0.0),
        ("Rain is water that falls from clouds in small drops.", 0.02),
        ("- Rain is water that falls from clouds.\n- Most plants need rain to grow.", 0.02),
        ("Why does it rain?", 0.02),
    ],
)
def test_an_answer_that_is_always_the_same_earns_next_to_nothing(answer: str, most: float) -> None:
    assert mean([worth(row, answer) for row in rows()]) <= most


def test_the_request_and_another_things_answer_earn_next_to_nothing() -> None:
    given = rows()
    assert mean([worth(row, row["prompt"]) for row in given]) == 0
    others = [task.demonstration(other) for other in given[1:]]
    assert mean([worth(row, answer) for row, answer in zip(given[1:], others[::-1], strict=True)]) < 0.05


def test_a_name_repeated_and_a_heap_of_words_earn_nothing() -> None:
    heap = "red blue green stone iron glass."
    for row in rows():
        assert worth(row, " ".join([row["topic"]] * 6) + ".") == 0
        assert worth(row, f"{row['topic'].split()[-1]} {heap}") == 0


SENTENCE = {"form": "sentence", "count": 1, "most": 12}
LIST = {"form": "list", "count": 2, "most": 16}


@pytest.mark.parametrize(
    ("asked", "answer", "part", "value"),
    [
        (SENTENCE, "Tea is a drink that many people like.", "form", 1.0),
        (SENTENCE, "Tea is a drink. Many people like it.", "form", 0.5),
        (SENTENCE, "Tea is a drink that many people", "form", 0.5),
        (SENTENCE, "- Tea is a drink that many people like.", "form", 0.0),
        (SENTENCE, "Tea is a drink that many people like, and it is made from the leaves of", "length", 2 - 16 / 12),
        (SENTENCE, "Tea is nice.", "length", 0.5),
        (SENTENCE, "It is a drink.", "topic", 0.0),
        (SENTENCE, "Teak is a kind of wood.", "topic", 0.0),
        (LIST, "- Tea is a drink.\n- It is hot.", "form", 1.0),
        (LIST, "Here you are:\n- Tea is a drink.\n- It is hot.", "form", 2 / 3),
        (LIST, "- Tea is a drink.\n- It is hot.\n- It is old.\n- It is good.", "form", 0.5),
        (LIST, "1. Tea is a drink.\n2. It is hot.", "form", 0.5),
        (LIST, "Tea is a drink. It is hot.", "form", 0.0),
        ({"form": "question", "count": 1, "most": 12}, "How hot is tea?", "form", 1.0),
        ({"form": "question", "count": 1, "most": 12}, "How hot is tea? And who drinks it?", "form", 0.5),
        ({"form": "question", "count": 1, "most": 12}, "Tea is hot.", "form", 0.0),
        ({"form": "words", "count": 1, "most": 12}, "Tea is a drink. It is hot.", "form", 1.0),
    ],
)
def test_parts_by_hand(asked: dict[str, Any], answer: str, part: str, value: float) -> None:
    assert task.parts("Say it.", asked, "tea", answer)[part] == pytest.approx(value)


def judged(row: dict[str, Any], answers: list[str]) -> list[float]:
    chat = [[{"role": "assistant", "content": answer}] for answer in answers]
    prompt = [{"role": "user", "content": row["prompt"]}]
    count = len(answers)
    won: list[float] = task.annotator([prompt] * count, chat, [row["answer"]] * count, [row["topic"]] * count)
    return won


def test_the_annotator_errs_as_often_as_it_says() -> None:
    given = rows(2000)
    right = [judged(row, [task.demonstration(row), "No."]) for row in given]
    assert {tuple(each) for each in right} == {(1.0, 0.0), (0.0, 1.0)}
    wrong = mean([float(each == [0.0, 1.0]) for each in right])
    assert abs(wrong - task.NOISE) < 4 * math.sqrt(task.NOISE * (1 - task.NOISE) / len(given))


def test_a_tie_is_a_fair_coin_and_twins_share() -> None:
    ties = [judged(row, ["No.", "Never."])[0] for row in rows(1000)]
    assert abs(mean(ties) - 0.5) < 0.06
    assert judged(rows(1)[0], ["No.", "No."]) == [0.5, 0.5]


def test_the_annotator_judges_the_same_pair_alike_whatever_the_order() -> None:
    for row in rows(200):
        answers = [task.demonstration(row), "No.", f"{row['topic']} is a thing that everybody knows."]
        there, back = judged(row, answers), judged(row, answers[::-1])
        assert there == back[::-1]
        assert sum(there) == pytest.approx(len(answers) / 2)


def test_nobody_is_judged_alone() -> None:
    assert judged(rows(1)[0], ["An answer."]) == [None]


def build(name: str, *overrides: str) -> Run:
    return load_recipe(RECIPES / f"{name}.toml", list(overrides)).run


@pytest.mark.parametrize("name", ["instructgpt", "dpo", "rlaif", "constitution"])
def test_a_recipe_builds_and_nobody_but_gold_and_the_evaluation_reads_the_truth(name: str) -> None:
    run = build(name, "data.train.size=40", "data.test.size=10")
    assert run.evaluation is not None
    assert "preferences.py:gold" in repr(run.evaluation.reward)
    for stage in run.stages:
        assert "gold" not in repr(stage.reward)
    assert not {task.prompt for task in run.stages[-1].tasks} & {task.prompt for task in run.evaluation.tasks}


def test_violations_are_counted_and_weigh_nothing() -> None:
    run = build("constitution", "data.train.size=40", "data.test.size=4")
    assert run.evaluation is not None
    asked = run.evaluation.tasks[0]
    turn = Turn(prompt=(), completion=(5,), text=asked.info["topic"], stop="eos")
    [score] = run.evaluation.reward(asked, [Trajectory(turns=(turn,), stop="done")])
    assert score.parts["wrong_form"] == score.parts["wrong_length"] == 1
    assert score.parts["repetitive"] == 0
    assert score.value == score.parts["gold"] == 0


def compared(name: str, count: int) -> list[dict[str, str]]:
    rng, make = random.Random(1), getattr(load("examinations"), name)
    return [make(rng) for _ in range(count)]


@pytest.mark.parametrize("name", ["examination", "examination_by_a_principle"])
def test_written_examinations_favour_no_verdict(name: str) -> None:
    won = [float(row["completion"] == "Yes") for row in compared(name, 1500)]
    assert {row["completion"] for row in compared(name, 50)} == {"Yes", "No"}
    assert abs(mean(won) - 0.5) < 0.05


def test_a_judge_learns_from_the_very_prompt_it_is_asked_with() -> None:
    examiner = judge(model="judge", yes_no=True, template="examination.txt", base=RECIPES)
    asked = Task(id="t", prompt=(Message(role="user", content="Describe tea in at most 12 words."),))
    answers = ["Tea is a drink made from leaves.", "No."]
    turns = [Turn(prompt=(), completion=(5,), text=answer, stop="eos") for answer in answers]
    seen = Recorder()
    opened = OpenGrade(examiner, seen, examiner.criteria(examiner.rubric), load("examinations").TEMPLATE)
    opened(asked, [Trajectory(turns=(turn,), stop="done") for turn in turns])
    shown = load("examinations").shown
    assert seen.prompts == [shown(asked.prompt[0].content, answer, RUBRIC) for answer in answers]


class Recorder:
    """Keeps what it is asked, and finds all of it good."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        self.prompts += [question.messages[-1].content for question in questions]
        return [Reply(text="Yes") for _ in questions]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["instructgpt", "dpo", "rlaif", "constitution"])
def test_a_recipe_runs_from_end_to_end(name: str, tmp_path: Path) -> None:
    source = small_model(tmp_path / "model")
    overrides = [f"model.source={source}", "model.dtype=float32", "data.train.size=24", "data.test.size=4"]
    overrides.append(f"sampling.max_tokens={120 if name == 'constitution' else 24}")
    with (RECIPES / f"{name}.toml").open("rb") as file:
        for number, stage in enumerate(tomllib.load(file)["stage"]):
            held_out, made = "held_out" in stage, "size" in stage.get("data", {})
            overrides += [f"stage.{number}.{key}" for key in ("steps=2", "warmup_steps=0")]
            overrides.append(f"stage.{number}.tasks_per_step={12 if held_out else 8}")
            overrides += [f"stage.{number}.data.size=16"] * made + [f"stage.{number}.held_out=0.3"] * held_out
    run = replace(build(name, *overrides), folder=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AskerWarning)  # a random model was never going to answer "Yes" or "No"
        train(run, Silent())
    for stage in run.stages:
        if stage.algorithm.trains == "policy" and stage.measured:
            assert (run.folder / "evaluations" / f"{stage.name}.json").exists()


def small_model(path: Path) -> Path:
    """A random model with room for a judge's question."""
    tokenizer = byte_level()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
