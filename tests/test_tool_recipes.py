"""The tasks of the calculator and the search recipe: each answer is what the tool gives, and nothing else tells it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from test_preference_recipes import load

from togi.models.load_model import load_model
from togi.recipe import load_recipe
from togi.sandbox.workers.pool import Pool
from togi.tokenization import Chat
from togi.tools.calculator import calculator
from togi.tools.function_tool import describe
from togi.tools.named_tools import open_tools
from togi.tools.read_calls import read_calls
from togi.tools.search import Search, search
from togi.tools.tool import Kept
from togi.types import Message, ToolCall

RECIPES = Path(__file__).parent.parent / "recipes"
sums, facts, noise = load("calculator"), load("search"), load("noise")


def rows(make: Any, count: int = 200) -> list[dict[str, Any]]:
    rng = random.Random(3)
    return [make(rng) for _ in range(count)]


def calls(row: dict[str, Any]) -> list[tuple[dict[str, str], str]]:
    """The arguments of a row's calls, and what stands as their results."""
    messages = row["messages"]
    return [
        (json.loads(message["tool_calls"][0]["function"]["arguments"]), messages[number + 1]["content"])
        for number, message in enumerate(messages)
        if message.get("tool_calls")
    ]


def test_the_calculator_gives_the_answer_of_every_sum() -> None:
    for row in rows(sums.called_problem):
        ((arguments, given),) = calls(row)
        assert calculator(**arguments) == given == row["answer"] == row["messages"][-1]["content"]
        assert not re.search(rf"\b{row['answer']}\b", row["messages"][0]["content"])


@pytest.mark.parametrize(
    ("some", "every"), [(sums.problem, sums.called_problem), (facts.problem, facts.searched_problem)]
)
def test_half_of_the_recorded_conversations_call_and_the_others_ask_the_same(some: Any, every: Any) -> None:
    pairs = list(zip(rows(some), rows(every), strict=True))
    assert all(one["messages"][0] == other["messages"][0] and one["answer"] == other["answer"] for one, other in pairs)
    assert all(one == other or not calls(one) for one, other in pairs)
    assert 0.4 < sum(bool(calls(one)) for one, _ in pairs) / len(pairs) < 0.6
    assert all(calls(other) for _, other in pairs)


def test_the_texts_that_are_searched_are_those_of_the_task() -> None:
    assert facts.CORPUS.read_text() == "".join(json.dumps(text) + "\n" for text in facts.corpus())


def test_the_search_gives_the_answer_of_every_question() -> None:
    with Pool(workers=1, seconds=10) as pool:
        (tool,) = open_tools([{"use": "search", "corpus": "invented.jsonl", "results": 1}], RECIPES, pool)
    assert isinstance(tool, Search)
    for fact in (*facts.facts(held_out=False), *facts.facts(held_out=True)):
        *_, last = [tool.call({"query": query}, Kept()).text for query in fact.searches]
        assert re.search(rf"\b{fact.answer}\b", last)
        assert fact.answer not in fact.question
        assert [given for _, given in calls(facts.row(fact, search=True))][-1] == last


ANSWERED = [  # a query, and the beginning of what it gives: the words of it that are rare say which text fits
    ("Where does Sven Norak live?", "1. Sven Norak: "),
    ("SVEN norak", "1. Sven Norak: "),
    ('"Sven" AND (Norak OR', "1. Sven Norak: "),
    ("title:Sven NEAR Norak*", "1. Sven Norak: "),
    ("Norak; DROP TABLE texts", "1. "),
    ("the river", "1. "),
    ("and in a", "1. "),
    ("what is", "nothing was found"),
    ("Sve*", "nothing was found"),
    ("''--", "the query has no word to look for"),
    ("", "the query has no word to look for"),
    ("\ud800", "the query has no word to look for"),
    ("日本", "nothing was found"),
    ("the " * 5000, "1. "),
]


@pytest.mark.parametrize(("query", "begins"), ANSWERED, ids=range(len(ANSWERED)))
def test_every_query_is_answered(query: str, begins: str) -> None:
    assert search(facts.CORPUS, 1).call({"query": query}, Kept()).text.startswith(begins)


def test_what_tests_ask_about_is_not_asked_about_in_training() -> None:
    asked = [{fact.searches[0] for fact in facts.facts(held_out=held_out)} for held_out in (False, True)]
    assert not asked[0] & asked[1]
    assert [len(names) for names in asked] == [512, 128]


def test_noise_is_told_as_the_tool_is_and_says_nothing_of_the_question() -> None:
    with Pool(workers=1, seconds=10) as pool:
        real = open_tools(["calculator", {"use": "search", "corpus": "invented.jsonl"}], RECIPES, pool)
        false = open_tools(["noise.py:calculator", "noise.py:search"], RECIPES, pool)
        assert false[0].call({"expression": "2 * 3"}, Kept()).text == noise.calculator("2 * 3")
    assert false[0].description == real[0].description
    assert false[1].description.name == real[1].description.name
    assert describe(noise.search, "search").parameters["required"] == ["query"]
    right = [
        noise.calculator(arguments["expression"]) == given
        for row in rows(sums.called_problem)
        for arguments, given in calls(row)
    ]
    assert sum(right) == 0
    found = [
        noise.search(arguments["query"]) == given
        for row in rows(facts.searched_problem)
        for arguments, given in calls(row)
    ]
    assert sum(found) / len(found) < 0.02


def test_the_calling_model_reads_words_and_single_characters() -> None:
    loaded = load_model(str(RECIPES / "calling_model.py:caller"))
    text = 'Where does Mira Norak live? Zanzibar {"a": 1}\n<tool_call>'
    ids = loaded.tokenizer.encode(text)
    assert loaded.tokenizer.decode(ids) == text
    assert len(ids) == 11 + len('Zanzibar {"a": 1}\n<tool_call>')


@pytest.mark.parametrize(
    ("name", "key", "value"), [("calculator", "expression", "(1 + 2) * 3"), ("search", "query", "Mira Norak")]
)
def test_a_call_of_the_calling_model_is_read_and_the_tool_is_shown(name: str, key: str, value: str) -> None:
    run = load_recipe(
        RECIPES / f"{name}.toml", ["env.settings.form=template", "data.train.size=8", "data.test.size=8"]
    ).run
    task = run.stages[1].tasks[0]
    loaded = load_model(str(RECIPES / "calling_model.py:caller"))
    chat = Chat(loaded.tokenizer, loaded.eos_ids).of(task)
    assert chat.show(chat.prompt(task.prompt)) == f"<asked>{name}<asked>{task.prompt[-1].content}<said>"
    said = Message(role="assistant", content="", tool_calls=(ToolCall(name=name, arguments=json.dumps({key: value})),))
    given = Message(role="tool", content="9", name=name)
    first, last = chat.recorded(task.prompt, (said, given, Message(role="assistant", content="9")))
    (call,) = read_calls(first.text, []).calls
    assert (call.name, call.arguments) == (name, {key: value})
    assert chat.show(last.prompt).endswith("<end><given>9<said>")
    assert chat.show(last.completion) == "9<end>"
