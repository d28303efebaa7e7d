"""Togi's side of ``grpo_step.py``: reads the work as JSON from standard input, prints what it measured as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence

import torch

from togi.algorithms.policy_gradient.grpo import GRPO
from togi.batch import samples
from togi.engines.native import NativeEngine
from togi.envs.chat import OneTurn
from togi.models.load_model import load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.models.trie import packed_length
from togi.rollout import Episodes
from togi.samplers import Groups
from togi.tokenization import Chat
from togi.types import Message, Sampling, Score, Task, Trajectory


def letters(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    """How often the letter e stands in an answer: cheap, and different for every attempt."""
    return [Score(value=float(trajectory.turns[0].text.count("e"))) for trajectory in trajectories]


def main() -> None:
    work = json.load(sys.stdin)
    torch.set_num_threads(work["threads"])
    loaded = load_model(sys.argv[1])
    # Two groups at a time: what fits 4 GB.
    optimiser = Optimiser(learning_rate=1e-6, tokens_per_microbatch=1200)
    policy = LocalPolicy(loaded.model, optimiser, compute=torch.bfloat16)
    engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
    episodes = Episodes(
        engine=engine,
        chat=Chat(loaded.tokenizer, loaded.eos_ids),
        env=OneTurn,
        reward=letters,
        sampling=Sampling(max_tokens=work["new_tokens"], ignore_eos=True),
    )
    tasks = [Task(id=str(i), prompt=(Message(role="user", content=text),)) for i, text in enumerate(work["prompts"])]
    algorithm = GRPO(sampler=Groups(work["attempts"]), kl=0.0)
    seconds, sampling = [], []
    for step in range(work["steps"] + 1):  # the first one warms up
        start = time.perf_counter()
        groups = algorithm.sampler(iter(tasks), len(tasks), episodes.at(step))
        sampled = time.perf_counter() - start
        made = algorithm.credit(samples(groups), {})
        metrics = policy.learn(made, algorithm)
        engine.sync(policy)
        if step:
            seconds.append(time.perf_counter() - start)
            sampling.append(sampled)
        assert metrics["skipped_steps"] == 0
        sampled_tokens = sum(len(t.turns[0].completion) for group in groups for t in group.trajectories)
        assert sampled_tokens == len(tasks) * work["attempts"] * work["new_tokens"]
    result = {
        "seconds": seconds,
        "sampling_seconds": sampling,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "parameters": loaded.parameters,
        "prompt_tokens": sum(len(group.trajectories[0].turns[0].prompt) for group in groups),
        "sampled_tokens": sampled_tokens,
        "learned_tokens": sum(packed_length(samples([group])) for group in groups),
        "metrics": dict(metrics),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
