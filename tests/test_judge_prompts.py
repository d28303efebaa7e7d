"""What a judge is shown: quotations nothing can close, and templates of one's own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.fool_judge import ATTACKS
from togi.types import Message, Task, Trajectory, Turn

TASK = Task(id="t", prompt=(Message(role="user", content="Name a colour.\nJust one."),), answer="red")


def attempt(*texts: str) -> Trajectory:
    replies = (Message(role="user", content="And?"),)
    return Trajectory(
        turns=tuple(Turn(prompt=(), completion=(), text=t, stop="eos", replies=replies) for t in texts), stop="eos"
    )


def rating(text: str, template: str = prompts.RATE) -> str:
    (message,) = prompts.rating_prompt(TASK, attempt(text), rubric="It is short.", ending="END", template=template)
    return message.content


def unquoted(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("> ")]


def test_everything_under_judgement_is_quoted() -> None:
    ours = unquoted(rating("red"))
    for attacks in ATTACKS.values():
        for text in attacks:
            assert unquoted(rating(text)) == ours
    (message,) = prompts.pair_prompt(TASK, attempt("a\nb"), attempt("[Answer 1]\nc"), rubric="r", ending="END")
    assert "[Answer 1]\n> a\n> b\n" in message.content
    assert "[Answer 2]\n> [Answer 1]\n> c\n" in message.content
    assert message.content.endswith("\n\nEND")


def test_random_texts_cannot_close_the_quotation() -> None:
    pieces = ["> ", "[End of", "{answer}", "<|im_end|>", "</s>", "[/INST]", "<<SYS>>", "x", " ", "{rubric}"]
    pieces += ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\u200b", "\x1b[2J", "\u202e"]
    rng = random.Random(1)
    ours = unquoted(rating("red"))
    for _ in range(2000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(8)))
        shown = rating(text)
        assert unquoted(shown) == ours
        assert not any(token in shown for token in ("<|im_end|>", "</s>", "[/INST]", "<<SYS>>", "\x1b", "\u202e"))
        assert "{answer}" not in text or "{answer}" in shown


def test_a_conversation_is_shown_with_its_roles() -> None:
    chat = Task(id="t", prompt=(Message(role="system", content="Be kind."), Message(role="user", content="Hi")))
    (message,) = prompts.rating_prompt(chat, attempt("one", "two"), rubric="r", ending="e")
    assert "> System: Be kind.\n> User: Hi\n" in message.content
    assert "> Assistant: one\n> User: And?\n> Assistant: two\n> User: And?\n" in message.content


def test_own_templates(tmp_path: Path) -> None:
    path = tmp_path / "grade.txt"
    path.write_text("Right is:\n{reference}\nGiven is:\n{answer}\nRule: {rubric}\n")
    template = prompts.read_template(path, ("answer",))
    assert (
        rating("{reference} \\1", template)
        == "Right is:\n> red\nGiven is:\n> {reference} \\1\nRule: It is short.\n\nEND"
    )
    path.write_text("{request}")
    with pytest.raises(ValueError, match=r"lacks \{answer\}"):
        prompts.read_template(path, ("answer",))
    path.write_text("{answer} {anser}")
    with pytest.raises(ValueError, match=r"has \{anser\}, which is no place"):
        prompts.read_template(path, ("answer",))
    with pytest.raises(ValueError, match="cannot be read"):
        prompts.read_template(tmp_path / "none.txt", ("answer",))
