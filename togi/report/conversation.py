"""An attempt that was answered, as a conversation to read: turn by turn, calls and thoughts apart. It knows no page,
and every text in it is foreign."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.harmless_text import shortened
from togi.tools.read_calls import CLOSE, OPEN, read_calls

PIECE = re.compile(rf"<think>(?P<thought>.*?)(?:</think>|\Z)|{OPEN}.*?(?:{CLOSE}|\Z)", re.DOTALL)
RESPONSE = re.compile(r'<tool_response(?: name="(?P<name>[^"\n]*)")?>\n?(?P<text>.*?)\n?</tool_response>', re.DOTALL)
ENDED = "</tool_response>"
LONGEST = 1500  # characters of one piece
NAME = 60  # characters of the name of a tool or a role
GLANCE = 70  # characters of what is folded that are seen
FIRST, LAST = 12, 6  # turns shown of a long attempt
PIECES = 24  # shown of one turn, or of its replies


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of what was said; one with a ``head`` is folded under it."""

    text: str
    head: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Who answered, and what. Nothing of it is learned from."""

    who: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class TurnView:
    """``who`` is the player, ``facts`` are the turn's numbers in words, ``learned`` says whether it was learned from,
    where that is known, and ``skipped`` how many turns before it are not shown."""

    number: int
    who: str
    pieces: tuple[Piece, ...]
    facts: tuple[str, ...]
    learned: bool | None
    replies: tuple[Reply, ...]
    skipped: int = 0


def turns_of(row: Mapping[str, Any]) -> tuple[TurnView, ...]:
    """The turns of a logged attempt, of many the first and the last; none where nothing answered."""
    turns = row.get("turns")
    known = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    who = shortened(str(row.get("role") or "model"), NAME)
    numbered = list(enumerate(known, start=1))
    left = len(numbered) - FIRST - LAST
    if left <= 0:
        return tuple(_turn(who, number, turn) for number, turn in numbered)
    before = [_turn(who, number, turn) for number, turn in numbered[:FIRST]]
    after = [_turn(who, number, turn, left if number == FIRST + left + 1 else 0) for number, turn in numbered[-LAST:]]
    return (*before, *after)


def asked_of(row: Mapping[str, Any]) -> tuple[Reply, ...]:
    """What an environment asked first, where that is more than its task."""
    return _replies(row.get("asked"))


def _turn(who: str, number: int, turn: Mapping[str, Any], skipped: int = 0) -> TurnView:
    said = str(turn.get("says", ""))
    pieces = tuple(_cut(list(_pieces(said)))) or (Piece(text="", head="said nothing"),)
    learned = turn.get("learned")
    return TurnView(
        number=number,
        who=who,
        pieces=pieces,
        facts=tuple(_facts(turn)),
        learned=bool(learned) if isinstance(learned, int) else None,
        replies=_replies(turn.get("replies")),
        skipped=skipped,
    )


def _facts(turn: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(turn.get("tokens"), int):
        yield f"{turn['tokens']} tokens"
    if turn.get("stop") in ("length", "context"):
        yield f"cut: {turn['stop']}"
    if isinstance(reward := turn.get("reward"), int | float) and reward:
        yield f"paid {reward:.3g}"
    if isinstance(learned := turn.get("learned"), int):
        part = f" of {learned} tokens" if 0 < learned != turn.get("tokens") else ""
        advantage = turn.get("advantage")
        worth = f", advantage {advantage:+.2f}" if isinstance(advantage, int | float) else ""
        yield f"learned from{part}{worth}" if learned else "not learned from"


def _pieces(said: str) -> Iterator[Piece]:
    """What a model wrote, its thoughts and calls folded. What it says in another's name stays its own text."""
    if OPEN not in said and read_calls(said, []).calls:  # a call that is all that it says
        yield _call(said)
        return
    end = 0
    for found in PIECE.finditer(said):
        if before := said[end : found.start()].strip():
            yield Piece(text=shortened(before, LONGEST))
        thought = found["thought"]
        if thought is None:
            yield _call(found[0])
        elif thought.strip():
            yield Piece(head="thinks", text=shortened(thought.strip(), LONGEST))
        end = found.end()
    if rest := said[end:].strip():
        yield Piece(text=shortened(rest, LONGEST))


def _call(text: str) -> Piece:
    readable = [call for call in read_calls(text, []).calls if call.arguments is not None]
    head = "a call that cannot be read"
    if readable:
        given = json.dumps(readable[0].arguments, ensure_ascii=False)
        head = f"calls {shortened(readable[0].name, NAME)} {_glance(given)}"
    return Piece(head=head, text=shortened(text.strip(), LONGEST))


def _replies(given: object) -> tuple[Reply, ...]:
    known = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    return tuple(_reply(each) for each in known[:PIECES])


def _reply(message: Mapping[str, Any]) -> Reply:
    role, text = str(message.get("role", "")), str(message.get("content", ""))
    if role == "tool":
        return Reply(who="tools", pieces=(_result(str(message.get("name") or "a tool"), text),))
    pieces, end = [], 0
    for found in RESPONSE.finditer(text, 0, text.rfind(ENDED) + len(ENDED)):  # what is opened later, nothing closes
        if before := text[end : found.start()].strip():
            pieces.append(Piece(text=shortened(before, LONGEST)))
        pieces.append(_result(found["name"] or "a tool", found["text"]))
        end = found.end()
    if (rest := text[end:].strip()) or not pieces:
        pieces.append(Piece(text=shortened(rest, LONGEST)))
    return Reply(who="tools" if end else f"environment, as {shortened(role, NAME)}", pieces=tuple(_cut(pieces)))


def _result(name: str, text: str) -> Piece:
    return Piece(head=f"{shortened(name, NAME)} gave {_glance(text)}", text=shortened(text, LONGEST))


def _glance(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 2 * GLANCE].split())
    return shortened(line, GLANCE) if len(line) <= GLANCE else f"{shortened(line[:GLANCE], GLANCE)} …"


def _cut(pieces: Sequence[Piece]) -> Sequence[Piece]:
    if len(pieces) <= PIECES:
        return pieces
    return [*pieces[:PIECES], Piece(text=f"… {len(pieces) - PIECES} more parts not shown")]
