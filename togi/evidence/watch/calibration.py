"""How often the signals cry wolf, and how often they miss it: ``python -m togi.evidence.watch.calibration``.

Every number is a share of whole made-up runs, for the whole battery at once. The table stands in docs/watching.md.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from togi.evidence.watch.alarms import Watching
from togi.evidence.watch.synthetic import ILLNESSES, made_up_run

LENGTHS = (20, 60, 400)


@dataclass(frozen=True, kw_only=True)
class Count:
    """Of ``runs`` runs, ``alarmed`` had any alarm, each of ``by_signal`` its own; ``steps`` is how long it took from
    where the illness began, in the runs where the wanted signal alarmed."""

    runs: int
    alarmed: int
    by_signal: Counter[str]
    steps: tuple[int, ...] = ()


def count(steps: int, seeds: Iterable[int], illness: str | None = None) -> Count:
    """Watch one made-up run a seed."""
    by_signal: Counter[str] = Counter()
    runs, alarmed, took = 0, 0, []
    for seed in seeds:
        watching = Watching("made up")
        first: dict[str, int] = {}
        for metrics, _ in made_up_run(steps, seed, illness):
            for alarm in watching.look(metrics):
                first.setdefault(alarm.signal, alarm.step)
        by_signal.update(first.keys())
        runs, alarmed = runs + 1, alarmed + bool(first)
        if illness is not None and (wanted := ILLNESSES[illness][0]) in first:
            took.append(first[wanted] - round(0.3 * steps))
    return Count(runs=runs, alarmed=alarmed, by_signal=by_signal, steps=tuple(took))


def main(arguments: Sequence[str]) -> None:
    """Print the tables: healthy runs, then each illness. Arguments: seeds of healthy and of sick runs."""
    healthy, sick = (int(arguments[0]), int(arguments[1])) if len(arguments) == 2 else (200, 60)
    print("| steps | healthy runs | with any alarm | which |\n|---|---|---|---|")
    for steps in LENGTHS:
        found = count(steps, range(healthy))
        which = ", ".join(f"{name} {times}" for name, times in found.by_signal.most_common())
        print(f"| {steps} | {found.runs} | {found.alarmed / found.runs:.1%} | {which} |", flush=True)
    print("\n| illness | signal | how bad | " + " | ".join(f"{steps} steps" for steps in LENGTHS) + " |")
    print("|---" * (3 + len(LENGTHS)) + "|")
    for name, (signal, size) in ILLNESSES.items():
        cells = []
        for steps in LENGTHS:
            found = count(steps, range(sick if steps < LENGTHS[-1] else max(1, sick // 3)), name)
            after = f", {np.median(found.steps):.0f} steps in" if found.steps else ""
            cells.append(f"{len(found.steps) / found.runs:.0%}{after}")
        print(f"| {name} | {signal} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
