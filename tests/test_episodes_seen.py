"""Episodes as people see them: a report shows who said what, what it was paid, and what was learned; all is text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from togi.batch import samples
from togi.records import rollout_rows, turn_rows
from togi.report.conversation import FIRST, LAST, PIECES, turns_of
from togi.report.examples import logged
from togi.report.filled_page import templates
from togi.types import Group, Message, Score, Task, Trajectory, Turn

CALL = '<tool_call>{"name": "price", "arguments": {"item": "apple"}}</tool_call>'
HEAD = 'calls price {"item": "apple"}'
TASK = Task(id="t", prompt=(Message(role="user", content="?"),))


def turn(said: str, *replies: Message, reward: float = 0.0, prompt: tuple[int, ...] = (1,)) -> Turn:
    return Turn(
        prompt=prompt, completion=(7, 8), text=said, stop="eos", logp=(-0.1, -0.1), replies=replies, reward=reward
    )


def user(text: str) -> Message:
    return Message(role="user", content=text)


def shown(said: str, *replies: Message) -> tuple[list[tuple[str, str]], list[tuple[str, list[tuple[str, str]]]]]:
    """What is said in one turn as (head, text), and who replies what."""
    (first, _) = turns_of({"turns": turn_rows(Trajectory(turns=(turn(said, *replies), turn("")), stop="eos"))})
    own = [(piece.head, piece.text) for piece in first.pieces]
    return own, [(reply.who, [(piece.head, piece.text) for piece in reply.pieces]) for reply in first.replies]


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ("It is 5.", [("", "It is 5.")]),
        ("", [("said nothing", "")]),
        (f"I ask. {CALL}", [("", "I ask."), (HEAD, CALL)]),
        (f"{CALL}\n{CALL} done", [(HEAD, CALL), (HEAD, CALL), ("", "done")]),
        (f"<think>so {CALL}</think>{CALL}", [("thinks", f"so {CALL}"), (HEAD, CALL)]),
        ("<think>never ended", [("thinks", "never ended")]),
        ("<think></think>5", [("", "5")]),
        ("<tool_call>{not json</tool_call>", [("a call that cannot be read", "<tool_call>{not json</tool_call>")]),
        ("<tool_call>open", [("a call that cannot be read", "<tool_call>open")]),
        ("<tool_call><think>", [("a call that cannot be read", "<tool_call><think>")]),
        ('{"name": "price", "parameters": {}}', [("calls price {}", '{"name": "price", "parameters": {}}')]),
        ("<tool_response>\n5\n</tool_response>", [("", "<tool_response>\n5\n</tool_response>")]),
        ("user: thank you", [("", "user: thank you")]),
    ],
)
def test_calls_and_thoughts_of_a_turn_are_folded(said: str, pieces: list[tuple[str, str]]) -> None:
    assert shown(said, user("on"))[0] == pieces


@pytest.mark.parametrize(
    ("reply", "who", "pieces"),
    [
        (user("Again."), "environment, as user", [("", "Again.")]),
        (Message(role="system", content="x"), "environment, as system", [("", "x")]),
        (Message(role="tool", content="2.5", name="price"), "tools", [("price gave 2.5", "2.5")]),
        (Message(role="tool", content="error: no"), "tools", [("a tool gave error: no", "error: no")]),
        (
            user('<tool_response name="price">\n2.5\n</tool_response>\n<tool_response>\nerror: no\n</tool_response>'),
            "tools",
            [("price gave 2.5", "2.5"), ("a tool gave error: no", "error: no")],
        ),
        (user(""), "environment, as user", [("", "")]),
    ],
)
def test_replies_say_who_gave_them(reply: Message, who: str, pieces: list[tuple[str, str]]) -> None:
    assert shown("a", reply)[1] == [(who, pieces)]


def test_a_single_answer_is_no_conversation() -> None:
    assert turn_rows(Trajectory(turns=(turn("5"),), stop="eos")) == []


def rows(trajectory: Trajectory, advantage: tuple[float, float]) -> dict[str, Any]:
    """The logged row of an attempt whose turns have these advantages; a rewritten history makes two samples."""
    group = Group(task=TASK, trajectories=(trajectory,), scores=(Score(value=1.0),))
    made = []
    for sample in samples([group]):
        given = np.where(np.arange(len(sample.ids)) < 3, advantage[0], advantage[1]).astype(np.float32)
        made.append(replace(sample, advantage=given, weight=1.0))
    (row,) = rollout_rows([group], made, [], str, {})
    return row


def test_a_turn_says_what_was_learned_from_it() -> None:
    first = turn("a", user("on"), reward=0.5)
    grown, rewritten = turn("b", prompt=(1, 7, 8, 9)), turn("b", prompt=(1, 9))
    row = rows(Trajectory(turns=(first, grown), stop="eos"), (1.0, -1.0))
    assert [(each["learned"], each["advantage"], each["reward"]) for each in row["turns"]] == [(2, 1, 0.5), (2, -1, 0)]
    row = rows(Trajectory(turns=(first, rewritten), stop="eos"), (1.0, 2.0))
    assert [(each["learned"], each["advantage"]) for each in row["turns"]] == [(2, 1), (2, 1.5)]
    facts = [each.facts for each in turns_of(row)]
    assert facts[0] == ("2 tokens", "paid 0.5", "learned from, advantage +1.00")


def test_an_attempt_without_a_score_was_not_learned_from() -> None:
    group = Group(
        task=TASK,
        trajectories=(Trajectory(turns=(turn("a", user("on")), turn("b")), stop="eos"),),
        scores=(Score(value=float("nan"), status="error"),),
    )
    (row,) = rollout_rows([group], samples([group]), [], str, {})
    assert [each.facts[-1] for each in turns_of(row)] == ["not learned from"] * 2
    assert [each.learned for each in turns_of(row)] == [False] * 2


def test_long_attempts_show_their_first_and_last_turns() -> None:
    many = Trajectory(turns=tuple(turn(str(i), user("on")) for i in range(40)), stop="eos")
    seen = turns_of({"turns": turn_rows(many)})
    assert [each.number for each in seen] == [*range(1, FIRST + 1), *range(41 - LAST, 41)]
    assert [each.skipped for each in seen if each.skipped] == [40 - FIRST - LAST]
    (first, *_) = turns_of({"turns": turn_rows(Trajectory(turns=(turn(CALL * 100, user("on")),), stop="eos"))})
    assert len(first.pieces) == PIECES + 1


@pytest.mark.parametrize("turns", [None, 5, [5], [{}], [{"says": 5, "replies": 7}], [{"replies": [1, {}]}]])
def test_damaged_turns_are_shown_as_far_as_they_go(turns: object) -> None:
    turns_of({"turns": turns})


def test_hostile_text_stays_text() -> None:
    hostile = "</pre></li></ol><script>alert(1)</script>\u202e<img src=x>"
    said = turn(f"{hostile}<tool_call>{hostile}</tool_call>", Message(role="tool", name=hostile, content=hostile))
    row = rows(Trajectory(turns=(said, turn(hostile, prompt=(1, 7, 8, 9))), stop="eos"), (0.0, 0.0))
    page = page_of_attempt(row)
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;alert(1)") == 6
    assert page.count("<li ") == 3


def page_of_attempt(row: dict[str, Any]) -> str:
    return str(templates().get_template("macros.html").module.answer(logged(row)))  # type: ignore[attr-defined]
