"""Times one GRPO step (sample, score, learn) in Togi and in TRL on the same work, and states the machine's own limit.

Run as ``python benchmarks/grpo_step.py MODEL``; nothing else should run. 8 prompts, 8 attempts each, 64 new tokens
each (never fewer), full fine-tuning in bfloat16 arithmetic over float32 weights. Each side runs in a process of its
own, in turn, for some rounds, since a machine's speed drifts; the first step of a process warms up and is not counted.
``--trl-python`` names the interpreter of an environment that has TRL (extra ``bench``). ``--isa`` caps the instruction
set of both sides and of the rate, for example AVX512_CORE_BF16 on a processor that has AMX.

The limit is the step's floating-point operations over the rate of a bfloat16 matrix product measured beside each side:
``2 N (prompt tokens + sampled tokens) + 6 N learned tokens``, N parameters; a shared prompt counts once a group.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from generate import processor

HERE = Path(__file__).parent
PROMPTS, ATTEMPTS, NEW_TOKENS = 8, 8, 64
RATE = """
import time, torch
torch.set_num_threads({threads})
a = torch.rand(2048, 2048).bfloat16()
times = []
for _ in range(12):
    start = time.perf_counter()
    a @ a
    times.append(time.perf_counter() - start)
print(2 * 2048**3 / min(times))
"""


def prompts() -> list[str]:
    """Word problems of about 50 tokens with the chat template's own."""
    return [
        f"Anna has {number + 3} apples and {2 * number + 1} pears. She gives {number % 7} apples to a friend and buys "
        f"{number + 11} plums. How many fruits does she have?"
        for number in range(PROMPTS)
    ]


def side(python: str, script: str, model: Path, work: dict[str, Any], threads: int, isa: str) -> dict[str, Any]:
    """One process of one side: seconds of each step, peak memory, what it counted."""
    done = subprocess.run(
        [python, str(HERE / script), str(model)],
        input=json.dumps({**work, "threads": threads}),
        env=environment(threads, isa),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def rate(threads: int, isa: str) -> float:
    """Operations a second of a bfloat16 matrix product, in a process of its own."""
    code = RATE.format(threads=threads)
    return float(subprocess.check_output([sys.executable, "-c", code], env=environment(threads, isa)))


def environment(threads: int, isa: str) -> dict[str, str]:
    changed = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **changed, **({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})}


def measure(source: str, trl_python: str, rounds: int, steps: int, threads: int, isa: str) -> dict[str, Any]:
    from togi.models.load_model import load_model

    with tempfile.TemporaryDirectory() as folder:
        loaded = load_model(source)
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        del loaded
        runs: dict[str, list[dict[str, Any]]] = {"togi": [], "trl": []}
        rates = []
        work = {"prompts": prompts(), "attempts": ATTEMPTS, "new_tokens": NEW_TOKENS, "steps": steps}
        for _ in range(rounds):
            for name, python, script in (
                ("togi", sys.executable, "grpo_step_togi.py"),
                ("trl", trl_python, "grpo_step_trl.py"),
            ):
                rates.append(rate(threads, isa))
                runs[name].append(side(python, script, Path(folder), work, threads, isa))
                print(f"{name}: {', '.join(f'{s:.1f}' for s in runs[name][-1]['seconds'])} s a step", file=sys.stderr)
    own = runs["togi"][0]
    operations = 2 * own["parameters"] * (own["prompt_tokens"] + own["sampled_tokens"])
    operations += 6 * own["parameters"] * own["learned_tokens"]
    seconds = {name: statistics.median([s for run in each for s in run["seconds"]]) for name, each in runs.items()}
    limit = operations / statistics.median(rates)
    return {
        "machine": {"processor": processor(), "threads": threads, "isa": isa or "native"},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "trl": runs["trl"][0]["trl"]},
        "model": source,
        "work": {"prompts": PROMPTS, "attempts": ATTEMPTS, "new_tokens": NEW_TOKENS, "rounds": rounds, "steps": steps},
        "seconds": seconds,
        "times_faster": seconds["trl"] / seconds["togi"],
        "peak_gb": {name: max(run["peak_gb"] for run in each) for name, each in runs.items()},
        "operations": operations,
        "bfloat16_rate": statistics.median(rates),
        "limit_seconds": limit,
        "share_of_limit": {name: limit / took for name, took in seconds.items()},
        "rates": rates,
        "runs": runs,
    }


def show(result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(f"{result['model']}, {machine['threads']} threads of {machine['processor']}, instructions {machine['isa']}")
    print(f"{'':>6} {'seconds a step':>15} {'share of limit':>15} {'peak memory':>12}")
    for name in ("togi", "trl"):
        took, share, peak = (result[key][name] for key in ("seconds", "share_of_limit", "peak_gb"))
        print(f"{name:>6} {took:15.2f} {share:15.1%} {peak:9.2f} GB")
    print(f"{'limit':>6} {result['limit_seconds']:15.2f}   at {result['bfloat16_rate'] / 1e9:.0f} GFLOP/s in bfloat16")
    print(f"Togi is {result['times_faster']:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--isa", default="")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "grpo_step.json")
    given = parser.parse_args()
    result = measure(given.model, given.trl_python, given.rounds, given.steps, given.threads, given.isa)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
