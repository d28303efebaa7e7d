"""Times one GRPO step (sample, score, learn) in Togi and in TRL on the same work, and states the machine's own limit.

Run as ``python benchmarks/grpo_step.py MODEL``; nothing else should run. Full fine-tuning in bfloat16 arithmetic over
float32 weights, in the shapes of ``SHAPES`` or in those that ``--shapes`` names; no completion ends early. Each side
runs in a process of its own, in turn, for some rounds, since a machine's speed drifts; the first step of a process
warms up and is not counted. ``--trl-python`` names the interpreter of an environment that has TRL (extra ``bench``).
``--isa`` caps the instruction set of both sides and of the rate, for example AVX512_CORE_BF16 on a processor with AMX.

The limit is the step's floating-point operations over the rate of a bfloat16 matrix product measured beside each side:
``2 N (prompt tokens + sampled tokens) + 6 N learned tokens``, N parameters; a shared prompt counts once a group, and
attention's operations count nothing.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from generate import processor

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The work of a step. Prompts of about 60 tokens, or with a story of so many sentences of 20 tokens before."""

    prompts: int
    attempts: int
    new_tokens: int
    sentences: int = 0


SHAPES = {
    "usual": Shape(prompts=8, attempts=8, new_tokens=64),
    "long answers": Shape(prompts=8, attempts=8, new_tokens=256),
    "very long answers": Shape(prompts=4, attempts=8, new_tokens=512),
    "long prompts": Shape(prompts=8, attempts=8, new_tokens=64, sentences=33),
    "many attempts": Shape(prompts=2, attempts=32, new_tokens=64),
}
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


def prompts(shape: Shape) -> list[str]:
    """Word problems, each behind a story of its own."""
    return [
        "".join(
            f"On day {number + day + 1} Anna walked {3 * day + number} miles past {day + 2} old farms to the market. "
            for day in range(shape.sentences)
        )
        + f"Anna has {number + 3} apples and {2 * number + 1} pears. She gives {number % 7} to a friend and buys "
        f"{number + 11} plums. How many fruits does she have?"
        for number in range(shape.prompts)
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


def measure(shape: Shape, model: Path, given: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {"togi": [], "trl": []}
    rates = []
    work = {**asdict(shape), "prompts": prompts(shape), "steps": given.steps}
    for _ in range(given.rounds):
        for name, python, script in (
            ("togi", sys.executable, "grpo_step_togi.py"),
            ("trl", given.trl_python, "grpo_step_trl.py"),
        ):
            rates.append(rate(given.threads, given.isa))
            runs[name].append(side(python, script, model, work, given.threads, given.isa))
            print(f"{name}: {', '.join(f'{s:.1f}' for s in runs[name][-1]['seconds'])} s a step", file=sys.stderr)
    own = runs["togi"][0]
    operations = 2 * own["parameters"] * (own["prompt_tokens"] + own["sampled_tokens"])
    operations += 6 * own["parameters"] * own["learned_tokens"]
    seconds = {name: statistics.median([s for run in each for s in run["seconds"]]) for name, each in runs.items()}
    limit = operations / statistics.median(rates)
    return {
        "work": {**asdict(shape), "rounds": given.rounds, "steps": given.steps},
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
    print("seconds a step (share of the limit, peak memory in GB); GFLOP/s of a bfloat16 product")
    print(f"{'':<18}{'Togi':>19}{'TRL':>20}{'ratio':>7}{'limit':>7}{'GFLOP/s':>9}")
    for name, one in result["shapes"].items():
        told = [
            f"{one['seconds'][side]:.1f} ({one['share_of_limit'][side]:.0%}, {one['peak_gb'][side]:.2f})"
            for side in ("togi", "trl")
        ]
        rated = one["bfloat16_rate"] / 1e9
        print(f"{name:<18}{told[0]:>19}{told[1]:>20}{one['times_faster']:7.2f}{one['limit_seconds']:7.1f}{rated:9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--isa", default="")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "grpo_step.json")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    given = parser.parse_args()
    from togi.models.load_model import load_model

    shapes = {}
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_model(given.model)
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        del loaded
        for name in given.shapes:
            print(f"{name}:", file=sys.stderr)
            shapes[name] = measure(SHAPES[name], Path(folder), given)
    trl = next(iter(shapes.values()))["runs"]["trl"][0]["trl"]
    result = {
        "machine": {"processor": processor(), "threads": given.threads, "isa": given.isa or "native"},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "trl": trl},
        "model": given.model,
        "shapes": shapes,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
