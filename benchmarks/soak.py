"""A run that is killed again and again, against one that is left alone: what is lost, what is doubled, and whether both
learn the same.

``python benchmarks/soak.py [--steps 500] [--every 40] [--out FILE]``: a model of 130,000 weights learns to repeat the
first of four digits, with two engines in processes of their own and groups sampled a step ahead. In one of two runs of
one recipe the process that learns, or an engine, is killed (SIGKILL) after a random number of steps, ``--every`` on
average, at a random moment. Steps are what kills are counted by, so that a slow machine changes nothing but
how long it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HERE = Path(__file__).resolve()
DIGITS, LENGTH, GROUPS = "0123456789", 6, 4
LATE = 100  # of the last steps means are taken
BLOCK = 10  # steps that are one number, since neighbouring steps are alike
RECIPE = """
name = "soak"
seed = 1
[model]
source = "{here}:model"
dtype = "float32"
[prompt]
format = "text"
[data.train]
generate = "{here}:row"
size = 400
seed = 1
[data.test]
generate = "{here}:row"
size = 100
seed = 2
[reward]
score = 'python("{here}:share")'
[sampling]
max_tokens = {length}
[scale]
engines = 2
staleness = 1
[[stage]]
name = "repeat"
algorithm = "grpo"
settings = {{ kl = 0.0 }}
steps = {steps}
tasks_per_step = {groups}
attempts = 8
learning_rate = 1e-3
[evaluation]
attempts = 8
[checkpoint]
every = 5
"""


def model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    sys.path.insert(0, str(Path(__file__).parent))
    made: tuple[PreTrainedModel, PreTrainedTokenizerBase] = import_module("little_model").sums()
    return made


def row(rng: random.Random) -> dict[str, str]:
    digits = "".join(rng.choices(DIGITS, k=4))
    return {"prompt": f"{digits}:", "answer": digits[0]}


def share(task: Any, completion: str) -> float:
    """The share of the answer that is the digit."""
    return completion.count(task.answer) / LENGTH


def events(folder: Path) -> list[dict[str, Any]]:
    from togi.run_folder.files import read_lines

    return read_lines(folder / "events.jsonl")


def engine_pids(folder: Path) -> list[int]:
    """The process that each engine's log named last."""
    said = [re.findall(r"process (\d+) draws", log.read_text()) for log in (folder / "engines").glob("*.log")]
    return [int(each[-1]) for each in said if each]


def is_there(pid: int) -> bool:
    with suppress(OSError):
        return b"native_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class Disturber:
    """Kills now and then what belongs to a run."""

    def __init__(self, folder: Path, every: float, seed: int) -> None:
        self._folder, self._every, self._dice = folder, every, random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.orphans = 0
        self._next = 0.0
        self._plan(0)

    def _plan(self, step: int) -> None:
        self._next = step + self._dice.expovariate(1 / self._every)

    def look(self, learner: subprocess.Popen[bytes]) -> None:
        metrics = self._folder / "metrics.jsonl"
        step = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
        if step < self._next:
            return
        pids = engine_pids(self._folder)
        time.sleep(self._dice.uniform(0.0, 0.5))
        if self._dice.random() < 0.5:
            learner.kill()
            learner.wait()
            self.killed["learner"] += 1
            end = time.monotonic() + 60
            while any(map(is_there, pids)) and time.monotonic() < end:
                time.sleep(0.1)
            self.orphans += sum(map(is_there, pids))
        else:
            doomed = self._dice.choice(pids or [0])
            if is_there(doomed):
                os.kill(doomed, signal.SIGKILL)
                self.killed["engine"] += 1
        self._plan(step)


def run(recipe: Path, folder: Path, log: Path, disturber: Disturber | None) -> float:
    """Train to the end, and as often as it is killed; the seconds that it took."""
    began = time.monotonic()
    while True:
        with log.open("ab") as written:
            command = [sys.executable, "-m", "togi", "train", str(recipe), "--folder", str(folder)]
            learner = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
        while learner.poll() is None:
            time.sleep(0.1)
            if disturber is not None:
                disturber.look(learner)
        if learner.returncode == 0:
            return time.monotonic() - began
        if learner.returncode != -signal.SIGKILL:
            raise SystemExit(f"the run ended with {learner.returncode}: see {log}\n{log.read_text()[-2000:]}")


def account(folder: Path, steps: int) -> dict[str, Any]:
    """What a run lost, doubled and learned."""
    from togi.run_folder.files import read_lines
    from togi.run_folder.integrity import check

    rows = read_lines(folder / "metrics.jsonl")
    told = events(folder)
    sampled = Counter((each["step"], each["group"]) for each in told if each["event"] == "sampled")
    again = Counter((each["step"], each["group"]) for each in told if each["event"] == "sampled_again")
    wanted = {(step, group) for step in range(1, steps + 1) for group in range(GROUPS)}
    rewards = [row["reward"] for row in rows][-LATE:]
    return {
        "steps in order, each once": [row["step"] for row in rows] == list(range(1, steps + 1)),
        "groups lost": len(wanted - sampled.keys()),
        "groups sampled twice": sum(sampled[place] - again[place] > 1 for place in wanted),
        "groups dropped as too old": again.total(),
        "integrity faults": len(check(folder).faults),
        "engines begun": sum(each["event"] == "engine_began" for each in told),
        "reward of the last steps, by blocks": [
            sum(rewards[at : at + BLOCK]) / len(rewards[at : at + BLOCK]) for at in range(0, len(rewards), BLOCK)
        ],
        "held-out score": held_out(folder),
    }


def held_out(folder: Path) -> float:
    from togi.evidence.after.evaluation_summary import headline

    measured: Any = json.loads((folder / "evaluations" / "repeat.json").read_text())
    return float(headline(measured)["mean_score"])


def shuffled_difference(one: list[float], other: list[float]) -> tuple[float, float]:
    """The difference of two means, and how often it is as large where the numbers are dealt out by chance."""
    dice, both = random.Random(0), one + other

    def gap(numbers: list[float]) -> float:
        first, rest = numbers[: len(one)], numbers[len(one) :]
        return sum(first) / len(first) - sum(rest) / len(rest)

    seen = gap(both)
    dealt = [abs(gap(dice.sample(both, len(both)))) >= abs(seen) - 1e-12 for _ in range(10_000)]
    return seen, sum(dealt) / len(dealt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=float, default=40.0, help="steps between two kills, on average")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="togi-soak-") as made:
        place = Path(made)
        recipe = place / "soak.toml"
        # Copies, since a run refuses to go on where a file that it is made of was changed.
        for file in (HERE, HERE.parent.parent / "recipes" / "little_model.py"):
            shutil.copy(file, place)
        recipe.write_text(RECIPE.format(here=HERE.name, steps=given.steps, groups=GROUPS, length=LENGTH))
        disturber = Disturber(place / "killed", given.every, given.seed)
        result: dict[str, Any] = {"steps": given.steps, "steps between kills": given.every}
        for name, who in (("killed", disturber), ("left alone", None)):
            seconds = run(recipe, place / name, place / f"{name}.log", who)
            result[name] = {"seconds": round(seconds, 1), **account(place / name, given.steps)}
        result["kills"] = dict(disturber.killed)
        result["engines that outlived their learner"] = disturber.orphans
        late = "reward of the last steps, by blocks"
        difference, chance = shuffled_difference(result["killed"][late], result["left alone"][late])
        result["reward of the last steps, killed less left alone"] = difference
        result["as large by chance"] = chance
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
