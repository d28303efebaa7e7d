"""Measures what a jail costs: milliseconds for canonical solutions of HumanEval with all of their tests, by tier.

Run as ``python benchmarks/sandbox.py``, for about a minute; nothing else should run. Every fourth solution is run, and
the tiers alternate within one run. "one" is a program after the other, "many" as many side by side as there are cores,
as rewards are graded; the plain interpreter is timed beside them. Then calls a second of a grader that costs next to
nothing, in a worker, and each in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from generate import processor

from togi.rewards.code import code, humaneval
from togi.sandbox.box import Tier
from togi.sandbox.tiers.choose_tier import available, cores, open_box
from togi.sandbox.workers.pool import Pool, why_no_jail
from togi.types import Task, Trajectory, Turn

STRIDE = 4  # of HumanEval's 164 problems
GRADED = {"text": "<think>6 * 7</think><answer>42</answer>", "tag": "answer", "marker": ""}


def tasks() -> list[Task]:
    return [
        Task(id=row["task_id"], prompt=(), answer=row["answer"], info={"reference": row["reference"]})
        for row in list(humaneval.rows())[::STRIDE]
    ]


def answer(task: Task) -> Trajectory:
    text = f"```python\n{task.info['reference']}\n```"
    return Trajectory(turns=(Turn(prompt=(1,), completion=(2,), text=text, stop="eos"),), stop="eos")


def milliseconds(tier: Tier, workers: int, asked: list[Task]) -> tuple[float, int]:
    """Wall clock a program, comparison included, and how many solutions were right."""
    reward = code(seconds=30.0, box=open_box(tier, workers))
    start = time.perf_counter()
    scores = reward.many([(task, [answer(task)]) for task in asked])
    took = time.perf_counter() - start
    return 1000 * took / len(asked), sum(score.value == 1.0 for (score,) in scores)


def calls(tier: Tier, *, fresh: bool, times: int = 200) -> float:
    """Calls a second of one worker."""
    with Pool(workers=1, tier=tier) as pool:
        pool.call("togi.graders.marks:answer_text", GRADED, fresh=fresh)
        start = time.perf_counter()
        pool.call_many("togi.graders.marks:answer_text", [GRADED] * times, fresh=fresh)
        return times / (time.perf_counter() - start)


def interpreter(times: int) -> float:
    """Milliseconds of a Python that does nothing: below this no tier with a process of its own can be."""
    start = time.perf_counter()
    for _ in range(times):
        subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    return 1000 * (time.perf_counter() - start) / times


def measure(repeats: int) -> dict[str, Any]:
    asked = tasks()
    held: list[Tier] = [*(tier for tier, reason in available() if not reason), "process"]
    graders: list[Tier] = ["process"] if why_no_jail() else ["bubblewrap", "process"]
    rates: dict[str, dict[str, list[float]]] = {tier: {"kept": [], "fresh": []} for tier in graders}
    times: dict[str, dict[str, list[float]]] = {tier: {"one": [], "many": []} for tier in held}
    right: dict[str, int] = {}
    bare = []
    for _ in range(repeats):
        bare.append(interpreter(20))
        for tier in held:
            for name, workers in (("one", 1), ("many", cores())):
                took, right[tier] = milliseconds(tier, workers, asked)
                times[tier][name].append(took)
        for tier in graders:
            for name in ("kept", "fresh"):
                rates[tier][name].append(calls(tier, fresh=name == "fresh"))
    return {
        "machine": {"processor": processor(), "cores": cores()},
        "versions": {"python": platform.python_version()},
        "programs": len(asked),
        "interpreter_ms": statistics.median(bare),
        "tiers": {
            tier: {"right": right[tier], "ms": {name: statistics.median(took) for name, took in times[tier].items()}}
            for tier in held
        },
        "calls": {
            tier: {name: statistics.median(found) for name, found in each.items()} for tier, each in rates.items()
        },
        "all_ms": times,
        "all_calls": rates,
    }


def show(result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(f"{result['programs']} programs on {machine['cores']} cores of {machine['processor']}")
    print(f"the interpreter alone: {result['interpreter_ms']:.1f} ms")
    print(f"{'tier':>12} {'right':>6} {'one by one':>11} {'side by side':>13}   ms a program")
    for tier, said in result["tiers"].items():
        print(f"{tier:>12} {said['right']:6d} {said['ms']['one']:11.1f} {said['ms']['many']:13.1f}")
    for tier, rate in result["calls"].items():
        kept, fresh = rate["kept"], rate["fresh"]
        print(f"{tier}: {kept:.0f} calls a second of a worker, {fresh:.0f} in fresh processes, 1 : {kept / fresh:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sandbox.json")
    given = parser.parse_args()
    result = measure(given.repeats)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
