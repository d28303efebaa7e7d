"""Sums that a small model cannot do in its head: the task of the calculator recipe.

``problem`` makes one: what is asked, the answer, and a recorded conversation. Half of these ask the calculator, and
half say the answer at once, which a small model cannot learn: it has to find out which way is right. In
``called_problem`` all of them ask.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

Made = Callable[[int, int, int], int]
FORMS: list[tuple[str, str, Made]] = [
    ("What is {a} times {b}?", "{a} * {b}", lambda a, b, c: a * b),
    ("Multiply {a} by {b}, then add {c}.", "{a} * {b} + {c}", lambda a, b, c: a * b + c),
    ("Add {a} and {c}, then multiply by {b}.", "({a} + {c}) * {b}", lambda a, b, c: (a + c) * b),
    ("A box holds {b} parts. How many parts are in {a} boxes?", "{a} * {b}", lambda a, b, c: a * b),
    (
        "There are {a} boxes of {b} parts and {c} more parts. How many parts is that?",
        "{a} * {b} + {c}",
        lambda a, b, c: a * b + c,
    ),
    ("Of {a} boxes of {b} parts, {c} parts are lost. How many are left?", "{a} * {b} - {c}", lambda a, b, c: a * b - c),
]


def problem(rng: random.Random) -> dict[str, object]:
    """A question, its answer, and one of the two ways to it."""
    question, expression, answer = drawn(rng)
    return {"messages": conversation(question, expression, answer, call=rng.random() < 0.5), "answer": answer}


def called_problem(rng: random.Random) -> dict[str, object]:
    """The same questions from the same seed, and the calculator is always asked."""
    question, expression, answer = drawn(rng)
    rng.random()
    return {"messages": conversation(question, expression, answer, call=True), "answer": answer}


def drawn(rng: random.Random) -> tuple[str, str, str]:
    """A question, what to give the calculator, and what comes out."""
    a, b, c = rng.randint(101, 999), rng.randint(12, 99), rng.randint(101, 999)
    text, expression, result = rng.choice(FORMS)
    return text.format(a=a, b=b, c=c), expression.format(a=a, b=b, c=c), str(result(a, b, c))


def conversation(question: str, expression: str, answer: str, *, call: bool) -> list[dict[str, object]]:
    messages: list[dict[str, object]] = [{"role": "user", "content": question}]
    if call:
        function = {"name": "calculator", "arguments": json.dumps({"expression": expression})}
        calls = [{"id": "call_0", "type": "function", "function": function}]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": "call_0", "name": "calculator", "content": answer})
    return [*messages, {"role": "assistant", "content": answer}]
