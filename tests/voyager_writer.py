"""A made-up writer for tests of Voyager: it answers by what it is asked, in all four roles, and knows how its world
works. What it writes is the test's and no model's."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from togi.askers.asker import Reply, Request

WAY = ("wood", "plank", "stick", "pebble", "workbench", "wooden_pickaxe", "stone", "coal", "torch")
"""What this planner wants, in turn."""
GATHERED = ("wood", "pebble", "stone", "coal", "fibre", "reed", "clay", "sand")


class Writer:
    """``spoil`` gives another answer for some questions, or None."""

    def __init__(self, spoil: object = None) -> None:
        self.asked: list[Request] = []
        self.batches: list[int] = []
        self.spoil = spoil

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        self.asked += questions
        self.batches.append(len(questions))
        return [self._reply(question) for question in questions]

    def _reply(self, question: Request) -> Reply:
        text = question.messages[-1].content
        other = self.spoil(text) if callable(self.spoil) else None
        if isinstance(other, Reply):
            return other
        return Reply(text=other if other is not None else answer(text), prompt_tokens=1, completion_tokens=1)


def answer(text: str) -> str:
    if text.startswith("You decide"):
        done = re.search(r"Done so far: (.*)\.", text)
        assert done is not None
        wanted = next((item for item in WAY if f" {item}" not in done[1]), WAY[0])
        return f"Task: get 1 more {wanted}"
    if text.startswith("Somebody had a task"):
        return '{"success": true, "critique": "none"}'
    if text.startswith("Say in one sentence"):
        return "Brings something."
    goal = re.search(r"Task: get (\d+) more (\w+)\.", text)
    assert goal is not None
    return skill(goal[2], int(goal[1]))


def skill(item: str, count: int = 1) -> str:
    """A function that gets an item and all that it takes."""
    return f"""```python
def get_{item}():
    def get(item, more):
        for part, need in needs(item).items():
            beside = part in ("workbench", "furnace", "wooden_pickaxe", "stone_pickaxe")
            lacking = need - count(part) if beside else need * more - count(part)
            if lacking > 0:
                get(part, lacking)
        for _ in range(40):
            if more > 0:
                more -= gather(item) if item in {GATHERED} else craft(item)
    get("{item}", {count})
```"""


def embed(texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Words counted, in place of their meaning."""
    words = sorted({word for text in texts for word in re.findall(r"\w+", text)})
    counts = np.array([[text.split().count(word) for word in words] for text in texts], np.float64)
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
