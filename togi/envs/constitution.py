"""A constitution: principles in a readable file, and episodes in which a model revises its own answers by them.

This is the supervised half of Constitutional AI (Bai et al., https://arxiv.org/abs/2212.08073, section 3). It knows
messages only: no tokens, no scoring, and not what becomes of a revision.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from togi.protocols import Env
from togi.types import Message, Task

PARTS = ("critique", "revision", "question")


@dataclass(frozen=True, kw_only=True)
class Principle:
    """One rule for answers. ``critique`` and ``revision`` ask a model about its own last answer, ``question`` asks a
    feedback model which of two answers keeps the rule better."""

    id: str
    critique: str
    revision: str
    question: str


def read_principles(path: Path | str) -> tuple[Principle, ...]:
    """The principles of a text file, in its order.

    A principle is its id in square brackets on a line of its own, then ``critique: ...``, ``revision: ...`` and
    ``question: ...``. An indented line goes on where the line before ended; ``#`` starts a line of comment.

    Raises:
        ValueError: a file that cannot be read or holds no principle; a line that fits nowhere, an id or a part given
            twice, a part that is missing or empty, each with file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the constitution {path} cannot be read: {error}") from error
    found: list[_Entry] = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            _read(line, f"{path}, line {number}", found)
    if not found:
        raise ValueError(f"{path} holds no principle: write its id in square brackets, then {_wanted()}")
    return tuple(entry.principle() for entry in found)


@dataclass
class _Entry:
    """A principle being read: where it started, and its parts so far."""

    place: str
    id: str
    parts: dict[str, list[str]]

    def principle(self) -> Principle:
        texts = {part: " ".join(lines).strip() for part, lines in self.parts.items()}
        lacking = [part for part in PARTS if not texts.get(part)]
        if lacking:
            raise ValueError(f"{self.place}: principle {self.id} has no {' and no '.join(lacking)}; add {_wanted()}")
        return Principle(id=self.id, critique=texts["critique"], revision=texts["revision"], question=texts["question"])


def _read(line: str, place: str, found: list[_Entry]) -> None:
    if line.startswith("["):
        _begin(line.strip(), place, found)
        return
    if not found:
        raise ValueError(f"{place}: this stands before any principle; start one with its id in square brackets")
    parts = found[-1].parts
    if line[0].isspace():
        if not parts:
            raise ValueError(
                f"{place}: an indented line goes on with a part, and none was begun; start with {_wanted()}"
            )
        parts[next(reversed(parts))].append(line.strip())
        return
    part, colon, text = line.partition(":")
    if not colon or part.strip() not in PARTS:
        raise ValueError(f"{place}: got {line.strip()!r}, wanted {_wanted()}; indent a line that goes on")
    if part.strip() in parts:
        raise ValueError(f"{place}: principle {found[-1].id} has a {part.strip()} already; remove one")
    parts[part.strip()] = [text.strip()]


def _begin(line: str, place: str, found: list[_Entry]) -> None:
    heading = re.fullmatch(r"\[\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*\]", line)
    if not heading:
        raise ValueError(f"{place}: got {line!r}, wanted an id of letters, digits, '.', '_' or '-' in square brackets")
    if any(entry.id == heading[1] for entry in found):
        raise ValueError(f"{place}: there is a principle {heading[1]} already; give this one another id")
    found.append(_Entry(place, heading[1], {}))


def _wanted() -> str:
    return ", ".join(f"'{part}: ...'" for part in PARTS)


@dataclass(frozen=True, kw_only=True)
class Constitution:
    """Makes the episode of a task: the model answers, and ``rounds`` times criticises its last answer under a
    principle and revises it (the paper: one to four rounds).

    The conversation grows and is never rewritten, so each revision is one of the revision before. Every request names
    its principle. The principles of a chain follow an order drawn from the task and the model's first answer: other
    attempts meet other principles, the same answer meets the same ones, and none comes twice before all came once.
    """

    principles: tuple[Principle, ...]
    rounds: int = 1

    def __post_init__(self) -> None:
        if not self.principles:
            raise ValueError("a constitution needs at least one principle, got none")
        if self.rounds < 1:
            raise ValueError(f"rounds of critique and revision must be at least 1, got {self.rounds}")

    def __call__(self, task: Task) -> Env:
        return _Chain(task, self.principles, self.rounds)


class _Chain(Env):
    """Answer, critique, revision, critique, revision ...; an empty revision ends it early."""

    def __init__(self, task: Task, principles: tuple[Principle, ...], rounds: int) -> None:
        self._task, self._order, self._rounds = task, principles, rounds
        self._raw = any(message.role == "text" for message in task.prompt)
        self._turn = 0

    def start(self) -> tuple[Message, ...]:
        return self._task.prompt

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        turn, self._turn = self._turn, self._turn + 1
        if turn == 0:
            self._order = drawn_order(self._order, self._task.id, message.content)
        round_ = turn // 2
        principle = self._order[round_ % len(self._order)]
        if turn % 2:
            return self._request("Revision", principle.id, principle.revision), 0.0, False
        if round_ == self._rounds or (round_ and not message.content.strip()):
            return (), 0.0, True
        return self._request("Critique", principle.id, principle.critique), 0.0, False

    def _request(self, kind: str, principle: str, text: str) -> tuple[Message, ...]:
        request = f"{kind} request ({principle}): {text}"
        if self._raw:
            return (Message(role="text", content=f"\n\n{request}\n\n{kind}:"),)
        return (Message(role="user", content=request),)

    def close(self) -> None:
        pass


def drawn_order(principles: tuple[Principle, ...], task: str, answer: str) -> tuple[Principle, ...]:
    """The principles in an order drawn from the task's id and an answer; the order of the file has no say."""

    def key(principle: Principle) -> bytes:
        return hashlib.blake2b("\x1f".join([principle.id, task, answer]).encode("utf-8", "surrogatepass")).digest()

    return tuple(sorted(principles, key=key))
