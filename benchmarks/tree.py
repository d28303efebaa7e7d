"""Counts the tokens that trees of attempts save, in sampling and in learning, against as many attempts side by side.

Run as ``python benchmarks/tree.py MODEL``; it counts what the module is given, so that other programs may run. Tasks
are word problems. Learning is counted in a forward pass over the micro-batches that a step of training would have.
``spo`` is compared with itself where every beginning is computed anew.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch

from togi import batch
from togi.engines.native import NativeEngine
from togi.envs import OneTurn
from togi.models.load_model import Loaded, load_model
from togi.models.microbatch import microbatches
from togi.models.packing import PackedModel
from togi.protocols import Sampler
from togi.rollout import Episodes
from togi.samplers import EntropyTree, Groups, LevelTree, SegmentTree, ValuedSegments
from togi.tokenization import Chat
from togi.types import Group, Message, Sampling, Score, Task, Trajectory

HERE = Path(__file__).parent


class Forgetful(NativeEngine):
    """Keeps nothing from one call to the next."""

    def keeping(self) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True)
class Arm:
    sampler: Sampler
    against: str = ""
    forgets: bool = False


def arms(tokens: int) -> dict[str, Arm]:
    values = ValuedSegments(n=4, continuations=4, cutpoints=8)
    return {
        "16 side by side": Arm(Groups(16)),
        "30 side by side": Arm(Groups(30)),
        "treerl, 4 attempts with 3 forks": Arm(EntropyTree(n=4, forks=3, arms=1), "16 side by side"),
        "treerl, 6 attempts with 2 forks of 2": Arm(EntropyTree(), "30 side by side"),
        "treepo, 16 attempts of 8 segments": Arm(SegmentTree(n=16, segment=tokens // 8), "16 side by side"),
        "treepo, 16 attempts of 6 segments": Arm(SegmentTree(n=16, segment=tokens // 6), "16 side by side"),
        "spo_tree, 2 branches on 4 levels": Arm(LevelTree(n=2, levels=4, segment=tokens // 6), "16 side by side"),
        "spo, computed anew": Arm(values, forgets=True),
        "spo": Arm(values, "spo, computed anew"),
    }


def tasks() -> Iterator[Task]:
    dice = random.Random(0)
    for number in count():
        a, b, c = (dice.randint(3, 60) for _ in range(3))
        text = (
            f"Anna has {a} apples and buys {b} more at the market. She gives {c} of them to her neighbour and wants to "
            "know how many are left. Think step by step, one step a line."
        )
        yield Task(id=str(number), prompt=(Message(role="user", content=text),))


def nothing(task: Task, attempts: Sequence[Trajectory]) -> list[Score]:
    return [Score(value=0.0) for _ in attempts]


class Counter:
    """Tokens that a model's layers were given."""

    def __init__(self, loaded: Loaded) -> None:
        self.tokens = 0
        loaded.model.get_decoder().register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: torch.nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        ids, rows = named.get("input_ids"), named.get("inputs_embeds")
        self.tokens += ids.numel() if ids is not None else rows[..., 0].numel()

    def of(self, work: Callable[[], Any]) -> int:
        before = self.tokens
        work()
        return self.tokens - before


def measured(arm: Arm, loaded: Loaded, counter: Counter, given: argparse.Namespace) -> dict[str, float]:
    engine = (Forgetful if arm.forgets else NativeEngine)(loaded.model, loaded.tokenizer, loaded.eos_ids)
    sampling = Sampling(max_tokens=given.tokens, ignore_eos=given.full)
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    play = Episodes(engine=engine, chat=chat, env=OneTurn, reward=nothing, sampling=sampling)
    groups: list[Group] = []
    computed = counter.of(lambda: groups.extend(arm.sampler(tasks(), given.tasks, play)))
    samples = batch.samples(groups)
    leaves = len({sample.ids.tobytes() for sample in samples})
    model = PackedModel(loaded.model)

    def forward() -> None:
        with torch.no_grad():
            for part in microbatches(samples, given.microbatch):
                model(batch.collate([samples[i] for i in part]))

    return {
        "leaves": leaves,
        "tokens_of_a_leaf": sum(int(sample.mask.sum()) for sample in samples) / len(samples),
        "sampling": computed / leaves,
        "learning": counter.of(forward) / leaves,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128, help="of an answer at most")
    parser.add_argument("--full", action="store_true", help="answers of no fewer tokens")
    parser.add_argument("--microbatch", type=int, default=2400, help="tokens learned together")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tree.json")
    given = parser.parse_args(arguments)
    loaded = load_model(given.model, dtype=torch.bfloat16)
    counter, found = Counter(loaded), dict[str, dict[str, float]]()
    for name, arm in arms(given.tokens).items():
        found[name] = measured(arm, loaded, counter, given)
        against = found.get(arm.against)
        for what in ("sampling", "learning") if against else ():
            found[name][f"fewer_in_{what}"] = 1 - found[name][what] / against[what]
        print(name, {key: round(value, 3) for key, value in found[name].items()}, flush=True)
    result = {
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "model": given.model,
        "work": {key: getattr(given, key) for key in ("tasks", "tokens", "full", "microbatch")},
        "tokens_a_leaf": found,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
