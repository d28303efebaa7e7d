"""How often the signals cry wolf, and how often they miss it: ``python -m togi.evidence.during.calibration``.

Every number is a share of whole made-up runs, for the whole battery at once. The table stands in docs/watching.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from togi.evidence.during.alarms import Watching
from togi.evidence.during.made_up_runs import ILLNESSES, made_up_run

HEALTHY = {20: 200, 60: 200, 400: 100}
SICK = {20: 100, 60: 40, 400: 8}
"""Made-up runs by their steps; of each illness fewer, since there are many."""


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


def main() -> None:
    """Print the tables: healthy runs, then each illness."""
    print("| steps | healthy runs | with any alarm | which |\n|---|---|---|---|")
    for steps, runs in HEALTHY.items():
        found = count(steps, range(runs))
        which = ", ".join(f"{name} {times}" for name, times in found.by_signal.most_common())
        print(f"| {steps} | {runs} | {found.alarmed} | {which} |", flush=True)
    lengths = " | ".join(f"{steps} steps, {runs} runs" for steps, runs in SICK.items())
    print(f"\n| illness | signal | how bad | {lengths} |\n{'|---' * (3 + len(SICK))}|")
    for name, (signal, size) in ILLNESSES.items():
        cells = []
        for steps, runs in SICK.items():
            took = count(steps, range(runs), name).steps
            cells.append(f"{len(took)} of {runs}" + (f", {np.median(took):.0f}" if took else ""))
        print(f"| {name} | {signal} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
