"""Measures thoughts before every token of a text: all at once against one after the other, on SmolLM2-135M.

Run as ``python benchmarks/quiet_star.py``, for some minutes. One after the other is not slowed
down by what it need not do: the text's keys and values are computed once and kept for all thoughts that are drawn. In
learning each thought is a pass of its own, forward and backward, behind the tokens before it. The two alternate within
one run; one after the other, only some of the thoughts are timed, evenly over the text. Times are those of the
processor, on one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from generate import processor

from togi.algorithms import QuietSTaR
from togi.batch import collate
from togi.engines.thoughts import chances, think, thoughts_after
from togi.models.grown_trie import GrownTrie
from togi.models.load_model import load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.models.thought_head import new_head
from togi.types import Sample

ALGORITHM = QuietSTaR(length=8, ahead=4)
TIMED = 8  # places whose thoughts are made one after the other


def text(tokens: int, tokenizer: Any) -> Sample:
    """The beginning of this file."""
    ids = np.array(tokenizer.encode(Path(__file__).read_text(encoding="utf-8"))[:tokens])
    zeros = np.zeros(len(ids), np.float32)
    mask = np.arange(len(ids)) > 0
    return Sample(ids=ids, mask=mask, logp=zeros, reward=0.0, group=0, trajectory=0, task="", stop="eos", weight=1.0)


def timed(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


class Work:
    """A text whose thoughts are drawn and learned by a policy, at once or one after the other."""

    def __init__(self, tokens: int) -> None:
        loaded = load_model("smollm2-135m", dtype=torch.float32)
        self.head = new_head(loaded.model, ALGORITHM.thinking)
        self.policy = LocalPolicy(
            loaded.model, Optimiser(tokens_per_microbatch=4000), compute=torch.float32, thoughts=self.head
        )
        self.packed = self.policy.packed
        self.parts = ALGORITHM.prepare([text(tokens, loaded.tokenizer)])
        self.places = sum(len(part.thoughts.at_N) for part in self.parts if part.thoughts)
        self.drawn = self.draw()

    def draw(self) -> list[Sample]:
        return think(self.packed, self.head, self.parts, [1] * len(self.parts))

    def draw_one_by_one(self) -> float:
        """Seconds a thought."""
        ids = self.parts[0].ids
        trie = GrownTrie(self.packed, self.head.marks)
        (trunk,), _ = trie.begin([ids])
        count, spent = trie.count, []
        for at in self._some():
            chance_RL = chances(np.array([1], np.uint64), np.array([at]), ALGORITHM.length)
            spent.append(timed(partial(thoughts_after, trie, self.head, [trunk[:at]], chance_RL)))
            trie.forget(count)
        return statistics.mean(spent)

    def learn(self, samples: list[Sample]) -> None:
        said = self.policy.outputs(collate(samples), ALGORITHM.outputs).after_thoughts
        assert said is not None
        torch.autograd.backward(said.logp_BNPA.sum() + said.own_BNP.sum())
        for weight in (*self.policy.model.parameters(), *self.head.parameters()):
            weight.grad = None

    def learn_one_by_one(self) -> float:
        """Seconds a thought."""
        spent = []
        for at in self._some():
            part = next(part for part in self.drawn if part.thoughts and at in part.thoughts.at_N)
            assert part.thoughts is not None
            n = int(np.flatnonzero(part.thoughts.at_N == at)[0])
            ahead = int(part.thoughts.ahead_N[n])
            one = replace(
                part.thoughts,
                at_N=part.thoughts.at_N[n : n + 1],
                ahead_N=part.thoughts.ahead_N[n : n + 1],
                ids_NPL=part.thoughts.ids_NPL[n : n + 1, :1],
            )
            cut = slice(at + ahead)
            alone = replace(
                part, ids=part.ids[cut], mask=np.arange(at + ahead) == at, logp=part.logp[cut], thoughts=one
            )
            spent.append(timed(partial(self.learn, [alone])))
        return statistics.mean(spent)

    def _some(self) -> list[int]:
        return [round(at) for at in np.linspace(1, self.places, TIMED)]


def measure(tokens: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    work = Work(tokens)
    thoughts = work.places * ALGORITHM.thoughts
    times: dict[str, list[float]] = {"draw": [], "draw one by one": [], "learn": [], "learn one by one": []}
    for repeat in range(repeats + 1):
        spent = {
            "draw": timed(work.draw) / thoughts,
            "draw one by one": work.draw_one_by_one(),
            "learn": sum(timed(partial(work.learn, [part])) for part in work.drawn) / thoughts,
            "learn one by one": work.learn_one_by_one(),
        }
        if repeat:  # the first warms up
            for name, seconds in spent.items():
                times[name].append(seconds)
    middle = {name: statistics.median(each) for name, each in times.items()}
    return {
        "text_tokens": tokens,
        "thoughts": thoughts,
        "thought_tokens": ALGORITHM.length,
        "milliseconds_a_thought": {name: round(1000 * seconds, 2) for name, seconds in middle.items()},
        "ratio": {
            "draw": round(middle["draw one by one"] / middle["draw"], 2),
            "learn": round(middle["learn one by one"] / middle["learn"], 2),
            "both": round(
                (middle["draw one by one"] + middle["learn one by one"]) / (middle["draw"] + middle["learn"]), 2
            ),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=48, help="tokens of the text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quiet_star.json")
    given = parser.parse_args()
    found = measure(given.tokens, given.repeats)
    found |= {
        "processor": processor(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
