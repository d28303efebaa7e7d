"""Measures episodes of many turns: with keys and values kept between turns, and with each turn's prompt computed anew.

Run as ``python benchmarks/conversation.py MODEL``; nothing else should run. 8 tasks are attempted 8 times each, over 8
turns of 32 tokens and replies of about 25, behind a prompt of about 150; no turn ends early. Both ways draw from the
same seeds in bfloat16, and alternate within one run; the ratio is of medians. Tokens computed are counted in the
module's calls.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from generate import processor

from togi.engines.native import NativeEngine
from togi.models.load_model import load_model
from togi.protocols import Engine, Env
from togi.rollout import Episodes
from togi.tokenization import Chat
from togi.types import Message, Prompt, Question, Sampling, Task, Turn

HERE = Path(__file__).parent
TASKS, ATTEMPTS, TURNS, NEW_TOKENS = 8, 8, 8, 32
STORY = "The keeper of the tower walks down to the harbour, counts the boats, and writes their names into her book. "


class Told(Env):
    """Says something new each turn."""

    def __init__(self, task: Task) -> None:
        self.task, self.turn = task, 0

    def start(self) -> tuple[Message, ...]:
        return self.task.prompt

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self.turn += 1
        said = f"Turn {self.turn} of task {self.task.id}: {STORY[: 20 + 10 * self.turn]}"
        return (Message(role="user", content=said),), 0.0, self.turn == TURNS

    def close(self) -> None: ...


@dataclass
class Anew:
    """The engine without what it keeps between turns."""

    engine: NativeEngine
    version: int = 0

    def generate(self, prompts: list[Prompt], sampling: Sampling, progress: Any = None) -> list[list[Turn]]:
        return self.engine.generate(prompts, sampling, progress)


def played(engine: Engine, chat: Chat) -> float:
    """Seconds of all episodes."""
    tasks = [
        Task(id=str(number), prompt=(Message(role="user", content=f"Game {number}. " + STORY * 5),))
        for number in range(TASKS)
    ]
    sampling = Sampling(max_tokens=NEW_TOKENS, ignore_eos=True)
    play = Episodes(engine=engine, chat=chat, env=Told, reward=None, sampling=sampling)
    start = time.perf_counter()
    attempts = play.attempts([Question(task=task, attempts=ATTEMPTS) for task in tasks])
    assert all(len(each.turns) == TURNS for given in attempts for each in given)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=HERE / "results" / "conversation.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = load_model(given.model, dtype=torch.bfloat16)
    engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids, batch_size=TASKS * ATTEMPTS)
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    computed = 0

    def count(module: torch.nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        nonlocal computed
        computed += named["input_ids"].numel()

    loaded.model.register_forward_pre_hook(count, with_kwargs=True)
    sides: dict[str, Any] = {"kept": engine, "anew": Anew(engine)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    tokens = {}
    for _ in range(given.rounds):
        for name, side in sides.items():
            computed = 0
            seconds[name].append(played(side, chat))
            tokens[name] = computed
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    result = {
        "machine": {"processor": processor(), "threads": given.threads},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "model": given.model,
        "work": {"tasks": TASKS, "attempts": ATTEMPTS, "turns": TURNS, "new_tokens": NEW_TOKENS},
        "seconds": seconds,
        "tokens_computed": tokens,
        "times_faster": medians["anew"] / medians["kept"],
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
