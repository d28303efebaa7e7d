"""Togi's side of ``preference_step.py``: reads the work as JSON from standard input, prints what it measured as JSON.

Each kind of step runs in a child process, so that each has a peak memory of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from togi.algorithms import ALGORITHMS
from togi.batch import minibatches, samples
from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded, load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.types import Group, Prompt, Sampling, Score, Task, Trajectory, Turn


def ids(generator: np.random.Generator, count: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(generator.integers(100, vocabulary, count).tolist())


def dpo(work: dict[str, Any], loaded: Loaded) -> Callable[[], None]:
    """One update from pairs whose reference log-probabilities are at hand."""
    vocabulary, generator = loaded.model.config.vocab_size, np.random.default_rng(0)
    groups = []
    for number in range(work["pairs"]):
        prompt = ids(generator, work["prompt_tokens"], vocabulary)
        answers = [ids(generator, work["answer_tokens"], vocabulary) for _ in range(2)]
        trajectories = tuple(
            Trajectory(turns=(Turn(prompt=prompt, completion=answer, text="", stop="eos"),), stop="eos")
            for answer in answers
        )
        groups.append(
            Group(
                task=Task(id=str(number), prompt=()),
                trajectories=trajectories,
                scores=(Score(value=1.0), Score(value=0.0)),
            )
        )
    algorithm = ALGORITHMS["dpo"]
    policy = LocalPolicy(loaded.model, Optimiser(learning_rate=1e-6), compute=torch.bfloat16)
    known = policy.annotate(samples(groups), frozenset({"old_logp"}))
    credited = algorithm.credit([replace(sample, ref_logp=sample.old_logp, old_logp=None) for sample in known], {})

    def step() -> None:
        assert policy.learn(credited, algorithm)["skipped_steps"] == 0

    return step


def ppo(work: dict[str, Any], loaded: Loaded) -> Callable[[], None]:
    """Sample, annotate, credit and two updates."""
    vocabulary, generator = loaded.model.config.vocab_size, np.random.default_rng(0)
    algorithm = ALGORITHMS["ppo"]
    policy = LocalPolicy(
        loaded.model,
        Optimiser(learning_rate=1e-6),
        compute=torch.bfloat16,
        reference="copy",
        heads=algorithm.heads,
    )
    engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
    prompts = [
        Prompt(ids=ids(generator, work["prompt_tokens"], vocabulary), seeds=(number,))
        for number in range(work["prompts"])
    ]
    sampling = Sampling(max_tokens=work["answer_tokens"], ignore_eos=True)

    def step() -> None:
        turns = engine.generate(prompts, sampling)
        groups = [
            Group(
                task=Task(id=str(number), prompt=()),
                trajectories=(Trajectory(turns=(turn,), stop="eos"),),
                scores=(Score(value=float(turn.text.count("e"))),),
            )
            for number, [turn] in enumerate(turns)
        ]
        annotated = policy.annotate(samples(groups), algorithm.needs | {"old_logp"})
        for part in minibatches(algorithm.credit(annotated, {}), 2, algorithm.unit):
            assert policy.learn(part, algorithm)["skipped_steps"] == 0
        engine.sync(policy)

    return step


def timed(kind: str, work: dict[str, Any], model: str) -> dict[str, Any]:
    torch.set_num_threads(work["threads"])
    step = {"dpo": dpo, "ppo": ppo}[kind](work, load_model(model))
    seconds = []
    for number in range(work["steps"] + 1):  # the first one warms up
        start = time.perf_counter()
        step()
        if number:
            seconds.append(time.perf_counter() - start)
    return {kind: seconds, f"{kind}_peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def main() -> None:
    text = sys.stdin.read()
    if len(sys.argv) == 3:
        print(json.dumps(timed(sys.argv[2], json.loads(text), sys.argv[1])))
        return
    result: dict[str, Any] = {}
    for kind in ("dpo", "ppo"):
        command = [sys.executable, __file__, sys.argv[1], kind]
        done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True)
        result |= json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
