"""Run folder -> plain data. Whatever is missing stays missing, whatever is damaged is named, and what was changed after
it was written is left out where it would prove something. It knows no page."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from togi.evidence.after.evaluation_file import EvaluationRecord, read_evaluation
from togi.evidence.after.measure_process_model import StepsRecord, read_steps
from togi.evidence.after.measure_thoughts import ThoughtsRecord, read_thoughts
from togi.evidence.after.measured_pairs_file import PairsRecord, read_pairs
from togi.evidence.after.verifier_rates import VerificationRecord, read_verification
from togi.evidence.findings import FILE as FINDINGS
from togi.evidence.redteam.reward_card import FILE
from togi.run_folder.integrity import UNCHECKED, Integrity, check

Json = dict[str, Any]
Record = TypeVar("Record", EvaluationRecord, PairsRecord, VerificationRecord, StepsRecord, ThoughtsRecord)
Measured = TypeVar("Measured", VerificationRecord, StepsRecord, ThoughtsRecord)
ROWS = 20_000  # rows of one log that are read; a longer log is thinned evenly
ALARM = {"stage": str, "step": int, "signal": str, "severity": str, "text": str, "rollouts": list}
ROLLOUT_FILES = re.compile(r"(?P<stage>.+)-(?P<step>\d+)\.jsonl")
TOLD = 10  # faults of a run folder that the report names


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What a run folder holds. ``rollouts`` are those of each stage's first and last step, keyed (stage, step);
    ``events`` are those that are more than one of many steps. Files that ``integrity`` doubts are not in it, but for
    recipe, manifest and logs, which would leave nothing to show."""

    folder: Path
    integrity: Integrity = UNCHECKED
    recipe: Json | None = None
    recipe_text: str | None = None
    manifest: Json | None = None
    metrics: tuple[Json, ...] = ()
    timings: tuple[Json, ...] = ()
    events: tuple[Json, ...] = ()
    evaluations: tuple[EvaluationRecord, ...] = ()
    later: tuple[EvaluationRecord, ...] = ()
    on_the_way: tuple[EvaluationRecord, ...] = ()
    pairs: tuple[PairsRecord, ...] = ()
    cards: tuple[Json, ...] = ()
    doctor: Json | None = None
    alarms: tuple[Json, ...] = ()
    verifications: tuple[VerificationRecord, ...] = ()
    steps: tuple[StepsRecord, ...] = ()
    thoughts: tuple[ThoughtsRecord, ...] = ()
    rollouts: dict[tuple[str, int], list[Json]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def stages(self) -> list[str]:
        """Stage names in the order of the recipe, or of the log when there is no recipe."""
        planned = [str(stage["name"]) for stage in planned_stages(self.recipe) if "name" in stage]
        logged = [str(row["stage"]) for row in self.metrics]
        return list(dict.fromkeys([*planned, *logged]))

    def way_to(self, model: str) -> list[str]:
        """The stage that made a model, and those that it was built on."""
        plans = [stage for stage in planned_stages(self.recipe) if "name" in stage]
        names = [str(stage["name"]) for stage in plans]
        way: list[str] = []
        while model in names and model not in way:
            way.append(model)
            at = names.index(model)
            model = str(plans[at].get("start") or (names[at - 1] if at else ""))
        return way

    @property
    def grown(self) -> list[tuple[EvaluationRecord, EvaluationRecord]]:
        """Each model after the one it was trained from, of those that were evaluated."""
        known = {one["model"]: one for one in self.evaluations}
        ways = [(self.way_to(one["model"])[1:], one) for one in self.evaluations[1:]]
        return [(next((known[name] for name in way if name in known), self.evaluations[0]), one) for way, one in ways]

    @property
    def finished(self) -> bool:
        return any(event.get("event") == "finished" for event in self.events)

    @property
    def distrust(self) -> list[str]:
        """What is not as it was written, a sentence each; of many the first."""
        faults = self.integrity.faults
        more = [f"And {len(faults) - TOLD} more: togi verify lists them."] if len(faults) > TOLD else []
        return [*(f"{fault}." for fault in faults[:TOLD]), *more]


def planned_stages(recipe: Json | None) -> list[Json]:
    """The recipe's stage tables, none when there is no recipe."""
    stages = (recipe or {}).get("stage", [])
    return [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []


def read_run(folder: Path, integrity: Integrity | None = None) -> RunData:
    """Read a run folder, finished or not; ``integrity`` is what was just found of its files, where that was asked.
    ``ValueError`` when there is no folder or nothing of a run in it."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such run folder")
    known = ("recipe.toml", "manifest.json", "metrics.jsonl", "evaluations")
    if not any((folder / name).exists() for name in known):
        raise ValueError(f"{folder}: not a run folder, it holds none of {', '.join(known)}")
    integrity = integrity or check(folder)
    doubted = integrity.doubted
    if "." in doubted:  # what a link leads to is not read
        return RunData(folder=folder, integrity=integrity)
    problems: list[str] = []
    recipe_text = _text(folder / "recipe.toml", problems)
    recipe = _toml(recipe_text, problems)
    evaluations = _records(_trusted(folder / "evaluations", doubted), read_evaluation, problems)
    order = ["base", *(str(stage.get("name")) for stage in planned_stages(recipe))]
    own = [one for one in evaluations if not one["model"].startswith("eval-")]
    own.sort(key=lambda one: (order.index(one["model"]) if one["model"] in order else len(order), one["step"]))
    return RunData(
        folder=folder,
        integrity=integrity,
        recipe=recipe,
        recipe_text=recipe_text,
        manifest=_object(folder / "manifest.json", problems),
        metrics=tuple(_rows(folder / "metrics.jsonl", problems, {"stage": str, "step": int})),
        timings=tuple(_rows(folder / "timings.jsonl", problems, {"stage": str, "seconds": dict, "tokens": int})),
        events=tuple(event for event in integrity.chain.events if event.get("event") != "step"),
        evaluations=tuple(own),
        later=tuple(one for one in evaluations if one["model"].startswith("eval-")),
        on_the_way=tuple(_records(_trusted(folder / "evaluations_on_the_way", doubted), read_evaluation, problems)),
        pairs=tuple(_records(_trusted(folder / "preferences", doubted), read_pairs, problems)),
        cards=() if FILE in doubted else _cards(folder / FILE, problems),
        doctor=None if FINDINGS in doubted else _object(folder / FINDINGS, problems),
        verifications=tuple(_in_order(_trusted(folder / "verification", doubted), read_verification, problems)),
        steps=tuple(_in_order(_trusted(folder / "steps", doubted), read_steps, problems)),
        thoughts=tuple(_in_order(_trusted(folder / "thoughts", doubted), read_thoughts, problems)),
        alarms=tuple(_rows(folder / "alarms.jsonl", problems, ALARM)),
        rollouts=_rollouts(_trusted(folder / "rollouts", doubted), problems),
        problems=tuple(problems),
    )


def _cards(path: Path, problems: list[str]) -> tuple[Json, ...]:
    cards = (_object(path, problems) or {}).get("cards", [])
    return tuple(card for card in cards if isinstance(card, dict)) if isinstance(cards, list) else ()


def _text(path: Path, problems: list[str]) -> str | None:
    if not path.exists():
        return None
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name}: {error}")
        return None


def _toml(text: str | None, problems: list[str]) -> Json | None:
    if text is None:
        return None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"recipe.toml: {error}")
        return None


def _object(path: Path, problems: list[str]) -> Json | None:
    text = _text(path, problems)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{path.name}: {error}")
        return None
    if not isinstance(value, dict):
        problems.append(f"{path.name}: not a JSON object")
        return None
    return value


def _rows(path: Path, problems: list[str], shape: dict[str, type]) -> Iterator[Json]:
    """The rows of a log that have the shape wanted. A cut last line is normal in a run at work, any other is told."""
    text = _text(path, problems)
    lines = (text or "").split("\n")
    stride = max(1, len(lines) // ROWS)
    damaged = []
    for number, line in enumerate(lines, start=1):
        if not line or (number % stride and number < len(lines) - 1):
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number < len(lines):
                damaged.append(number)
            continue
        if isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in shape.items()):
            yield row
        else:
            damaged.append(number)
    if damaged:
        problems.append(f"{path.name}: {len(damaged)} damaged rows left out, the first in line {damaged[0]}")


def _trusted(folder: Path, doubted: Collection[str]) -> list[Path]:
    """The files of a folder in order of their names, but for those that are not to be trusted."""
    return [path for path in sorted(folder.glob("[!.]*.json*")) if f"{folder.name}/{path.name}" not in doubted]


def _records(paths: Sequence[Path], read: Callable[[Path], Record], problems: list[str]) -> list[Record]:
    found = []
    for path in paths:
        try:
            found.append(read(path))
        except ValueError as error:
            problems.append(str(error))
    return found


def _in_order(paths: Sequence[Path], read: Callable[[Path], Measured], problems: list[str]) -> list[Measured]:
    """What the files say, in the order it was measured."""
    return sorted(_records(paths, read, problems), key=lambda record: (record["step"], record["name"]))


def _rollouts(paths: Sequence[Path], problems: list[str]) -> dict[tuple[str, int], list[Json]]:
    steps: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        found = ROLLOUT_FILES.fullmatch(path.name)
        if found:
            steps.setdefault(found["stage"], []).append((int(found["step"]), path))
    shape = {"stage": str, "task": str, "prompt": str, "completion": str, "tokens": int, "score": dict}
    result = {}
    for stage, files in steps.items():
        for step, path in {min(files), max(files)}:
            result[stage, step] = list(_rows(path, problems, shape))
    return dict(sorted(result.items()))
