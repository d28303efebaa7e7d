"""What sampling ahead saves: seconds of a step that samples at two engines for as long as it learns, with a staleness
of 0, 1 and 2.

``python benchmarks/staleness.py [--steps 8] [--model NAME]`` on the bundled SmolLM2-135M: 8 groups of 4 answers of 64
tokens, one update. Learning is real. The engines are made up: they wait as long as two engines of this speed would
take and give random tokens, since two that compute would take the processor from who learns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import torch

from togi.algorithms import GRPO
from togi.algorithms.policy_gradient.corrections import Truncated
from togi.batch import samples
from togi.envs.chat import OneTurn
from togi.models.load_model import load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.rollout import Episodes
from togi.samplers import Groups
from togi.samplers.ahead import Ahead, Pace, Place, Ready, Why
from togi.tokenization import Chat
from togi.types import Message, Prompt, Reading, Sampling, Score, Task, Trajectory, Turn

GROUPS, ATTEMPTS, ANSWER, ENGINES = 8, 4, 64, 2


class MadeUp:
    """Engines that take ``seconds`` for a group each, one group at a time."""

    def __init__(self, vocabulary: int) -> None:
        self.version, self.seconds = 0, 0.0
        self._vocabulary, self._free = vocabulary, threading.Semaphore(ENGINES)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        version = self.version
        with self._free:
            time.sleep(self.seconds)
        return [[self._turn(prompt, seed, version) for seed in prompt.seeds] for prompt in prompts]

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        raise NotImplementedError

    def sync(self, policy: object) -> None:
        raise NotImplementedError

    def _turn(self, prompt: Prompt, seed: int, version: int) -> Turn:
        completion = tuple(np.random.default_rng(seed).integers(100, self._vocabulary, ANSWER).tolist())
        logp = (-float(np.log(self._vocabulary)),) * ANSWER
        return Turn(prompt=prompt.ids, completion=completion, text="", stop="length", logp=logp, version=version)


class Nowhere:
    """Keeps no group: what a disk takes is not measured."""

    def found(self) -> dict[Place, Ready]:
        return {}

    def keep(self, place: Place, ready: Ready) -> None: ...

    def drop(self, place: Place, why: Why) -> None: ...


def every_other(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    return [Score(value=float(number % 2)) for number in range(len(trajectories))]


class Course:
    """Steps of one staleness."""

    def __init__(self, policy: LocalPolicy, engine: MadeUp, chat: Chat, staleness: int) -> None:
        self._policy, self._engine = policy, engine
        self._tasks = [
            Task(id=str(number), prompt=(Message(role="user", content=f"{number} + {number}?"),))
            for number in range(GROUPS)
        ]
        self._stream = cycle(self._tasks)
        self._play = Episodes(
            engine=engine, chat=chat, env=OneTurn, reward=every_other, sampling=Sampling(max_tokens=ANSWER)
        )
        self._algorithm = GRPO(sampler=Groups(ATTEMPTS), kl=0.0, correction=Truncated())
        pace = Pace(staleness=staleness, groups=GROUPS, steps=10**6)
        self._ahead = Ahead(self._algorithm.sampler, pace, self._play, Nowhere(), self._tasks, tell=print)
        self._step = 0

    def learn(self) -> None:
        groups = self._ahead(self._stream, GROUPS, self._play.at(self._step))
        credited = self._algorithm.credit(samples(groups), {})
        with self._ahead.meanwhile():
            self._policy.learn(credited, self._algorithm)
        self._engine.version = self._step = self._step + 1


def timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    loaded = load_model(arguments.model)
    policy = LocalPolicy(loaded.model, Optimiser(learning_rate=1e-9), compute=torch.bfloat16)
    chat, vocabulary = Chat(loaded.tokenizer, loaded.eos_ids), loaded.model.config.vocab_size
    alone = Course(policy, MadeUp(vocabulary), chat, 0)
    learning = min(timed(alone.learn) for _ in range(3))  # its engines take no time
    seconds: dict[int, list[float]] = {}
    for staleness in (0, 1, 2):
        engine = MadeUp(vocabulary)
        engine.seconds = learning * ENGINES / GROUPS
        course = Course(policy, engine, chat, staleness)
        course.learn()  # nothing was ahead of the first step
        seconds[staleness] = [timed(course.learn) for _ in range(arguments.steps)]
    medians = {staleness: statistics.median(each) for staleness, each in seconds.items()}
    result = {
        "seconds of learning, and of sampling at two engines": learning,
        "seconds of a step": medians,
        "times the step without staleness": {name: value / medians[0] for name, value in medians.items()},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
