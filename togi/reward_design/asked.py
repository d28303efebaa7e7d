"""What the writer is asked, made from text files that a user can copy and change. It asks nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from togi.askers.asker import Reply, Request
from togi.reward_design.design import Design
from togi.reward_design.programs.dialects import Dialect
from togi.reward_design.programs.static_check import with_imports
from togi.types import Message
from togi.writer import code_blocks

PROMPTS = Path(__file__).with_name("prompts")
RECIPE_PROMPTS = PROMPTS / "language"
REFLECTION: Mapping[str, frozenset[str]] = {
    "system": frozenset(),
    "reflection": frozenset({"program", "checks", "curves", "findings", "comment"}),
    "failure": frozenset({"program", "fault", "comment"}),
}
FIELDS = {**REFLECTION, "task": frozenset({"task", "environment", "observation", "action", "info"})}
RECIPE_FIELDS = {**REFLECTION, "task": frozenset({"task", "examples", "rows"})}
"""The prompts of both kinds of design, and what may stand in braces in each."""


def first_question(design: Design) -> tuple[Message, ...]:
    """What is asked before anything is known."""
    text = design.prompts["task"].format(task=design.file.design.task, **design.told)
    return Message(role="system", content=design.prompts["system"]), Message(role="user", content=text)


def next_question(design: Design, name: str, fields: Mapping[str, str], comment: str) -> tuple[Message, ...]:
    """The first question with what was found since. The better program stands in the question and not in the writer's
    mouth, so that each parent is one message whoever wrote it."""
    said = f"A person who looked at this says:\n{comment.strip()}\n\n" if comment.strip() else ""
    system, first = first_question(design)
    text = design.prompts[name].format(**fields, comment=said)
    return system, Message(role="user", content=f"{first.content}\n\n{text}")


def requests(design: Design, questions: Sequence[tuple[Message, ...]], first: int) -> list[Request]:
    """One request a question, each a draw of its own from number ``first`` on."""
    writer = design.file.writer
    return [
        Request(
            messages=messages,
            tokens=False,
            max_tokens=writer.max_tokens,
            temperature=writer.temperature,
            vote=first + number,
        )
        for number, messages in enumerate(questions)
    ]


def program_of(reply: Reply, dialect: Dialect) -> tuple[str, str]:
    """The program in a reply, and a fault: one of them is empty. The last code block that defines the function counts,
    whole: with what stands before the function, which it may need, and with imports that it forgot."""
    if reply.status != "ok":
        return "", f"no answer: {reply.note or reply.status}"
    function = re.compile(rf"^def +{dialect.function}\b", re.MULTILINE)
    found = [block for block in code_blocks(reply.text) if function.search(block)]
    if found:
        return with_imports(found[-1].strip() + "\n", dialect), ""
    cut = " before it was cut off" if reply.cut else ""
    return "", f"the answer has no code block with a function {dialect.function}{cut}"
