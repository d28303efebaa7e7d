"""What models were asked and answered, kept as JSON lines: nothing is asked twice, and a run can be played
from a recording.

It knows neither who answers nor what for. A line holds the whole question and the whole reply, so that a person can
read it and a program can answer from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from togi.askers.asker import Asker, Reply, Request
from togi.run_folder.files import digest, dumps, read_lines
from togi.types import Message, Status


@dataclass(frozen=True, kw_only=True)
class Line:
    """One question with its reply: ``model`` and ``day`` say whose it is, ``asked`` is the digest of the question."""

    model: str
    day: str
    asked: str
    request: Request
    reply: Reply


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the replies of a transcript took: ``lost`` is how many questions had none."""

    replies: int
    lost: int
    prompt_tokens: int
    completion_tokens: int


class Transcript:
    """Asks what the file ``path`` does not answer yet, and writes it down. ``open_asker`` is called for the first
    question that is really asked: a run that finds all its answers loads no model."""

    def __init__(self, path: Path, open_asker: Callable[[], Asker], *, model: str) -> None:
        self._path, self._open, self._model = path, open_asker, model
        self._asker: Asker | None = None
        _mend(path)
        self._known = {line.asked: line.reply for line in read_transcript(path) if line.reply.status == "ok"}

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        missing = [question for question in questions if _digest(question) not in self._known]
        answered: dict[str, Reply] = {}
        if missing:
            self._asker = self._asker or self._open()
            for question, reply in zip(missing, self._asker.ask(missing), strict=True):
                answered[_digest(question)] = reply
                self._write(question, reply)
        self._known |= {asked: reply for asked, reply in answered.items() if reply.status == "ok"}
        return [self._known.get(asked) or answered[asked] for asked in map(_digest, questions)]

    def _write(self, question: Request, reply: Reply) -> None:
        line = {"model": self._model, "day": time.strftime("%Y-%m-%d", time.gmtime()), "asked": _digest(question)}
        whole = line | {"request": _plain(question), "reply": {**asdict(reply), "logp": dict(reply.logp)}}
        data = (dumps(whole) + "\n").encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(data)


class Recorded:
    """Answers from a transcript that was kept of another run.

    A question that stands in it has the reply that it had. Another one, with numbers that came out
    otherwise here, has the next reply that is left; replies to what is asked here word for word are left for that.
    ``otherwise`` counts the replies that were given to other questions. ``given`` is what was answered from it before.
    """

    def __init__(self, path: Path, given: Sequence[Line] = ()) -> None:
        self._left = {line.asked: line for line in read_transcript(path) if line.reply.status == "ok"}
        if not self._left:
            raise ValueError(f"{path}: a transcript with at least one reply is wanted, and this has none")
        self.path, self.otherwise = path, 0
        self._known = dict(self._left)
        self._worded: set[str] = set()
        for line in given:
            self._worded.add(digest(_worded(line.request)))
            same = (each.asked for each in self._left.values() if each.reply == line.reply)
            self._left.pop(line.asked if line.asked in self._left else next(same, ""), None)

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        self._worded |= {digest(_worded(question)) for question in questions}
        for question in questions:
            self._left.pop(_digest(question), None)
        return [self._answer(question) for question in questions]

    def _answer(self, question: Request) -> Reply:
        if line := self._known.get(_digest(question)):
            return line.reply
        free = (line for line in self._left.values() if digest(_worded(line.request)) not in self._worded)
        if (line := next(free, None)) is None:
            return Reply(status="abstain", note=f"{self.path} holds no further reply")
        self.otherwise += 1
        return self._left.pop(line.asked).reply


def read_transcript(path: Path) -> list[Line]:
    """The lines of a transcript; none where there is no file. Raises ValueError for what is none."""
    found = []
    for number, row in enumerate(read_lines(path), start=1):
        try:
            found.append(_line(row))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}, line {number}: not a question with its reply ({said})") from error
    return found


def account(lines: Sequence[Line]) -> Account:
    good = [line.reply for line in lines if line.reply.status == "ok"]
    return Account(
        replies=len(good),
        lost=len(lines) - len(good),
        prompt_tokens=sum(reply.prompt_tokens for reply in good),
        completion_tokens=sum(reply.completion_tokens for reply in good),
    )


def asked_told(lines: Sequence[Line]) -> list[str]:
    """Who was asked, and what it took, in a sentence or none."""
    spent, models = account(lines), sorted({line.model for line in lines})
    lost = f"; {spent.lost} questions had no reply" if spent.lost else ""
    return [
        f"Asked: {', '.join(models)}. {spent.replies} replies, {spent.prompt_tokens} tokens read and "
        f"{spent.completion_tokens} written{lost}."
    ] * bool(models)


def _mend(path: Path) -> None:
    """Take off a line that a kill cut off, so that the next begins on its own."""
    if path.is_file():
        whole, newline, cut = path.read_bytes().rpartition(b"\n")
        if cut:
            os.truncate(path, len(whole) + len(newline))


def _line(row: dict[str, Any]) -> Line:
    request, reply = row["request"], row["reply"]
    status: Status = reply["status"]
    asked = Request(
        messages=tuple(Message(role=each["role"], content=str(each["content"])) for each in request["messages"]),
        options=tuple(request["options"]),
        tokens=bool(request["tokens"]),
        reason=bool(request["reason"]),
        max_tokens=int(request["max_tokens"]),
        renormalised=bool(request["renormalised"]),
        temperature=float(request["temperature"]),
        vote=int(request["vote"]),
    )
    return Line(
        model=str(row["model"]),
        day=str(row["day"]),
        asked=_digest(asked),
        request=asked,
        reply=Reply(
            text=str(reply["text"]),
            logp={str(name): float(value) for name, value in reply["logp"].items()},
            cut=bool(reply["cut"]),
            prompt_tokens=int(reply["prompt_tokens"]),
            completion_tokens=int(reply["completion_tokens"]),
            status=status,
            note=str(reply["note"]),
        ),
    )


def _digest(question: Request) -> str:
    return digest(_plain(question))


def _plain(question: Request) -> dict[str, Any]:
    return {**asdict(question), "messages": _worded(question)}


def _worded(question: Request) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in question.messages]
