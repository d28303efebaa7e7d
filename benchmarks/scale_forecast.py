"""Holds the forecast of `togi scale` against real runs: 1, 2 and 4 engines of this machine, in turn and ahead.

Run as ``python benchmarks/scale_forecast.py``, for some five minutes; nothing else should run. The rates are those of
the run with one engine and no staleness; all others are forecast from it, then run. Every process computes on one
thread. The model is one that ``recipes/little_model.py`` makes, wider, so that sampling and learning take about as
long; its answers are chance, of up to 96 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from generate import processor

from togi.recipe import load_recipe
from togi.run_folder.files import read_lines
from togi.scale.forecast import by_run
from togi.scale.measured_rates import measured_rates
from togi.scale.simulation import simulate

RECIPES = Path(__file__).parent.parent / "recipes"
MODEL = """
from little_model import CHARACTERS, END, character_tokenizer, little_llama

def wide():
    tokenizer = character_tokenizer({token: number for number, token in enumerate([END, *CHARACTERS])})
    return little_llama(tokenizer, width=256, layers=4, positions=256), tokenizer

def nines(task, completion):
    return completion.count("9") / (1 + len(completion))
"""
RECIPE = """
name = "forecast"
[model]
source = "wide_model.py:wide"
dtype = "float32"
[prompt]
format = "text"
[data.train]
generate = "sums.py:problem"
size = 2000
[reward]
score = 'python("wide_model.py:nines")'
[sampling]
max_tokens = 96
[[stage]]
algorithm = "grpo"
settings = { kl = 0.0 }
stop_on_collapse = false
steps = 8
tasks_per_step = 16
attempts = 8
tokens_per_microbatch = 4000
learning_rate = 1e-6
"""
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def trained(recipe: Path, engines: int, staleness: int) -> Path:
    """The folder of a run with so many engines."""
    folder = recipe.parent / f"run-{engines}-{staleness}"
    changes = [f"scale.engines={engines}", f"scale.staleness={staleness}", "--folder", str(folder)]
    command = [sys.executable, "-m", "togi", "train", str(recipe), *changes]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ALONE)
    return folder


def took(folder: Path, staleness: int) -> float:
    """Seconds of a step, but for those that fill the pipeline."""
    rows = read_lines(folder / "timings.jsonl")
    return fmean(sum(row["seconds"].values()) for row in rows[staleness + 1 :])


def compared(place: Path, engines: list[int], ahead: list[int], steps: int) -> list[dict[str, Any]]:
    for name in ("little_model.py", "sums.py"):
        (place / name).write_text((RECIPES / name).read_text())
    (place / "wide_model.py").write_text(MODEL)
    recipe = place / "forecast.toml"
    recipe.write_text(RECIPE.replace("steps = 8", f"steps = {steps}"))
    (stage,) = load_recipe(recipe).run.stages
    measured = measured_rates(trained(recipe, 1, 0), stage.name)
    (case,) = by_run(stage, measured)
    rows: list[dict[str, Any]] = []
    for count in engines:
        for staleness in ahead:
            layout = replace(measured.layout, engines=count, staleness=staleness)
            forecast = simulate(case.rates, layout, case.lengths).step_seconds
            folder = place / f"run-{count}-{staleness}"
            seconds = took(folder if folder.exists() else trained(recipe, count, staleness), staleness)
            rows.append(
                {
                    "engines": count,
                    "staleness": staleness,
                    "forecast": round(forecast, 3),
                    "measured": round(seconds, 3),
                    "off": round(forecast / seconds - 1, 3),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--engines", type=int, nargs="+", default=[1, 2, 4])
    arguments.add_argument("--staleness", type=int, nargs="+", default=[0, 1])
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scale_forecast.json")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = compared(Path(place), given.engines, given.staleness, given.steps)
    found = {"processor": processor(), "cores": os.cpu_count(), "steps": given.steps, "rows": rows}
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
