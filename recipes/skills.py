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

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from togi.agents.voyager.play_skill import Call, again
from togi.agents.voyager.tech_tree import TechTree
from togi.agents.voyager.world import Goal, held_told

RAW = ("wood", "fibre", "pebble", "clay", "sand", "reed")
CRAFTED = ("plank", "rope")
END = "<end>"
SAID = ("There", "are", "now", "nothing", "is", "gathered", "crafted", "from", "Task", "get", "more")
CODE = ("def", "get_", "for", "_", "in", "range", "gather", "craft", "    ", "```python", "```")
WORDS = (*SAID, *CODE, *RAW, *CRAFTED)
TURNS = (
    "{% for message in messages %}{{ message.content }}{{ eos_token if message.role == 'assistant' else '>' }}"
    "{% endfor %}"
)


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


def model() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """About 250,000 weights, and a tokenizer of the words of this task and single characters."""
    tokens = dict.fromkeys([END, *WORDS, *string.printable[:95], "\n"])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    words = "|".join(sorted(WORDS, key=len, reverse=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{words}|.|\n"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=True,
        eos_token_id=vocabulary[END],
        bos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config), PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, chat_template=TURNS
    )
