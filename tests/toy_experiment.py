"""A small experiment on disk: a tiny model, words to say, a reward for their letters, and a file that names
controls."""

from __future__ import annotations

from pathlib import Path

from tiny_text import tiny_folder

WORDS = """
import random
WORDS = "red blue green black white brown pink gold grey teal navy plum rose sand lime rust".split()


def say(rng: random.Random):
    word = rng.choice(WORDS) + str(rng.randint(0, 9))
    return {"prompt": f"say {word}", "answer": word, "completion": word}


def letters(task, completion):
    return len(set(completion) & set(task.answer)) / max(1, len(set(completion) | set(task.answer)))
"""
RECIPE = """
name = "toy"

[model]
source = "model"
dtype = "float32"

[data.train]
generate = "words.py:say"
size = 40
seed = 1

[data.test]
generate = "words.py:say"
size = 6
seed = 2

[reward]
score = 'python("words.py:letters")'

[sampling]
max_tokens = 5

[[stage]]
name = "first"
algorithm = "sft"
steps = 2
tasks_per_step = 4
learning_rate = 1e-2

[[stage]]
name = "hone"
algorithm = "grpo"
steps = 2
tasks_per_step = 2
attempts = 2
settings = { kl = 0.0 }
learning_rate = 3e-3

[evaluation]
attempts = 2

[checkpoint]
every = 1
"""
EXPERIMENT = """
[experiment]
question = "Does the reward teach more than chance does?"
recipe = "toy.toml"
measure = "score"
smallest_effect = 0.05
seeds = 2
controls = ["random_reward"]

[arms.hone]
"""


def write(folder: Path, *, recipe: str = RECIPE, experiment: str = EXPERIMENT, model: bool = True) -> Path:
    """The files in a folder; gives the experiment's."""
    folder.mkdir(exist_ok=True)
    (folder / "words.py").write_text(WORDS)
    (folder / "toy.toml").write_text(recipe)
    (folder / "teach.toml").write_text(experiment)
    if model:
        tiny_folder(folder / "model")
    return folder / "teach.toml"
