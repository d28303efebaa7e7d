"""Transcripts: nothing is asked twice, a kill costs no line, and a recording answers for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from togi.askers.asker import Reply, Request
from togi.transcript import Recorded, Transcript, account, read_transcript
from togi.types import Message


class Counting:
    """Answers each question with its number, and fails where it is told to."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.asked, self.fails = 0, fails

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        found = []
        for _ in questions:
            self.asked += 1
            lost = self.asked in self.fails
            found.append(Reply(status="timeout", note="late") if lost else Reply(text=f"{self.asked}", prompt_tokens=2))
        return found


def question(text: str, vote: int = 0) -> Request:
    return Request(messages=(Message(role="user", content=text),), tokens=False, vote=vote)


def never() -> Counting:
    raise AssertionError("nobody is to be asked")


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    path, asker = tmp_path / "replies.jsonl", Counting()
    first = Transcript(path, lambda: asker, model="m").ask([question("a"), question("b")])
    assert [reply.text for reply in first] == ["1", "2"]
    assert Transcript(path, never, model="m").ask([question("b"), question("a")]) == first[::-1]
    more = Transcript(path, lambda: asker, model="m").ask([question("b"), question("a", vote=1)])
    assert [reply.text for reply in more] == ["2", "3"]


def test_a_lost_reply_is_asked_for_again_and_counted(tmp_path: Path) -> None:
    path, asker = tmp_path / "replies.jsonl", Counting(fails=[1])
    lost, good = Transcript(path, lambda: asker, model="m").ask([question("a"), question("b")])
    assert (lost.status, good.text) == ("timeout", "2")
    (found,) = Transcript(path, lambda: asker, model="m").ask([question("a")])
    assert found.text == "3"
    told = account(read_transcript(path))
    assert (told.replies, told.lost, told.prompt_tokens) == (2, 1, 4)


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_a_kill_cut_off_goes(tmp_path: Path, cut: int) -> None:
    path, asker = tmp_path / "replies.jsonl", Counting()
    Transcript(path, lambda: asker, model="m").ask([question("a"), question("b")])
    path.write_bytes(path.read_bytes()[:-cut])
    replies = Transcript(path, lambda: asker, model="m").ask([question("a"), question("b")])
    assert [reply.text for reply in replies] == ["1", "3"]
    assert len(read_transcript(path)) == 2


def test_a_recording_answers(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    own = Transcript(path, Counting, model="m")
    own.ask([question("a", 0), question("a", 1)])
    own.ask([question("a", 2), question("then 0.5", 0), question("then 0.5", 1)])
    recorded = Recorded(path)
    assert [reply.text for reply in recorded.ask([question("a", 0), question("a", 1)])] == ["1", "2"]
    assert [reply.text for reply in recorded.ask([question("then 0.7", 8), question("then 0.7", 9)])] == ["4", "5"]
    assert recorded.otherwise == 2
    assert recorded.ask([question("then what?")])[0].status == "abstain"
    assert recorded.ask([question("a", 2)])[0].text == "3"


def test_a_recording_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    Transcript(path, Counting, model="m").ask([question("a"), question("b"), question("c")])
    here = tmp_path / "here.jsonl"
    for text, wanted in (("x", "1"), ("y", "2"), ("c", "3")):
        (reply,) = Transcript(here, lambda: Recorded(path, read_transcript(here)), model="r").ask([question(text)])
        assert reply.text == wanted


@pytest.mark.parametrize("line", ["{}", '{"model": 1}', '{"request": [], "reply": {}, "model": "m", "day": "d"}'])
def test_what_is_no_transcript_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"line 1: not a question"):
        Recorded(tmp_path / "t.jsonl")


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        Recorded(tmp_path / "t.jsonl")
