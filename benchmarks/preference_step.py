"""Times a DPO step in Togi and in TRL on the same pairs, and a PPO step in Togi; states the machine's own limit.

Run as ``python benchmarks/preference_step.py MODEL``; nothing else should run. 16 pairs of 64 prompt tokens and two
answers of 64 tokens, full fine-tuning in bfloat16 arithmetic over float32 weights; on both sides log-probabilities
of the reference are computed before the steps that are timed. The PPO step samples 64 tokens for each of 32 prompts,
annotates them with reference and critic (a second model), and makes two updates. Each side runs in a
process of its own, in turn; the first step of a process warms up and is not counted. Options are those of
``grpo_step.py``.

The limit is the step's floating-point operations over the rate of a bfloat16 matrix product measured beside each side,
6 N for each distinct token learned from, N parameters; a prompt that two answers share counts once.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from generate import processor
from grpo_step import HERE, rate, side

PAIRS, PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS = 16, 32, 64, 64
SIDES = {"togi": "preference_step_togi.py", "trl": "preference_step_trl.py"}


def measure(source: str, pythons: dict[str, str], rounds: int, steps: int, threads: int, isa: str) -> dict[str, Any]:
    from togi.models.load_model import load_model

    work = {
        "pairs": PAIRS,
        "prompts": PROMPTS,
        "prompt_tokens": PROMPT_TOKENS,
        "answer_tokens": ANSWER_TOKENS,
        "steps": steps,
    }
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_model(source)
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        parameters = loaded.parameters
        del loaded
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        rates = []
        for _ in range(rounds):
            for name, script in SIDES.items():
                rates.append(rate(threads, isa))
                runs[name].append(side(pythons[name], script, Path(folder), work, threads, isa))
                print(f"{name}: {', '.join(f'{s:.1f}' for s in runs[name][-1]['dpo'])} s a step", file=sys.stderr)
    seconds = {name: statistics.median([s for run in each for s in run["dpo"]]) for name, each in runs.items()}
    learned = PAIRS * (PROMPT_TOKENS + 2 * ANSWER_TOKENS)
    limit = 6 * parameters * learned / statistics.median(rates)
    return {
        "machine": {"processor": processor(), "threads": threads, "isa": isa or "native"},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "trl": runs["trl"][0]["trl"]},
        "model": source,
        "work": {**work, "rounds": rounds},
        "dpo_seconds": seconds,
        "times_faster": seconds["trl"] / seconds["togi"],
        "peak_gb": {name: max(run["dpo_peak_gb"] for run in each) for name, each in runs.items()},
        "limit_seconds": limit,
        "share_of_limit": {name: limit / took for name, took in seconds.items()},
        "ppo_seconds": statistics.median([s for run in runs["togi"] for s in run["ppo"]]),
        "ppo_peak_gb": max(run["ppo_peak_gb"] for run in runs["togi"]),
        "rates": rates,
        "runs": runs,
    }


def show(result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(f"{result['model']}, {machine['threads']} threads of {machine['processor']}, instructions {machine['isa']}")
    print(f"{'':>12} {'seconds a step':>15} {'share of limit':>15} {'peak memory':>12}")
    for name in SIDES:
        took, share, peak = (result[key][name] for key in ("dpo_seconds", "share_of_limit", "peak_gb"))
        print(f"{'DPO, ' + name:>12} {took:15.2f} {share:15.1%} {peak:9.2f} GB")
    print(f"{'PPO, togi':>12} {result['ppo_seconds']:15.2f} {'':15} {result['ppo_peak_gb']:9.2f} GB")
    print(f"Togi's DPO step is {result['times_faster']:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--isa", default="")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "preference_step.json")
    given = parser.parse_args()
    pythons = {"togi": sys.executable, "trl": given.trl_python}
    result = measure(given.model, pythons, given.rounds, given.steps, given.threads, given.isa)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
