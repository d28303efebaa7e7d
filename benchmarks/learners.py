"""What several learners are worth on the cores of one machine: a step of learning by one process on all of them, and by
several that share them.

``python benchmarks/learners.py [--learners 2] [--rounds 3] [--out FILE]`` on the bundled SmolLM2-135M in bfloat16: 8
groups of 8 answers of 64 tokens behind prompts of 64, learned from in one update, nothing sampled. The two take turns,
so that a machine that slows down slows both. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from generate import processor
from policy_losses import step
from torch.distributed import FileStore  # type: ignore[attr-defined]

from togi.algorithms import GRPO
from togi.learners.following import obey
from togi.models.load_model import load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.models.ranks import ALONE, Ranks, Together
from togi.types import Sample

GROUPS = 8
PLAIN = GRPO(kl=0.0)


def policy(source: str, ranks: Ranks) -> LocalPolicy:
    return LocalPolicy(load_model(source).model, Optimiser(learning_rate=1e-9), compute=torch.bfloat16, ranks=ranks)


def seconds(learner: LocalPolicy, drawn: list[Sample]) -> float:
    began = time.perf_counter()
    learner.learn(drawn, PLAIN)
    return time.perf_counter() - began


def gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measured(arguments: argparse.Namespace, ranks: Together) -> dict[str, Any]:
    alone = policy(arguments.model, ALONE)
    drawn = PLAIN.credit(step(alone.model.config.vocab_size, GROUPS), {})  # type: ignore[union-attr, arg-type]
    seconds(alone, drawn)
    memory_alone = gigabytes()
    together = policy(arguments.model, ranks)
    seconds(together, drawn)
    taken = [(seconds(alone, drawn), seconds(together, drawn)) for _ in range(arguments.rounds)]
    ranks.lead("end")
    return {
        "processor": processor(),
        "cores": torch.get_num_threads(),
        "learners": ranks.count,
        "seconds": {
            "one process on all cores": statistics.median(one for one, _ in taken),
            "several that share them": statistics.median(several for _, several in taken),
        },
        "times as long": statistics.median(several / one for one, several in taken),
        "gigabytes of the one": memory_alone,
    }


def follow(source: str, ranks: Together) -> None:
    learner = policy(source, ranks)
    while (order := ranks.hear()).verb != "end":
        obey(learner, order, PLAIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    count, threads = arguments.learners, max(1, torch.get_num_threads() // arguments.learners)
    with tempfile.TemporaryDirectory() as place:
        # Made before anything is computed: a process with threads is not to be copied.
        rank = next((number for number in range(1, count) if os.fork() == 0), 0)
        store = FileStore(f"{place}/store", count)
        ranks = Together(store, rank, count, cards=False, threads=threads)
        if rank:
            torch.set_num_threads(threads)
            follow(arguments.model, ranks)
            print(json.dumps({"learner": rank, "gigabytes": gigabytes()}), flush=True)
            os._exit(0)
        result = measured(arguments, ranks)
        for _ in range(1, count):
            os.wait()
    told = json.dumps(result, indent=1)
    print(told)
    if arguments.out:
        arguments.out.write_text(told + "\n")


if __name__ == "__main__":
    main()
