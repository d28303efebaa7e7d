"""Made-up runs, healthy and sick, as metrics and rollout rows: what signals are calibrated on. It knows no signal.

A healthy run learns: its reward rises, its lengths drift by up to two fifths, its entropy falls by up to half, its
answers grow alike. Around each course lies first-order autoregressive noise, attempts at a task depend on how hard it
is, and now and then a step is odd. An illness begins after three tenths of the steps and is whole a fifth later; a
collapse is whole after three steps, however long the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from togi.evidence.during.step_measures import watch_metrics

Array = NDArray[np.float64]
Pay = Literal["gate", "parts", "judge"]
Step = tuple[dict[str, Any], list[dict[str, Any]]]

TASKS, ATTEMPTS, WORDS = 8, 8, 8
PAYS: tuple[Pay, ...] = ("gate", "parts", "judge")
ILLNESSES: Mapping[str, tuple[str, str]] = {
    "truth falls": ("truth", "the truth falls from 50% to 15% while another part of the reward rises"),
    "truth stays": ("truth", "the reward rises by 1.6 spreads of its attempts, the truth not at all"),
    "parts": ("parts", "one part falls from 50% to 15% while another rises by twice as much; no truth is known"),
    "dominance": ("dominance", "a part that hardly varied comes to vary three times as much as all others"),
    "judge": ("judge", "the judge's scores of wrong answers rise by 1.5 spreads"),
    "longer": ("length", "three times as long"),
    "shorter": ("length", "a third as long"),
    "cut off": ("cut off", "from under 5% to 50% of attempts"),
    "repeats within a task": ("repeats within a task", "to nine in ten of the wrong attempts, 45% of all"),
    "repeats across tasks": ("repeats across tasks", "to eight in ten of the wrong attempts, 40% of all"),
    "likeness": ("likeness", "word pairs in common from about 20% to 85%"),
    "entropy": ("entropy", "to a tenth"),
    "no score": ("no score", "from under 2% to 25% of attempts"),
    "no answer": ("no answer", "from under 15% to 50% of attempts"),
    "no signal": ("no signal", "from about 5% to nearly all groups"),
    "numbers": ("numbers", "every second update is skipped"),
    "own fault": ("own fault", "from under 2% to 25% of attempts"),
    "lost reward": ("lost reward", "right answers fall from 50% to none, and the form with them"),
    "no entropy": ("no entropy", "to a five-hundredth, while the share of right answers falls from 50% to 15%"),
    "endless repetition": ("endless repetition", "to 97% of attempts"),
    "empty answers": ("empty answers", "to 97% of attempts"),
    "noise": ("noise", "entropy rises to 7 nats a token"),
    "mismatch": ("mismatch", "sampler and trainer come to differ six times as much"),
}
"""By name: the signal that should tell, and how bad the illness gets."""
PAYING: Mapping[str, Pay] = {"judge": "judge", "no signal": "gate"}  # the others are paid in parts


@dataclass(frozen=True, kw_only=True)
class Course:
    """Where a run goes, step by step: arrays are [N]. Chances are of an attempt, lengths in tokens."""

    pay: Pay
    truth: bool
    skill: Array
    form: Array
    style: Array
    style_spread: Array
    lean: Array
    length: Array
    cut: Array
    alike: Array
    copies: Array
    constant: Array
    entropy: Array
    lost: Array
    unread: Array
    skip: Array
    fault: Array
    loop: Array
    empty: Array
    apart: Array


def made_up_run(steps: int, seed: int, illness: str | None = None) -> Iterator[Step]:
    """The rows of each step of a run: as metrics.jsonl would have them, and as the rollout files would."""
    rng = np.random.default_rng([seed, steps, 0 if illness is None else 1 + list(ILLNESSES).index(illness)])
    course = _course(steps, rng, illness)
    for at in range(steps):
        rows = list(_attempts(course, at, rng))
        yield _metrics(course, at, rows, rng), rows


def _course(n: int, rng: np.random.Generator, illness: str | None) -> Course:
    sick = np.clip((np.arange(n) - 0.3 * n) / (0.2 * n), 0.0, 1.0) if illness else np.zeros(n)
    learned = _learning(n, rng) if illness is None else np.zeros(n)

    def ill(*names: str) -> Array:
        return sick if illness in names else np.zeros(n)

    def collapsed(*names: str) -> Array:
        return np.clip((np.arange(n) - 0.3 * n) / 3, 0.0, 1.0) * (illness in names)

    start = rng.uniform(0.15, 0.6) if illness is None else 0.5
    skill = _logit(start + rng.uniform(0.0, 0.95 - start) * learned) + _noise(n, 0.25, rng)
    skill -= (ill("truth falls", "parts") + 0.3 * ill("dominance")) * 1.9 + 9.0 * ill("no signal")
    skill -= 9.0 * collapsed("lost reward") + 1.9 * collapsed("no entropy")
    odd = rng.random(n) < 0.02
    drift = np.log(rng.uniform(0.7, 1.4)) * learned + _noise(n, 0.05, rng) + 0.25 * odd
    entropy = np.log(rng.uniform(0.5, 1.0)) * learned + _noise(n, 0.08, rng) + 0.25 * odd
    entropy += np.log(rng.uniform(0.08, 1.2)) - 2.3 * ill("entropy") - 6.2 * collapsed("no entropy")
    longer = np.log(3.0) * (ill("longer") - ill("shorter"))
    styled = 0.9 * ill("truth falls", "truth stays") + 0.6 * ill("parts")
    return Course(
        pay=PAYING.get(illness or "", "parts") if illness else PAYS[int(rng.integers(3))],
        truth=illness in ("truth falls", "truth stays", "judge") or (illness is None and rng.random() < 0.7),
        skill=_chance(skill - 1.0 * odd),
        form=_chance(
            _logit(rng.uniform(0.6, 0.9) + 0.08 * learned) + _noise(n, 0.2, rng) - 9.0 * collapsed("lost reward")
        ),
        style=0.3 + 0.15 * learned + styled + _noise(n, 0.02, rng),
        style_spread=0.1 + 1.4 * ill("dominance"),
        lean=0.06 * learned + 0.3 * ill("judge") + _noise(n, 0.02, rng),
        length=np.exp(np.log(rng.uniform(20, 400)) + drift + longer),
        cut=np.clip(rng.uniform(0.0, 0.05) + 0.5 * ill("cut off"), 0, 1),
        alike=np.clip(rng.uniform(0.3, 0.6) + 0.2 * learned + 0.7 * ill("likeness") + _noise(n, 0.02, rng), 0, 0.98),
        copies=0.9 * ill("repeats within a task"),
        constant=0.8 * ill("repeats across tasks"),
        entropy=np.exp(entropy + collapsed("noise") * (np.log(7.0) - entropy)),
        lost=rng.uniform(0.0, 0.02) + 0.25 * ill("no score"),
        unread=rng.uniform(0.02, 0.15) * (1 - 0.5 * learned) + 0.42 * ill("no answer"),
        skip=0.002 + 0.5 * ill("numbers"),
        fault=rng.uniform(0.0, 0.02) + 0.25 * ill("own fault"),
        loop=0.97 * collapsed("endless repetition"),
        empty=0.97 * collapsed("empty answers"),
        apart=np.exp(np.log(0.004) + drift + np.log(6.0) * ill("mismatch")),
    )


def _learning(n: int, rng: np.random.Generator) -> Array:
    """From 0 to 1 by an S-curve of random place and slope; learning may also be half done at the end."""
    middle, slope = rng.uniform(0.1, 1.1), rng.uniform(3.0, 12.0)
    curve = 1 / (1 + np.exp(-slope * (np.linspace(0, 1, n) - middle)))
    return np.asarray(curve - curve[0])


def _noise(n: int, size: float, rng: np.random.Generator) -> Array:
    """First-order autoregression with a memory of up to 0.6."""
    memory = rng.uniform(0.0, 0.6)
    steps = rng.standard_normal(n) * size
    for at in range(1, n):
        steps[at] = memory * steps[at - 1] + np.sqrt(1 - memory**2) * steps[at]
    return np.asarray(steps)


def _logit(chance: Array | float) -> Array:
    known = np.clip(chance, 0.01, 0.99)
    return np.asarray(np.log(known / (1 - known)))


def _chance(logit: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _attempts(course: Course, at: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    size = (TASKS, ATTEMPTS)
    hard = rng.standard_normal((TASKS, 1))
    skilled = rng.random(size) < _chance(_logit(course.skill[at]) - hard)
    if course.skill[at] < 0.01:  # beyond what the logit keeps: nothing is solved
        skilled &= rng.random(size) < 0.005
    draws = rng.random((8, *size))
    form, read = draws[0] < course.form[at], draws[1] > course.unread[at]
    ended = np.where(draws[6] < course.empty[at], "empty", np.where(draws[6] < course.loop[at], "loop", ""))
    fault = draws[7] < course.fault[at]
    right = skilled & read & ~fault & (ended == "")
    style = course.style[at] + course.style_spread[at] * rng.standard_normal(size)
    judged = 0.5 + 0.3 * right + course.lean[at] * ~right + 0.15 * rng.standard_normal(size)
    tokens = np.maximum(1, course.length[at] * np.exp(0.3 * rng.standard_normal(size))).astype(int)
    logp = -course.entropy[at] * np.exp(0.3 * rng.standard_normal(size))
    template = rng.integers(0, 500, (TASKS, 1, WORDS))
    words = np.where(rng.random((*size, WORDS)) < course.alike[at], template, rng.integers(0, 500, (*size, WORDS)))
    words = np.where((draws[2] < course.copies[at])[..., None], template, words)
    words = np.where((draws[3] < course.constant[at])[..., None], 7, words)
    for task, attempt in np.ndindex(size):
        i = (task, attempt)
        lost = bool(draws[4][i] < course.lost[at])
        parts, shares = _pay(course.pay, bool(right[i]), bool(form[i]), float(style[i]), float(judged[i]))
        parts["parsed"] = float(read[i])
        score: dict[str, Any] = {"value": sum(shares.values()), "parts": parts}
        score["shares"] = shares if len(shares) > 1 else {}
        if fault[i]:
            score = {"value": 0.0, "parts": dict.fromkeys(parts, 0.0), "shares": {}, "own_fault": "time"}
        nothing = {"value": float("nan"), "parts": {}, "shares": {}}
        yield {
            "stage": "made up",
            "step": at + 1,
            "task": f"{at}-{task}",
            "group": task,
            "attempt": attempt,
            "prompt": f"task {at}-{task}",
            "completion": {"empty": "", "loop": "7 " * 20}.get(str(ended[i]), " ".join(map(str, words[i]))),
            "tokens": int(tokens[i]),
            "stop": "length" if draws[5][i] < course.cut[at] else "eos",
            "score": (nothing if lost else score) | {"status": "timeout" if lost else "ok", "note": ""},
            "logp_mean": float(logp[i]),
            "answer": "",
            **({"gold": float(right[i])} if course.truth else {}),
        }


def _pay(pay: Pay, right: bool, form: bool, style: float, judged: float) -> tuple[dict[str, float], dict[str, float]]:
    """The parts of a reward and their shares: a gated verifier, a sum of three, or a verifier beside a judge."""
    rule = {"number": float(right), "correct": float(right)}
    if pay == "gate":
        return rule | {"form": float(form), "correct": float(right and form)}, {"number": float(right and form)}
    if pay == "judge":
        return rule | {"judge": judged}, {"number": 0.5 * right, "judge": 0.5 * judged}
    return (
        rule | {"form": float(form), "style": style},
        {"number": float(right), "form": 0.2 * form, "style": style},
    )


def _metrics(course: Course, at: int, rows: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """A step's metrics as a run would log them, the covariances of ``attribution/`` included."""
    scored = [row for row in rows if row["score"]["status"] == "ok"]
    values = np.array([row["score"]["value"] for row in scored])
    group = np.array([row["group"] for row in scored])
    spreads = [np.ptp(values[group == task]) for task in range(TASKS) if (group == task).any()]
    found = {
        "stage": "made up",
        "step": at + 1,
        "completions/mean_length": float(np.mean([row["tokens"] for row in rows])),
        "completions/clipped_ratio": float(np.mean([row["stop"] == "length" for row in rows])),
        "reward": float(values.mean()),
        "frac_reward_zero_std": float(np.mean([spread < 1e-6 for spread in spreads])),
        "loss": float(rng.standard_normal()),
        "grad_norm": float(np.exp(0.25 * rng.standard_normal())),
        "skipped_steps": float(rng.random() < course.skip[at]),
        "sampling/sampling_logp_difference/mean": float(course.apart[at]),
    }
    if len(scored) < len(rows):
        found["unscored/timeout"] = 1 - len(scored) / len(rows)
    if faults := sum("own_fault" in row["score"] for row in scored):
        found["own_fault/time"] = faults / len(rows)
    for part in scored[0]["score"]["parts"]:
        found[f"rewards/{part}/mean"] = float(np.mean([row["score"]["parts"][part] for row in scored]))
    if course.truth:
        found["gold"] = float(np.mean([row["gold"] for row in scored]))
    means = np.array([values[group == task].mean() if (group == task).any() else 0.0 for task in range(TASKS)])
    advantage = values - means[group]
    whole = float(advantage @ (values - values.mean()))
    if whole > 1e-9:
        for name in sorted({name for row in scored for name in row["score"]["shares"]}):
            share = np.array([row["score"]["shares"].get(name, 0.0) for row in scored])
            found[f"attribution/{name}"] = float(advantage @ share) / whole
    return found | watch_metrics(rows)
