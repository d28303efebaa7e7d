"""Measures episodes of many turns: in Togi, in lock-step with each turn's prompt computed anew, and in TRL.

Run as ``python benchmarks/conversation.py MODEL``; nothing else should run. 8 tasks are attempted 8 times each, over 8
turns, with replies of about 25 tokens, behind a prompt of about 150. In ``equal`` each turn has 32 tokens, and the
environment answers at once. In ``slow`` turns end by themselves, after about 32 tokens, and each answer takes 50 to 200
ms; there Togi is measured with one answer after another as well, and with 16 threads. All of Togi's draw from the same
seeds in bfloat16; the sides alternate within one run, and ratios are of medians. Tokens computed are counted in the
module's calls. ``--trl-python`` names the interpreter of an environment that has TRL (extra ``bench``).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from generate import processor

from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded, load_model
from togi.protocols import Engine, Env
from togi.rollout import Episodes
from togi.tokenization import Chat
from togi.types import Beside, Limits, Message, Prompt, Question, Sampling, Task, Turn

HERE = Path(__file__).parent
TASKS, ATTEMPTS, TURNS, NEW_TOKENS = 8, 8, 8, 32
STORY = "The keeper of the tower walks down to the harbour, counts the boats, and writes their names into her book. "
THREADS = 16


class Told(Env):
    """Says something new each turn."""

    def __init__(self, task: Task) -> None:
        self.task, self.turn = task, 0

    def start(self) -> tuple[Message, ...]:
        return self.task.prompt

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self.turn += 1
        return (Message(role="user", content=reply(self.turn)),), 0.0, self.turn == TURNS

    def close(self) -> None: ...


class Slow(Told):
    """Takes 50 to 200 ms for an answer, as the task and the turn say."""

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        time.sleep(Random(f"{self.task.id} {self.turn}").uniform(0.05, 0.2))
        return super().step(message)


@dataclass
class Anew:
    """The engine without conversations: all turns are drawn that come next, and nothing is kept between them."""

    engine: NativeEngine
    version: int = 0

    def generate(self, prompts: list[Prompt], sampling: Sampling, progress: Any = None) -> list[list[Turn]]:
        return self.engine.generate(prompts, sampling, progress)


@dataclass
class Sides:
    """How each side plays all episodes, in seconds, and the tokens that it computed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def told(self, best: str) -> dict[str, Any]:
        medians = {name: statistics.median(each) for name, each in self.seconds.items()}
        faster = {name: each / medians[best] for name, each in medians.items() if name != best}
        return {"seconds": self.seconds, "tokens_computed": self.tokens, "times_as_fast_as": faster}


def reply(turn: int) -> str:
    return f"Turn {turn} of the game: {STORY[: 20 + 10 * turn]}"


def prompts() -> list[str]:
    return [f"Game {number}. " + STORY * 5 for number in range(TASKS)]


def played(engine: Engine, chat: Chat, *, slow: bool = False, threads: int = 0, turns: int | None = None) -> float:
    """Seconds of all episodes, over so many turns."""
    turns = turns or TURNS
    tasks = [
        Task(id=str(number), prompt=(Message(role="user", content=text),)) for number, text in enumerate(prompts())
    ]
    play = Episodes(
        engine=engine,
        chat=chat,
        env=Slow if slow else Told,
        reward=None,
        sampling=Sampling(max_tokens=4 * NEW_TOKENS if slow else NEW_TOKENS, ignore_eos=not slow),
        limits=Limits(turns=turns),
        beside=Beside(threads=threads, seconds=60) if threads else None,
    )
    start = time.perf_counter()
    attempts = play.attempts([Question(task=task, attempts=ATTEMPTS) for task in tasks])
    assert all(len(each.turns) == turns for given in attempts for each in given)
    return time.perf_counter() - start


def measured(loaded: Loaded, sides: dict[str, Callable[[], float]], rounds: int) -> Sides:
    """All sides in turn. TRL counts no tokens: it runs elsewhere."""
    found, computed = Sides(), 0

    def count(module: torch.nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        nonlocal computed
        computed += named["input_ids"].numel()

    hook = loaded.model.register_forward_pre_hook(count, with_kwargs=True)
    for _ in range(rounds):
        for name, side in sides.items():
            computed = 0
            found.seconds.setdefault(name, []).append(side())
            if computed:
                found.tokens[name] = computed
            print(f"{name}: {found.seconds[name][-1]:.1f} s, {computed} tokens", flush=True)
    hook.remove()
    return found


def in_trl(python: str, folder: str, threads: int) -> float:
    work = {
        "threads": threads,
        "prompts": prompts(),
        "attempts": ATTEMPTS,
        "turns": TURNS,
        "new_tokens": NEW_TOKENS,
        "replies": [reply(turn) for turn in range(1, TURNS + 1)],
    }
    command = [python, str(HERE / "conversation_trl.py"), folder]
    done = subprocess.run(command, input=json.dumps(work), text=True, capture_output=True, check=True)
    seconds: list[float] = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
    return seconds[0]


def ending(loaded: Loaded) -> frozenset[int]:
    """Tokens of which the model draws one after about 32: so its turns have different lengths."""
    return frozenset(range(0, loaded.model.config.vocab_size, NEW_TOKENS)) | loaded.eos_ids


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "conversation.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    loaded = load_model(given.model, dtype=torch.bfloat16)
    chat, rows = Chat(loaded.tokenizer, loaded.eos_ids), TASKS * ATTEMPTS
    engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids, batch_size=rows)
    played(engine, chat, turns=1)  # what is compiled and found out once
    equal: dict[str, Callable[[], float]] = {
        "togi": lambda: played(engine, chat),
        "anew in lock-step": lambda: played(Anew(engine), chat),
    }
    with tempfile.TemporaryDirectory() as folder:
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        equal["trl"] = lambda: in_trl(given.trl_python, folder, given.threads)
        even = measured(loaded, equal, given.rounds)
    uneven = NativeEngine(loaded.model, loaded.tokenizer, ending(loaded), batch_size=rows)
    slow: dict[str, Callable[[], float]] = {
        f"togi, {THREADS} threads": lambda: played(uneven, chat, slow=True, threads=THREADS),
        "togi, one after another": lambda: played(uneven, chat, slow=True),
        "anew in lock-step": lambda: played(Anew(uneven), chat, slow=True),
    }
    late = measured(loaded, slow, given.rounds)
    result = {
        "machine": {"processor": processor(), "threads": given.threads},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "model": given.model,
        "work": {"tasks": TASKS, "attempts": ATTEMPTS, "turns": TURNS, "new_tokens": NEW_TOKENS},
        "equal": even.told("togi"),
        "slow": late.told(f"togi, {THREADS} threads"),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
