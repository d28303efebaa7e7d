"""What a policy loss costs: seconds of learning from one step's answers, each loss against plain GRPO in turn.

``python benchmarks/policy_losses.py [--rounds 5] [NAMES]`` on the bundled SmolLM2-135M: 4 groups of 8 answers of 64
tokens behind prompts of 64, one update. What a loss asks for beside the update (old log-probabilities, entropies) is
counted as well. Losses take turns in every round, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from togi.algorithms import ALGORITHMS, GRPO, PolicyGradient
from togi.batch import samples
from togi.models.load_model import load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.types import Group, Sample, Score, Task, Trajectory, Turn

GROUPS, ATTEMPTS, PROMPT, ANSWER = 4, 8, 64, 64
COMPOSED = [
    name
    for name, each in ALGORITHMS.items()
    if isinstance(each, PolicyGradient) and each.kl == 0 and each.heads == "none" and name not in ("remax", "rae")
]


def step(vocabulary: int, count: int = GROUPS) -> list[Sample]:
    dice = np.random.default_rng(0)
    groups = []
    for number in range(count):
        prompt = tuple(dice.integers(100, vocabulary, PROMPT).tolist())
        turns = [
            Turn(
                prompt=prompt,
                completion=tuple(dice.integers(100, vocabulary, ANSWER).tolist()),
                text="",
                stop="eos",
                logp=tuple((-11 + dice.normal(size=ANSWER)).tolist()),
            )
            for _ in range(ATTEMPTS)
        ]
        scores = [{"one": float(n % 2), "other": float(n % 3)} for n in range(ATTEMPTS)]
        groups.append(
            Group(
                task=Task(id=str(number), prompt=()),
                trajectories=tuple(Trajectory(turns=(turn,), stop="eos") for turn in turns),
                scores=tuple(Score(value=sum(each.values()), shares=each) for each in scores),
            )
        )
    return samples(groups)


def seconds(policy: LocalPolicy, drawn: list[Sample], algorithm: PolicyGradient) -> float:
    began = time.perf_counter()
    credited = algorithm.credit(policy.annotate(drawn, algorithm.needs), {})
    policy.learn(credited, algorithm)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=COMPOSED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    loaded = load_model(arguments.model)
    policy = LocalPolicy(loaded.model, Optimiser(learning_rate=1e-9), compute=torch.bfloat16)
    drawn = step(loaded.model.config.vocab_size)
    losses: dict[str, PolicyGradient] = {"plain": GRPO(kl=0.0)}
    for name in arguments.names:
        algorithm = ALGORITHMS[name]
        assert isinstance(algorithm, PolicyGradient), f"{name} is no policy gradient"
        losses[name] = replace(algorithm, drop_truncated=False)
    taken: dict[str, list[float]] = {name: [] for name in losses}
    for number in range(arguments.rounds + 1):
        for name, algorithm in losses.items():
            spent = seconds(policy, drawn, algorithm)
            if number:  # the first round warms up
                taken[name].append(spent)
    ratios = {
        name: statistics.median(a / b for a, b in zip(taken[name], taken["plain"], strict=True))
        for name in arguments.names
    }
    print(json.dumps({"seconds of plain GRPO": statistics.median(taken["plain"]), "times that": ratios}, indent=1))


if __name__ == "__main__":
    main()
