"""What share of sums of how many digits a model gets right after each round of the experiment on STaR: a table for each
arm, as means over seeds, with the least and the most of them.

python experiments/star_by_digits.py experiments/star
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from togi.evidence.after.evaluation_file import read_evaluation

Table = dict[str, dict[int, list[float]]]
"""By round and digits, the share of each seed."""


def tables(experiment: Path) -> dict[str, Table]:
    """By arm."""
    found: dict[str, Table] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for cell in sorted((experiment / "cells").iterdir()):
        arm = cell.name.rpartition("-")[0]
        for file in sorted((cell / "evaluations").glob("*.json")):
            for digits, share in shares(file):
                found[arm][file.stem][digits].append(share)
    return found


def shares(file: Path) -> Iterator[tuple[int, float]]:
    """Digits, and the share of sums of so many that were right."""
    record = read_evaluation(file)
    right: dict[int, list[float]] = defaultdict(list)
    for task in record["tasks"]:
        digits = task["prompt"].index("+")
        right[digits] += [float((one["score"]["value"] or 0) >= record["pass_mark"]) for one in task["attempts"]]
    for digits, values in sorted(right.items()):
        yield digits, fmean(values)


def main() -> None:
    for arm, table in tables(Path(sys.argv[1])).items():
        digits = sorted({each for row in table.values() for each in row})
        print(f"\n{arm:16}" + "".join(f"{f'{each} digits':>18}" for each in digits))
        for name, row in table.items():
            cells = (f"{fmean(row[d]):.2f} ({min(row[d]):.2f}–{max(row[d]):.2f})" for d in digits)
            print(f"{name:16}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
