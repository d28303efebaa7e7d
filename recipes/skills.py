"""Tasks of skill writing in a world of things, and a little model to learn them: it writes a Python function, and what
that brings is counted.

``problem`` makes a task with a worked function that has the right form and guesses how often gathering must be tried:
chance decides in the world, and a function that tries too seldom comes back with too little. ``model`` makes a model
that knows nothing yet.
"""

from __future__ import annotations

import random
import string
from typing import Any

from little_model import END, TEMPLATE, character_tokenizer, little_llama
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.agents.voyager.play_skill import Call, again
from togi.agents.voyager.tech_tree import TechTree
from togi.agents.voyager.world import Goal, held_told

RAW = ("wood", "fibre", "pebble", "clay", "sand", "reed")
CRAFTED = ("plank", "rope")
SAID = ("There", "are", "now", "nothing", "is", "gathered", "crafted", "from", "Task", "get", "more")
CODE = ("def", "get_", "for", "_", "in", "range", "gather", "craft", "    ", "```python", "```")
WORDS = (*SAID, *CODE, *RAW, *CRAFTED)


def problem(rng: random.Random) -> dict[str, Any]:
    seed = rng.randrange(2**31)
    world = TechTree(seed)
    before: list[Call] = [("gather", (item,)) for item in rng.choices(RAW, k=rng.randint(0, 6))]
    again(world, before)
    goal = Goal(item=rng.choice(RAW + CRAFTED), count=rng.randint(1, 4))
    parts = world.needs(goal.item)
    lines = [f"def get_{goal.item}():"]
    for item, count in (parts or {goal.item: 1}).items():
        lines += [f"    for _ in range({count * goal.count * rng.randint(1, 2)}):", f'        gather("{item}")']
    if parts:
        lines += [f"    for _ in range({goal.count}):", f'        craft("{goal.item}")']
    return {
        "prompt": f"There are now: {held_told(world.held())}. {world.hint(goal.item)} Task: {goal.told}.",
        "completion": "```python\n{}\n```".format("\n".join(lines)),
        "goal": {"item": goal.item, "count": goal.count},
        "seed": seed,
        "before": before,
    }


def model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """About 250,000 weights, and a tokenizer of the words of this task and single characters."""
    tokens = dict.fromkeys([END, *WORDS, *string.printable[:95], "\n"])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    words = "|".join(sorted(WORDS, key=len, reverse=True))
    tokenizer = character_tokenizer(vocabulary, TEMPLATE, rf"{words}|.|\n")
    return little_llama(tokenizer, width=96, layers=2, positions=512), tokenizer
