"""What the writer is told of a candidate: the curves of its parts and of the fitness, and what they show. It knows no
model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from togi.reward_design.findings import Standing
from togi.reward_design.words import Words

CONSTANT, HIDES = 0.05, 0.9
"""A part that moves by less than this share of its size is constant; one that makes up more than that share of all
parts hides the others."""


def reflection(standing: Standing, words: Words) -> dict[str, str]:
    """The fields of the prompt ``reflection`` but for the comment."""
    steps = ", ".join(str(check.steps) for check in standing.checks)
    return {
        "program": (standing.candidate.program or "").strip(),
        "checks": f"means over {words.measured}, after {steps} steps",
        "curves": "\n".join(_line(name, values) for name, values in series(standing, words).items()),
        "findings": "".join(f"{line}\n" for line in findings(standing, words))
        + ("\n" if findings(standing, words) else ""),
    }


def series(standing: Standing, words: Words) -> dict[str, list[float]]:
    """The curves: the fitness, what an episode was paid, and its parts."""
    checks = standing.checks
    names = sorted({name for check in checks for name in check.parts})
    return {
        "fitness": [float(np.mean(check.fitness)) for check in checks],
        "reward": [check.proxy for check in checks],
        **{f"part {name}": [check.parts.get(name, 0.0) for check in checks] for name in names},
        words.length: [check.length for check in checks],
    }


def findings(standing: Standing, words: Words) -> list[str]:
    """What is said in words."""
    found = []
    curves = {name: values for name, values in series(standing, words).items() if name.startswith("part ")}
    if standing.hacked:
        found.append(
            f"The reward rose in training and the fitness did not: the {words.learner} is paid for something else than "
            "the task."
        )
    if standing.candidate.attack:
        found.append(f"Attacks on the reward found a weakness ({standing.candidate.attack}).")
    found += [f"The {name} hardly changes." for name, values in curves.items() if _constant(values)]
    return found + _hiding(curves)


def _constant(values: Sequence[float]) -> bool:
    size = max(map(abs, values))
    return max(values) - min(values) <= CONSTANT * size


def _hiding(curves: Mapping[str, Sequence[float]]) -> list[str]:
    sizes = {name: float(np.mean(np.abs(values))) for name, values in curves.items()}
    whole = sum(sizes.values())
    return [
        f"The {name} is much larger than the other parts together."
        for name, size in sizes.items()
        if len(sizes) > 1 and size > HIDES * whole
    ]


def _line(name: str, values: Sequence[float]) -> str:
    told = ", ".join(f"{value:.4g}" for value in values)
    return f"{name}: {told} (mean {np.mean(values):.4g}, least {min(values):.4g}, most {max(values):.4g})"
