"""Measures vLLM as an engine: completions through Togi against vLLM alone, and how long new weights take to reach it.

Run as ``python benchmarks/vllm.py MODEL --python vllm-env/bin/python``; nothing else should run. 64 prompts get 64 new
tokens each, with the log-probability of every token, in bfloat16. Alone, vLLM is asked in its own process, by its own
class, which speaks no HTTP. The two hold their models at the same time and draw in turn; ratios are of medians. New
weights are all of the model's, written, checked, taken and tried, from one step of the run to the next.
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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from generate import NEW_TOKENS, processor, prompts_of

from togi.engines.engine_choice import EngineChoice, WithVLLM
from togi.engines.open_engine import open_engine, opened_beside
from togi.launch.local import LocalLauncher
from togi.models.load_model import Loaded, load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.protocols import LocalEngine
from togi.types import Sampling

HERE = Path(__file__).parent
PROMPTS, UPDATES = 64, 5
DRAWS = Sampling(max_tokens=NEW_TOKENS, ignore_eos=True)
ALONE = """
import json, os, sys, time
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    folder, new_tokens, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints is no answer
    model = LLM(
        folder, dtype="bfloat16", enforce_eager=True, max_model_len=context, max_num_seqs=64,
        generation_config="vllm", logprobs_mode="processed_logprobs",
    )
    for line in sys.stdin:
        prompts = [{"prompt_token_ids": ids} for ids in json.loads(line)]
        sampling = SamplingParams(max_tokens=new_tokens, ignore_eos=True, logprobs=0, detokenize=False)
        model.reset_prefix_cache()
        begun = time.perf_counter()
        drawn = model.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - begun
        tokens = sum(len(each.outputs[0].token_ids) for each in drawn)
        print(json.dumps({"seconds": seconds, "tokens": tokens}), file=told, flush=True)
"""


class Alone:
    """vLLM in a process that draws what it is told to."""

    def __init__(self, python: Path, folder: Path, script: Path, context: int) -> None:
        script.write_text(ALONE, encoding="utf-8")
        self._process = subprocess.Popen(
            [python, script, folder, str(NEW_TOKENS), str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, prompts: Sequence[Sequence[int]]) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([list(ids) for ids in prompts]), file=self._process.stdin, flush=True)
        told = json.loads(self._process.stdout.readline())
        assert told["tokens"] == len(prompts) * NEW_TOKENS
        return float(told["seconds"])

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(source: str, python: Path, rounds: int) -> dict[str, Any]:
    loaded = load_model(source, dtype=torch.bfloat16)
    choice = EngineChoice(batch_size=PROMPTS, vllm=WithVLLM(python=python))
    with tempfile.TemporaryDirectory() as folder:
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        alone = Alone(python, Path(folder), Path(folder, "alone.py"), loaded.context)
        with opened_beside(choice, 1, LocalLauncher(), Path(folder, "engines"), told) as chosen:
            engine = open_engine(loaded, chosen)
            times = in_turn(engine, alone, loaded, rounds)
            alone.end()
            updates = updated(engine, LocalPolicy(loaded.model, Optimiser(), compute=torch.bfloat16))
    rate = {side: PROMPTS * NEW_TOKENS / statistics.median(each) for side, each in times.items()}
    return {
        "machine": {"processor": processor(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "vllm": vllm_version(python)},
        "model": source,
        "work": {"prompts": PROMPTS, "new_tokens": NEW_TOKENS, "dtype": "bfloat16"},
        "tokens_per_second": rate,
        "ratio": rate["togi"] / rate["vllm"],
        "seconds": times,
        "update_seconds": updates,
    }


def told(kind: str, **details: Any) -> None:
    print(kind, details, file=sys.stderr)


def in_turn(engine: LocalEngine, alone: Alone, loaded: Loaded, rounds: int) -> dict[str, list[float]]:
    """Seconds of both sides, for prompts that are new in each round, so that no prefix cache knows them."""
    times: dict[str, list[float]] = {"togi": [], "vllm": []}
    for round_ in range(rounds + 1):  # the first one warms up
        asked = prompts_of(loaded.tokenizer, PROMPTS, 1)
        prompts = [replace(each, ids=(1000 + round_, *each.ids)) for each in asked]
        begun = time.perf_counter()
        engine.generate(prompts, DRAWS)
        took = {"togi": time.perf_counter() - begun, "vllm": alone.seconds([each.ids for each in prompts])}
        for side, each in took.items():
            times[side] += [each] * bool(round_)
    return times


def updated(engine: LocalEngine, policy: LocalPolicy) -> list[float]:
    """Seconds from the end of a step until its weights are drawn from."""
    seconds = []
    for update in range(UPDATES + 1):  # the first one warms up
        with torch.no_grad():
            next(policy.model.parameters()).mul_(1.01)  # weights that are as they were would not be sent
        policy.step = update + 1
        engine.sync(policy)
        begun = time.perf_counter()
        engine.generate([], DRAWS)
        seconds += [time.perf_counter() - begun] * bool(update)
    return seconds


def vllm_version(python: Path) -> str:
    code = "import importlib.metadata as m; print(*(d.version for d in m.distributions() if d.name.startswith('vllm')))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "vllm.json")
    given = parser.parse_args()
    result = measure(given.model, given.python, given.rounds)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
