"""Preferences out of files: pairs, scores, soft labels, thumbs, rankings, transcripts; what is refused or skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from togi.data import DataError, Generated, Prompting, Rows, Tasks, load_tasks
from togi.data.transcripts import is_transcript, read_question, read_transcript
from togi.types import Message

Load = Callable[..., Tasks]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(*rows: Any, prompting: Prompting | None = None) -> Tasks:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load_tasks(Rows(path=path), prompting, split="train")

    return load


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


# What answers are worth -----------------------------------------------------------------------------------------------

PAIR = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go"}


@pytest.mark.parametrize(
    ("columns", "worth"),
    [
        ({}, (1, 0)),
        ({"score_chosen": 8.5, "score_rejected": 7}, (8.5, 7)),
        ({"score_chosen": -1, "score_rejected": -2.5}, (-1, -2.5)),
        ({"margin": 3}, (3, 0)),
        ({"chosen_probability": 0.7}, (0.7, 1 - 0.7)),
        ({"chosen_probability": 0.2}, (0.2, 0.8)),
        ({"chosen_probability": 1}, (1, 0)),
        ({"chosen_probability": 0.5}, (0.5, 0.5)),
        ({"margin": None}, (1, 0)),
    ],
)
def test_a_pair_and_its_worth(load: Load, columns: dict[str, Any], worth: tuple[float, float]) -> None:
    (task,) = load({**PAIR, **columns, "source": "x"})
    assert task.prompt == (user("Hi"),)
    assert task.recorded == ((assistant("Hello"),), (assistant("Go"),))
    assert task.worth == worth
    assert task.info == {"source": "x"}


def test_thumbs_up_and_down(load: Load) -> None:
    good, bad = load(
        {"prompt": "a", "completion": "yes", "label": True, "source": 1},
        {"prompt": "a", "completion": "no", "label": False, "source": 2},
    )
    assert (good.worth, bad.worth) == ((1.0,), (0.0,))
    assert good.info == {"source": 1}
    chats = [{"prompt": chat("a"), "completion": chat("a", text)[1:], "label": text == "yes"} for text in ("yes", "no")]
    assert [(task.recorded, task.worth) for task in load(*chats)] == [
        (((assistant("yes"),),), (1.0,)),
        (((assistant("no"),),), (0.0,)),
    ]


def test_a_label_that_is_no_thumb_is_a_column_like_others(load: Load) -> None:
    (task,) = load({"prompt": "a", "completion": "b", "label": 3})
    assert (task.worth, task.info) == ((), {"label": 3})


@pytest.mark.parametrize(
    ("columns", "worth"),
    [
        ({"ranks": [2, 1, 3]}, (1, 2, 0)),
        ({"ranks": [1, 1, 2]}, (1, 1, 0)),
        ({"ranks": [10, 30, 20]}, (2, 0, 1)),
        ({"scores": [0.5, -1, 7]}, (0.5, -1, 7)),
    ],
)
def test_rankings(load: Load, columns: dict[str, Any], worth: tuple[float, ...]) -> None:
    (task,) = load({"prompt": "Hi", "completions": ["a", "b", "c"], **columns})
    assert [answer[0].content for answer in task.recorded] == ["a", "b", "c"]
    assert task.worth == worth
    assert task.info == {}
    (in_chat,) = load({"prompt": chat("Hi"), "completions": [chat("Hi", text) for text in "abc"], **columns})
    assert (in_chat.prompt, in_chat.recorded, in_chat.worth) == (task.prompt, task.recorded, task.worth)


def test_a_written_demonstration_is_worth_nothing_by_itself(load: Load, tmp_path: Path) -> None:
    (tmp_path / "show.py").write_text("def show(row):\n    return 'shown'\n")
    (task,) = load({**PAIR, "margin": 2}, prompting=Prompting(demonstrate=f"{tmp_path}/show.py:show"))
    assert (task.recorded, task.worth) == (((assistant("shown"),),), ())


# The prompt that is not written out -----------------------------------------------------------------------------------


def test_conversations_that_part_at_an_answer_may_go_on(load: Load) -> None:
    (task,) = load({"chosen": chat("Hi", "Hello", "Bye", "See you"), "rejected": chat("Hi", "Go", "Why?", "No")})
    assert task.prompt == (user("Hi"),)
    assert task.recorded[0] == (assistant("Hello"), user("Bye"), assistant("See you"))


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "answers"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is", (" blue.", " green.")),
        ("The sky is black.", "The sky is blue.", "The sky is", (" black.", " blue.")),
        ("Q: 2+2?\nA: 4", "Q: 2+2?\nA: 5", "Q: 2+2?\nA:", (" 4", " 5")),
        ("Once\n\nA", "Once\n\nB", "Once\n\n", ("A", "B")),
        ("The sky", "The sky is", "The", (" sky", " sky is")),
        ("one two\nx", "one two y", "one two", ("\nx", " y")),
    ],
)
def test_raw_text_is_asked_up_to_the_first_word_that_differs(
    load: Load, chosen: str, rejected: str, prompt: str, answers: tuple[str, str]
) -> None:
    (task,) = load({"chosen": chosen, "rejected": rejected}, prompting=Prompting(format="text"))
    assert task.prompt == (Message(role="text", content=prompt),)
    assert tuple(answer[0].content for answer in task.recorded) == answers
    assert task.prompt[0].content + answers[0] == chosen


# Transcripts ----------------------------------------------------------------------------------------------------------


def transcript(*turns: str) -> str:
    return "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {turn}" for i, turn in enumerate(turns))


def test_a_pair_of_transcripts(load: Load) -> None:
    (task,) = load(
        {
            "chosen": transcript("Hi", "Hello", "What is 2+2?", "Four.\n\nReally."),
            "rejected": transcript("Hi", "Hello", "What is 2+2?", "Five") + "\n",
        }
    )
    assert task.prompt == (user("Hi"), assistant("Hello"), user("What is 2+2?"))
    assert task.recorded == ((assistant("Four.\n\nReally."),), (assistant("Five"),))
    assert task.worth == (1, 0)


def test_a_prompt_may_be_the_beginning_of_a_transcript(load: Load) -> None:
    row = {"prompt": transcript("Hi", ""), "chosen": " Hello", "rejected": " Go"}
    (task,) = load(row)
    assert task.prompt == (user("Hi"),)
    assert task.recorded == ((assistant(" Hello"),), (assistant(" Go"),))
    (raw,) = load(row, prompting=Prompting(format="text"))
    assert raw.prompt == (Message(role="text", content=row["prompt"]),)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("\n\nHuman: a\n\nAssistant: b", (user("a"), assistant("b"))),
        ("Human: a\n\nAssistant: b\n", (user("a"), assistant("b"))),
        ("\r\n\r\nHuman: a\r\n\r\nAssistant: b", (user("a"), assistant("b"))),
        ("\n\nHuman: \n\nAssistant:\n\nHuman: c\n\nAssistant: d", (user(""), assistant(""), user("c"), assistant("d"))),
        (
            "\n\nHuman: Why does Human: stand here?\nAssistant: too\n\nAssistant: b",
            (user("Why does Human: stand here?\nAssistant: too"), assistant("b")),
        ),
        ("\n\nHuman: a\n\nHuman: more\n\nAssistant: b", (user("a\n\nHuman: more"), assistant("b"))),
        ("\n\n\nHuman:a\n\n\nAssistant:b", (user("a"), assistant("b"))),
    ],
)
def test_transcripts_to_messages(text: str, messages: tuple[Message, ...]) -> None:
    assert is_transcript(text)
    assert read_transcript(text) == messages


@pytest.mark.parametrize(
    "text", ["", "Human", "Human: alone", "Assistant: a\n\nHuman: b", "So Human: a\n\nAssistant: b"]
)
def test_other_text_is_no_transcript(text: str) -> None:
    assert not is_transcript(text)
    assert read_question(text) is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=6), st.text(max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_turns_are_read_in_turn(turns: list[str], noise: str) -> None:
    text = transcript(*turns)
    messages = read_transcript(text)
    assert [message.role for message in messages] == [("user", "assistant")[i % 2] for i in range(len(messages))]
    if not any("Human:" in turn or "Assistant:" in turn for turn in turns):
        assert [message.content for message in messages] == [turn.strip() for turn in turns]
    if is_transcript(noise):
        read_transcript(noise)


# What says nothing is skipped and counted -----------------------------------------------------------------------------


def test_rows_that_compare_nothing_are_counted_by_reason(load: Load) -> None:
    tasks = load(
        PAIR,
        {"prompt": "Hi", "chosen": "same", "rejected": "same"},
        {"prompt": "Ho", "chosen": "same", "rejected": "same"},
    )
    assert [task.id for task in tasks] == ["train:1"]
    assert tasks.skipped == {"chosen and rejected are the same": 2}
    assert tasks.notes() == ["2 rows were left out: chosen and rejected are the same"]
    assert tasks[:1].skipped == tasks.skipped


@pytest.mark.parametrize(
    ("good", "empty", "reason"),
    [
        (PAIR, {**PAIR, "rejected": "Hello"}, "chosen and rejected are the same"),
        ({**PAIR, "margin": 1}, {**PAIR, "margin": 0}, "worth the same"),
        (
            {**PAIR, "score_chosen": 2, "score_rejected": 1},
            {**PAIR, "score_chosen": 2, "score_rejected": 2},
            "worth the same",
        ),
        (
            {"prompt": "a", "completions": ["x", "y"], "ranks": [1, 2]},
            {"prompt": "a", "completions": ["x"], "ranks": [1]},
            "single answer",
        ),
        (
            {"prompt": "a", "completions": ["x", "y"], "scores": [1, 2]},
            {"prompt": "a", "completions": ["x", "y"], "scores": [1, 1]},
            "worth the same",
        ),
        (
            {"prompt": "a", "completions": ["x", "y"], "scores": [1, 2]},
            {"prompt": "a", "completions": ["x", "x"], "scores": [1, 2]},
            "same answer twice",
        ),
    ],
)
def test_skips(load: Load, good: dict[str, Any], empty: dict[str, Any], reason: str) -> None:
    tasks = load(good, empty)
    assert len(tasks) == 1
    ((why, count),) = tasks.skipped.items()
    assert reason in why
    assert count == 1
    with pytest.raises(DataError, match=f"has no tasks: 2 rows were left out: .*{reason}"):
        load(empty, empty)


def test_generated_ties_are_drawn_again(tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text(
        "def pair(rng):\n"
        "    a, b = rng.randint(0, 3), rng.randint(0, 3)\n"
        "    return {'prompt': str(rng.random()), 'chosen': f'{a}', 'rejected': f'{b}'}\n"
    )
    tasks = load_tasks(Generated(function=f"{tmp_path}/make.py:pair", size=40, seed=1), split="train")
    assert len(tasks) == 40
    assert tasks.skipped["chosen and rejected are the same"] > 0


# What is wrong is refused, with its place -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAIR, "rejected": " "}, r'recorded answer is empty \(column "rejected"\)'),
        ({**PAIR, "chosen": ""}, r'recorded answer is empty \(column "chosen"\)'),
        ({"prompt": "a", "completions": ["x", ""], "ranks": [1, 2]}, r'empty \(column "completions"\)'),
        ({"chosen": transcript("Hi", "a"), "rejected": transcript("Hi", "")}, r'empty \(column "rejected"\)'),
        ({"chosen": transcript("Hi", "a"), "rejected": transcript("Ho", "b")}, "begin differently"),
        ({"chosen": transcript("Hi", "a"), "rejected": transcript("Hi", "a", "b")}, "last message of .rejected."),
        ({"chosen": transcript("Hi", "a", "b"), "rejected": transcript("Hi", "c", "d")}, "last message of .chosen."),
        ({"chosen": "The sky is blue", "rejected": "The sky is red"}, 'format "text"'),
        ({"chosen": chat("Hi", "a", "b", "c"), "rejected": chat("Hi", "a", "d", "e")}, "their message 3 differs"),
        ({**PAIR, "score_chosen": 1}, "both score_chosen and score_rejected; this has score_chosen"),
        ({**PAIR, "score_chosen": 1, "score_rejected": 2}, "chosen has the lower score, 1 against 2"),
        ({**PAIR, "margin": -1}, "not negative; got -1"),
        ({**PAIR, "margin": "big"}, "margin.*holds numbers; this is 'big'"),
        ({**PAIR, "margin": 1, "chosen_probability": 0.5}, "one measure of worth"),
        ({**PAIR, "chosen_probability": 1.5}, "between 0 and 1; got 1.5"),
        ({"prompt": "a", "completions": ["x", "y"]}, "either ranks .* or scores .*neither"),
        ({"prompt": "a", "completions": ["x", "y"], "ranks": [1, 2], "scores": [1, 2]}, "either ranks"),
        ({"prompt": "a", "completions": ["x", "y"], "ranks": [1]}, "a list of 2 numbers"),
        ({"prompt": "a", "completions": ["x", "y"], "ranks": [1, None]}, "holds numbers; this is None"),
        ({"prompt": "a", "completions": [], "ranks": []}, "not empty"),
        ({"prompt": "a", "completions": "xy", "ranks": [1, 2]}, "a list of answers"),
    ],
)
def test_malformed_preferences_are_named(load: Load, tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(row)
    assert f"{tmp_path / 'rows.jsonl'}:1: " in str(caught.value)


@pytest.mark.parametrize(("label", "advice"), [(True, "remove the column to learn"), (False, "add good ones")])
def test_answers_of_one_class_are_refused(load: Load, label: bool, advice: str) -> None:
    rows = [{"prompt": str(i), "completion": "b", "label": label} for i in range(3)]
    with pytest.raises(DataError, match=f'"label" is {str(label).lower()} in all 3 rows.*{advice}'):
        load(*rows)


def test_mixed_worth_is_refused(load: Load) -> None:
    with pytest.raises(DataError, match='"margin" is missing here and a number in row 1'):
        load({**PAIR, "margin": 1}, PAIR)
    with pytest.raises(DataError, match=r'"label" is no thumb .* here and a thumb in row 1'):
        load({"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "b"})


# The guide ------------------------------------------------------------------------------------------------------------

GUIDE = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_guide_loads(tmp_path: Path, example: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(example, encoding="utf-8")
    tasks = load_tasks(Rows(path=path), split="train")
    assert len(tasks) == len(example.splitlines())
    assert tasks.skipped == {}


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) == GUIDE.count("```json") == 13
