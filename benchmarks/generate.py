"""Measures generated tokens a second against transformers ``generate``, both on the same module in bfloat16.

Run as ``python benchmarks/generate.py MODEL`` with a folder, a .gguf file or a bundled name; nothing else should run.
The two sides alternate within one run, since a machine's speed drifts; ratios are of medians.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from togi.engines.native import NativeEngine
from togi.models.load_model import load_model
from togi.types import Prompt, Sampling

NEW_TOKENS = 64
PROMPT_TOKENS = 50


def prompts_of(tokenizer: transformers.PreTrainedTokenizerBase, prompts: int, attempts: int) -> list[Prompt]:
    """Different word problems, cut to about PROMPT_TOKENS tokens but not to one length."""
    found = []
    for number in range(prompts):
        text = (
            f"Anna has {number + 3} apples, {2 * number + 1} pears and a basket. She gives {number % 7} apples to each "
            f"of her {number % 5 + 2} friends, buys {number + 11} plums at the market, and wants to know how many "
            "pieces of fruit are in the basket in the evening, when nobody has eaten anything at all."
        )
        ids = tuple(tokenizer(text)["input_ids"])[: PROMPT_TOKENS - number % 8]
        found.append(Prompt(ids=ids, seeds=tuple(range(number * attempts, (number + 1) * attempts))))
    return found


def peer(model: transformers.PreTrainedModel, prompts: list[Prompt]) -> int:
    """Transformers' own sampling of the same rows, left-padded, at temperature 1; gives the tokens drawn."""
    rows = [prompt.ids for prompt in prompts for _ in prompt.seeds]
    width = max(map(len, rows))
    ids = torch.tensor([(0,) * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        pad_token_id=0,
    )
    return (out.shape[1] - width) * len(rows)


def own(engine: NativeEngine, prompts: list[Prompt]) -> int:
    turns = engine.generate(prompts, Sampling(max_tokens=NEW_TOKENS, ignore_eos=True))
    return sum(len(turn.completion) for each in turns for turn in each)


def seconds(call: Callable[[], int], want: int) -> float:
    start = time.perf_counter()
    assert call() == want
    return time.perf_counter() - start


def processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    told = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", told.read_text()) if told.exists() else []
    return names[0] if names else platform.machine()


def measure(source: str, repeats: int, threads: int) -> dict[str, Any]:
    """Every case with both sides in turn; tokens a second by the median time."""
    torch.set_num_threads(threads)
    loaded = load_model(source, dtype=torch.bfloat16)
    engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids, batch_size=64)
    cases = {}
    for name, count, attempts in (("1", 1, 1), ("16", 16, 1), ("64", 64, 1), ("8 prompts x 8 attempts", 8, 8)):
        prompts = prompts_of(loaded.tokenizer, count, attempts)
        tokens = count * attempts * NEW_TOKENS
        times: dict[str, list[float]] = {"togi": [], "transformers": []}
        for repeat in range(repeats + 1):  # the first round warms up
            for side, run in (("togi", partial(own, engine)), ("transformers", partial(peer, loaded.model))):
                took = seconds(partial(run, prompts), tokens)
                if repeat:
                    times[side].append(took)
        rate = {side: tokens / statistics.median(took) for side, took in times.items()}
        cases[name] = {"tokens_per_second": rate, "ratio": rate["togi"] / rate["transformers"], "seconds": times}
    return {
        "machine": {"processor": processor(), "threads": threads},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "model": source,
        "dtype": "bfloat16",
        "new_tokens": NEW_TOKENS,
        "cases": cases,
    }


def show(result: dict[str, Any]) -> None:
    machine, versions = result["machine"], result["versions"]
    print(f"{result['model']} in {result['dtype']}, {machine['threads']} threads of {machine['processor']}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{'batch':>24} {'togi tok/s':>12} {'transformers tok/s':>20} {'ratio':>7}")
    for name, case in result["cases"].items():
        rate = case["tokens_per_second"]
        print(f"{name:>24} {rate['togi']:12.0f} {rate['transformers']:20.0f} {case['ratio']:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "generate.json")
    given = parser.parse_args()
    result = measure(given.model, given.repeats, given.threads)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
